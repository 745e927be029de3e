"""`dlq discard`: letters thrown away."""

import sys
from typing import Annotated

import typer

from cim_domain.cli.commands.dead_letters.choice import All, Consumer, Letters, check_choice
from cim_domain.cli.exit_codes import Refused, usage
from cim_domain.cli.options import (
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Timeout,
    Url,
)
from cim_domain.cli.reading.domain import read_domain_name
from cim_domain.cli.session import Session


def discard(
    domain: DomainName,
    letters: Letters = None,
    *,
    consumer: Consumer = None,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Throw letters away. They cannot be brought back.

    [bold]Examples[/bold]

      cim-domain dlq discard nix 17

      cim-domain dlq discard nix --consumer commands --yes

    Events stay in the log all the same. A projection that is stopped at one stays stopped.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        check_choice(letters, consumer, every=every)
        async with session.client(read_domain_name(domain)) as client:
            box = client.dead_letters
            if letters:
                _confirm(len(letters), yes=yes)
                for one in letters:
                    await box.discard(one)
                number = len(letters)
            else:
                overview = await box.overview()
                counts = overview.counts
                number = sum(counts.values()) if consumer is None else counts.get(consumer, 0)
                if number:
                    _confirm(number, yes=yes)
                    number = await box.discard_all(up_to=overview.last, consumer=consumer)
        if session.json:
            session.output.document({"discarded": number})
        else:
            session.output.note(f"{number} discarded")

    session.run(work)


def _confirm(number: int, *, yes: bool) -> None:
    if yes:
        return
    letters = "a dead letter" if number == 1 else f"{number} dead letters"
    if not sys.stdin.isatty():
        usage(f"to throw away {letters} for good, add --yes")
    try:
        agreed = typer.confirm(f"Throw away {letters} for good?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise Refused
