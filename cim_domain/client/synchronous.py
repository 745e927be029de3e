"""A client for programs without an event loop: it has a thread with a loop of its own.

    with SyncDomainClient.open("nix", load_settings()) as nix:
        outcome = nix.send("flake.create", {"path": "/srv/web"})
        print(nix.ask("flake.get", {"path": "/srv/web"}, min_sequence=outcome.sequence).json())

Any thread may use it, several at a time, also where an event loop runs; it blocks the thread.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from cim_domain.client.client import DomainClient
from cim_domain.client.messages import RETRY, TIMEOUT, Answer, Payload
from cim_domain.errors import Failed
from cim_domain.model.messages import Query
from cim_domain.model.records import EventRecord
from cim_domain.nats.config.settings import NatsSettings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _waited(
    method: Callable[Concatenate[DomainClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["SyncDomainClient", P], R]:
    """The method of a `DomainClient`, waited for."""

    @wraps(method)
    def call(self: "SyncDomainClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.wait(method(self.asynchronous, *args, **kwargs))

    return call


class SyncDomainClient:
    """The methods of `DomainClient`, each of which returns when it is done. Made by `open`."""

    def __init__(self, asynchronous: DomainClient, loop: asyncio.AbstractEventLoop) -> None:
        self.asynchronous = asynchronous
        """The client that does it, for what there is no method here: `wait` for it."""
        self._loop = loop

    @classmethod
    @contextmanager
    def open(
        cls,
        domain: str,
        settings: NatsSettings,
        *,
        url: str | None = None,
        timeout: float = TIMEOUT,
        retry: float = RETRY,
    ) -> Iterator[Self]:
        """A client with a connection of its own, see `DomainClient.open`."""
        with _running_loop() as loop:
            opening = DomainClient.open(domain, settings, url=url, timeout=timeout, retry=retry)
            client = cls(_waited_for(opening.__aenter__(), loop), loop)
            try:
                yield client
            finally:
                client.wait(opening.__aexit__(None, None, None))

    def wait(self, work: Coroutine[Any, Any, R]) -> R:
        """What a coroutine of the `asynchronous` client gives. Raises what it raises."""
        return _waited_for(work, self._loop)

    send = _waited(DomainClient.send)
    submit = _waited(DomainClient.submit)
    schedule = _waited(DomainClient.schedule)
    cancel = _waited(DomainClient.cancel)
    status = _waited(DomainClient.status)
    wait_for = _waited(DomainClient.wait_for)
    health = _waited(DomainClient.health)
    history = _waited(DomainClient.history)
    replay = _waited(DomainClient.replay)

    @overload
    def ask(self, query: Query, answer: type[T], /, **options: Any) -> T: ...
    @overload
    def ask(
        self, query: Query | str, payload: Payload | None = None, /, **options: Any
    ) -> Answer: ...
    def ask(self, query: Any, payload: Any = None, /, **options: Any) -> Any:
        """See `DomainClient.ask`."""
        return self.wait(self.asynchronous.ask(query, payload, **options))

    def events(self, after: int = 0) -> Iterator[EventRecord]:
        """See `DomainClient.events`."""
        return self._each(self.asynchronous.events(after))

    def follow(self, after: int = 0) -> Iterator[EventRecord]:
        """See `DomainClient.follow`."""
        return self._each(self.asynchronous.follow(after))

    def _each(self, records: AsyncGenerator[EventRecord, None]) -> Iterator[EventRecord]:
        try:
            while (record := self.wait(_next(records))) is not None:
                yield record
        finally:
            self.wait(records.aclose())


async def _next(records: AsyncGenerator[EventRecord, None]) -> EventRecord | None:
    return await anext(records, None)


def _waited_for(work: Coroutine[Any, Any, R], loop: asyncio.AbstractEventLoop) -> R:
    if loop.is_closed():
        work.close()
        raise Failed("the client is closed", code="closed")
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        # Where the waiting was interrupted, nobody is there any more for what comes of it.
        future.cancel()
        raise


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, until the block ends."""
    started: Future[asyncio.AbstractEventLoop] = Future()
    ended = asyncio.Event()

    async def live() -> None:
        started.set_result(asyncio.get_running_loop())
        await ended.wait()

    # Begun and ended in that thread: in this one another loop may be running.
    thread = threading.Thread(target=asyncio.run, args=(live(),), name="client", daemon=True)
    thread.start()
    loop = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
