"""`dlq list` and `dlq show`: which letters there are, and what is in one."""

from contextlib import aclosing
from typing import Annotated

import typer

from cim_domain.cli.commands.dead_letters.choice import Consumer, Letter, check_consumer
from cim_domain.cli.options import (
    LARGEST,
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Timeout,
    Url,
)
from cim_domain.cli.reading.domain import name_and_code, read_domain_name
from cim_domain.cli.reading.moments import read_since
from cim_domain.cli.rendering.dead_letters import (
    decode,
    letter_dict,
    letters_text,
    whole_letter,
    whole_letter_dict,
)
from cim_domain.cli.session import Session
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter


def list_letters(
    domain: DomainName,
    *,
    consumer: Consumer = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Not the older ones: 2026-11-21T08:30Z, or 90m, 12h, 7d."
        ),
    ] = None,
    after: Annotated[
        int, typer.Option(metavar="LETTER", min=0, max=LARGEST, help="Only those behind this one.")
    ] = 0,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="So many at most.")] = 50,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what could not be handled, and why, oldest first.

    [bold]Examples[/bold]

      cim-domain dlq list nix

      cim-domain dlq list nix --consumer process.builder --since 12h
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        check_consumer(consumer)
        oldest = read_since(since) if since else None
        async with session.client(read_domain_name(domain)) as client:
            await client.dead_letters.overview()
            found: list[StoredLetter] = []
            letters = client.dead_letters.letters(after=after, consumer=consumer)
            async with aclosing(letters):
                async for one in letters:
                    if oldest is None or one.time >= oldest:
                        found.append(one)
                    if len(found) > limit:
                        break
        shown = found[:limit]
        if session.json:
            session.output.document([letter_dict(one) for one in shown])
        elif shown:
            session.output.show(letters_text(shown, session.output.width))
        else:
            session.output.note("there are none")
        if len(found) > limit:
            session.output.note(f"there are more: add --after {shown[-1].sequence}")

    session.run(work)


def show(
    domain: DomainName,
    letter: Letter,
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show one letter: the reason, the message with its headers, and the event in it.

    [bold]Example[/bold]

      cim-domain dlq show nix 17

    An event is shown as it was stored, and as the code in the working directory reads it today,
    upcast from the version that it was stored in.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        name, code = name_and_code(domain)
        async with session.client(name) as client:
            found = await client.dead_letters.get(letter)
            decoded = decode(found, client.subjects, code)
        if session.json:
            session.output.document(whole_letter_dict(found, decoded))
        else:
            session.output.show(whole_letter(found, decoded))

    session.run(work)
