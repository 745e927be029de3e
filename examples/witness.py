"""Listening in on a domain: its commands and its stored events, and which of them caused which."""

import asyncio
from collections.abc import Iterator
from typing import Self

import orjson
from attrs import define, field, frozen
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.text import Text
from rich.tree import Tree


@frozen
class Heard:
    """A command or an event, as its headers tell of it."""

    kind: str
    """``cmd`` or ``event``."""
    type: str
    subject: str
    id: str
    correlation_id: str
    causation_id: str
    headers: dict[str, str]
    fields: dict[str, object]

    @classmethod
    def of(cls, message: Msg) -> Self:
        """What a message on ``nix.cmd.>`` or ``nix.event.>`` says."""
        headers = message.headers or {}
        _, kind, message_type = message.subject.split(".", 2)
        own_id = headers["X-Command-ID" if kind == "cmd" else "X-Event-ID"]
        return cls(
            kind=kind,
            type=message_type,
            subject=message.subject,
            id=own_id,
            correlation_id=headers.get("X-Correlation-ID", own_id),
            causation_id=headers.get("X-Causation-ID", own_id),
            headers=headers,
            fields=orjson.loads(message.data),
        )


@define
class Witness:
    """Hears all commands and events of a domain, and keeps them in the order in which they came."""

    heard: list[Heard] = field(factory=list)
    _events: asyncio.Queue[Heard] = field(factory=asyncio.Queue)

    async def listen(self, client: Client, domain: str) -> None:
        """Listen from now on."""
        # One subscription for all, so that what comes first is heard first.
        await client.subscribe(f"{domain}.>", cb=self._receive)
        await client.flush()

    async def next_event(self) -> Heard:
        """The next event that nobody has taken yet."""
        return await self._events.get()

    def trees(self, statuses: dict[str, str]) -> Iterator[Tree]:
        """What was heard as trees, each below the command that began it all.

        `statuses` says of a command's id what came of it.
        """
        branches: dict[str, Tree] = {}
        for one in self.heard:
            words = Text(one.type, style="bold cyan" if one.kind == "event" else "bold")
            words.append(f"  {one.kind} {one.id[:8]}", style="not bold dim")
            if (status := statuses.get(one.id, "accepted")) != "accepted":
                words.append(f"  {status}", style="not bold red")
            cause = branches.get(one.causation_id)
            branches[one.id] = Tree(words) if cause is None else cause.add(words)
            if cause is None:
                yield branches[one.id]

    async def _receive(self, message: Msg) -> None:
        if message.subject.split(".")[1] not in {"cmd", "event"}:
            return
        heard = Heard.of(message)
        self.heard.append(heard)
        if heard.kind == "event":
            self._events.put_nowait(heard)
