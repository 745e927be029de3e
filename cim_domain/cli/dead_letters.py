"""`dlq`: looking at dead letters, having them handled after all, throwing them away."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cim_domain.cli.letters import (
    decode,
    letter_dict,
    letters_table,
    whole_letter,
    whole_letter_dict,
)
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
from cim_domain.cli.session import Refused, Session, usage
from cim_domain.client import DomainClient
from cim_domain.errors import NotFound, RequestError
from cim_domain.nats.dead_letter_box import CONSUMER_NAME, StoredLetter
from cim_domain.nats.requests import NoAnswer
from cim_domain.replayed import Replayed

app = typer.Typer(
    name="dlq",
    help="Look at dead letters, replay them, throw them away.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Letter = Annotated[
    int,
    typer.Argument(
        metavar="LETTER", min=1, max=LARGEST, help="The letter's number, as `list` shows it."
    ),
]
Letters = Annotated[
    list[int] | None,
    typer.Argument(
        metavar="[LETTER]...", min=1, max=LARGEST, help="Letters by number, as `list` shows them."
    ),
]
Consumer = Annotated[
    str | None,
    typer.Option(
        "--consumer", metavar="NAME", help="The letters of one consumer, such as process.builder."
    ),
]
All = Annotated[bool, typer.Option("--all", help="All letters there are.")]

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@app.command("list")
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
        _check_consumer(consumer)
        oldest = _time(since) if since else None
        async with session.client(domain) as client:
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
            session.output.show(letters_table(shown))
        else:
            session.output.note("there are none")
        if len(found) > limit:
            session.output.note(f"there are more: add --after {shown[-1].sequence}")

    session.run(work)


@app.command()
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
        async with session.client(domain) as client:
            found = await client.dead_letters.get(letter)
            decoded = decode(found, client.subjects)
        if session.json:
            session.output.document(whole_letter_dict(found, decoded))
        else:
            session.output.show(whole_letter(found, decoded))

    session.run(work)


@app.command()
def replay(
    domain: DomainName,
    letters: Letters = None,
    *,
    consumer: Consumer = None,
    every: All = False,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Have letters handled by the consumer that could not, and by nobody else.

    [bold]Examples[/bold]

      cim-domain dlq replay nix 17

      cim-domain dlq replay nix --consumer process.builder

    The running service does it, one letter after another in their order. A letter is deleted once
    it is handled; one that fails again stays. Exit codes: 0 all are handled; 1 some failed, and
    the reasons are shown; 3 nobody answered.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        _check_choice(letters, consumer, every=every)
        async with session.client(domain) as client:
            chosen = await _chosen(client, letters, consumer)
            done, failed = await _replay(session, client, chosen)
        if session.json:
            session.output.document({"replayed": [one.as_dict() for one in done], "failed": failed})
        if failed:
            raise Refused

    session.run(work)


@app.command()
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
        _check_choice(letters, consumer, every=every)
        async with session.client(domain) as client:
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


async def _chosen(
    client: DomainClient, letters: list[int] | None, consumer: str | None
) -> list[tuple[int, str]]:
    """Number and consumer of each letter that is to be replayed, in the order of the letters."""
    box = client.dead_letters
    if letters:
        found = [await box.get(one) for one in sorted(set(letters))]
        return [(one.sequence, one.letter.consumer) for one in found]
    last = (await box.overview()).last
    # Not those that come while this goes on, else it might never end.
    return [
        (one.sequence, one.letter.consumer)
        async for one in box.letters(consumer=consumer)
        if one.sequence <= last
    ]


async def _replay(
    session: Session, client: DomainClient, chosen: list[tuple[int, str]]
) -> tuple[list[Replayed], list[dict[str, Any]]]:
    done: list[Replayed] = []
    failed: list[dict[str, Any]] = []
    with _progress(session, len(chosen)) as advance:
        for sequence, consumer in chosen:
            try:
                replayed = await client.replay(consumer, sequence, timeout=session.timeout)
            except NoAnswer:
                raise
            except NotFound as error:
                if error.code != NotFound.default_code:
                    failed.append(_failure(session, sequence, consumer, error))
            except RequestError as error:
                failed.append(_failure(session, sequence, consumer, error))
            else:
                done.append(replayed)
                _tell(session, replayed)
            advance()
    return done, failed


def _tell(session: Session, replayed: Replayed) -> None:
    reason = f": {replayed.message}" if replayed.message else ""
    words = replayed.result.replace("_", " ")
    session.output.note(f"letter {replayed.sequence} ({replayed.consumer}) {words}{reason}")


def _failure(session: Session, sequence: int, consumer: str, error: RequestError) -> dict[str, Any]:
    session.output.problem(f"letter {sequence} ({consumer}): {error.message}")
    return {"sequence": sequence, "consumer": consumer, "error": error.as_dict()}


@contextmanager
def _progress(session: Session, total: int) -> Iterator[Callable[[], None]]:
    errors = session.output.errors
    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    shown = errors.is_terminal and total > 1
    with Progress(*parts, console=errors, transient=True, disable=not shown) as bar:
        task = bar.add_task("replaying", total=total)
        yield lambda: bar.advance(task)


def _check_choice(letters: list[int] | None, consumer: str | None, *, every: bool) -> None:
    if sum((bool(letters), consumer is not None, every)) != 1:
        usage("say which: the numbers of letters, --consumer NAME, or --all")
    _check_consumer(consumer)


def _check_consumer(consumer: str | None) -> None:
    if consumer is not None and not CONSUMER_NAME.fullmatch(consumer):
        usage(f"{consumer!r} is no name of a consumer: expected one such as process.builder")


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


def _time(text: str) -> datetime:
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        usage(f"--since: {text!r} is no time: expected 2026-11-21T08:30Z, or 90m, 12h, 7d")
