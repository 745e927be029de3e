"""`describe`: what a domain is made of, as its code says."""

from cim_domain.cli.options import Debug, DomainName, Json
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.rendering.description import described
from cim_domain.cli.session import Session
from cim_domain.inspection.description import description


def describe(domain: DomainName, *, json: Json = False, debug: Debug = False) -> None:
    """Show what a domain is made of: commands, events, views, queries, processes, their fields.

    [bold]Example[/bold]

      cim-domain describe nix

    Needs the domain's code, and no server.
    """
    session = Session(json=json, debug=debug)

    def work() -> None:
        found = description(read_domain(domain))
        if session.json:
            session.output.document(found)
        else:
            session.output.show(described(found))

    session.guarded(work)
