"""Reading which command is meant, where nobody would say for long that there is none."""

from cim_domain.cli.exit_codes import usage
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.session import Session
from cim_domain.errors import LoadError, ModelError
from cim_domain.model.naming import near


def check_command(session: Session, domain: str, message_type: str) -> None:
    """End the command over a type that the domain does not have, where its code is at hand.

    What is stored is looked at by a service later, and what it does not know then is kept for newer
    code: a mistake in writing would be told after an hour, or when a scheduled command is due.
    """
    try:
        known = read_domain(domain)
    except ModelError as error:
        if not (isinstance(error, LoadError) and error.code == "domain_not_found"):
            session.output.note(f"the domain's commands are not known: {error}")
        return
    if message_type not in known.commands:
        usage(
            f"the domain {known.name!r} has no command {message_type!r}"
            f"{near(message_type, known.commands)}"
        )
