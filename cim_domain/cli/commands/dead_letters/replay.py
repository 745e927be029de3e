"""`dlq replay`: letters handled after all, by the consumer that could not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cim_domain.cli.commands.dead_letters.choice import All, Consumer, Letters, check_choice
from cim_domain.cli.exit_codes import Refused
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
from cim_domain.client import DomainClient
from cim_domain.errors import NotFound, RequestError
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.wire.replay_result import Replayed


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
        check_choice(letters, consumer, every=every)
        async with session.client(read_domain_name(domain)) as client:
            chosen = await _chosen(client, letters, consumer)
            done, failed = await _replay(session, client, chosen)
        if session.json:
            session.output.document({"replayed": [one.as_dict() for one in done], "failed": failed})
        if failed:
            raise Refused

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
