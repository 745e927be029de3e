"""Many clients with unique command ids: hot aggregates and fresh ones, commands good and bad."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

import orjson
from attrs import define, field

from cim_domain import Domain
from tests.faults.verdict.history import History, Kind, Sent
from tests.faults.wire import Wire

PATIENCE = 2.0
"""Seconds that a client waits for a reply."""

_HOT = 6
_NAMES = ("nixpkgs", "home", "utils", "stylix")
PAUSE = 0.05
"""Seconds at least from one try to the next, so that a history stays of bounded size."""


@define(eq=False)
class Workload:
    """What clients do until they are told that it is enough."""

    domain: Domain
    wires: Sequence[Wire]
    draw: random.Random
    history: History = field(factory=History)
    enough: asyncio.Event = field(factory=asyncio.Event)
    _recent: deque[Sent] = field(factory=lambda: deque(maxlen=200))

    async def run(self, clients: int) -> None:
        """So many clients side by side, each one command after the other."""
        await asyncio.gather(*(self._client(self.draw.getrandbits(64)) for _ in range(clients)))

    async def _client(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.enough.is_set():
            await self._step(draw)

    async def _step(self, draw: random.Random) -> None:
        wire = draw.choice(self.wires)
        if self._recent and draw.random() < 0.08:
            # Again, as a client does that has lost the reply.
            await wire.send(draw.choice(self._recent), "request", PATIENCE)
            return
        sent = self._drawn(draw)
        if draw.random() < 0.05:
            # Twice at once, by different ways.
            await asyncio.gather(
                *(one.send(sent, "request", PATIENCE) for one in draw.sample(self.wires, 2))
            )
        else:
            # What fails for good is tried again for long, where it is stored.
            stored = draw.random() < 0.1 and sent.message_type not in {"tally.add", "flake.unknown"}
            kind: Kind = "submit" if stored else "request"
            for _ in range(draw.choice((1, 3, 6))):
                attempt = await draw.choice(self.wires).send(sent, kind, PATIENCE)
                if any(one.is_definite or one.status == "stored" for one in attempt.replies):
                    break
                # Nobody being there is answered at once: who sends on meanwhile fills the memory.
                await asyncio.sleep(PAUSE * (1 + draw.random()))
        self._recent.append(sent)

    def _drawn(self, draw: random.Random) -> Sent:
        kinds = _FLAKES + (_TALLIES if "tally" in self.domain.aggregates else ())
        weights = [weight for weight, _ in kinds]
        (make,) = draw.choices([make for _, make in kinds], weights)
        message_type, fields = make(draw)
        data = fields if isinstance(fields, bytes) else orjson.dumps(fields)
        expected = draw.choice((0, 1, 5)) if draw.random() < 0.05 else None
        return self._add(draw, message_type, data, expected)

    def _add(
        self, draw: random.Random, message_type: str, data: bytes, expected: int | None = None
    ) -> Sent:
        sent = Sent(str(UUID(int=draw.getrandbits(128), version=4)), message_type, data, expected)
        try:
            command = self.domain.commands[message_type].from_wire(data)
        except (KeyError, ValueError):
            sent.aggregate_id = None
        else:
            sent.aggregate_id = self.domain.id_for(command)
        return self.history.add(sent)


Made = tuple[str, dict[str, object] | bytes]


def _hot(draw: random.Random) -> str:
    return f"/hot/{draw.randrange(_HOT)}"


def _fresh(draw: random.Random) -> str:
    return f"/fresh/{draw.getrandbits(64):x}"


def _input(draw: random.Random) -> str:
    return draw.choice(_NAMES)


_FLAKES: tuple[tuple[int, Callable[[random.Random], Made]], ...] = (
    (15, lambda draw: ("flake.create", {"path": _fresh(draw), "description": "fresh"})),
    (6, lambda draw: ("flake.create", {"path": _hot(draw)})),
    (12, lambda draw: ("flake.update", {"path": _hot(draw)})),
    (
        14,
        lambda draw: (
            "flake.add_input",
            {"path": _hot(draw), "name": _input(draw), "url": "github:nixos/nixpkgs"},
        ),
    ),
    (12, lambda draw: ("flake.remove_input", {"path": _hot(draw), "name": _input(draw)})),
    (2, lambda draw: ("flake.update", {"path": _fresh(draw)})),
    (2, lambda draw: ("flake.create", {"path": 7})),
    (1, lambda _: ("flake.create", b"{")),
    (1, lambda _: ("flake.unknown", {})),
)
_TALLIES: tuple[tuple[int, Callable[[random.Random], Made]], ...] = (
    (
        18,
        lambda draw: (
            "tally.add",
            {
                "name": _hot(draw),
                "amounts": [draw.randint(1, 9) for _ in range(draw.randint(1, 5))],
            },
        ),
    ),
    (6, lambda draw: ("tally.add", {"name": _fresh(draw), "amounts": [1, 2, 3]})),
    (3, lambda draw: ("tally.add", {"name": _hot(draw), "amounts": [5, -1]})),
    (1, lambda draw: ("tally.add", {"name": _hot(draw), "amounts": [5, 0]})),
    (5, lambda draw: ("tally.rename", {"name": _hot(draw), "title": _input(draw)})),
)
