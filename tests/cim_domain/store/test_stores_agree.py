"""Random commands, valid and not, lead to the same outcomes and states in memory and on JetStream.

They are the commands of the reference domain, as JSON, sent through two instances by turns: one has
hardly a cache, so that histories are read back, too.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates.nix.config import Config
from aggregates.nix.flake import Flake
from aggregates.nix.module import Module
from aggregates.nix.overlay import Overlay
from aggregates.nix.package import Package
from cim_domain import Domain, RequestError
from cim_domain.commands.decoding import command_metadata, read_command
from cim_domain.commands.executor import Executor
from cim_domain.commands.repository import CachingRepository, ReplayingRepository
from cim_domain.identity import fresh_id
from cim_domain.model.metadata import utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.store.jetstream import JetStreamEvents, ensure_log
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import EventStore
from cim_domain.wire.outcome import Outcome

DOMAIN = Domain("nix", aggregates=[Flake, Package, Module, Overlay, Config])
COMMAND_IDS = st.integers(1, 40)


@frozen
class Sent:
    """One command as a client sends it."""

    type: str
    fields: dict[str, Any]
    headers: dict[str, str]


names = st.sampled_from(["a", "b"])
fields: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "flake.create": st.fixed_dictionaries(
        {"path": st.sampled_from(["/srv/a", "/srv/b", "relative", 7])},
        optional={"description": st.text(max_size=5), "unknown": st.none()},
    ),
    "flake.update": st.fixed_dictionaries({"path": st.sampled_from(["/srv/a", "/srv/b"])}),
    "flake.add_input": st.fixed_dictionaries(
        {
            "path": st.sampled_from(["/srv/a", "/srv/b"]),
            "name": names,
            "url": st.sampled_from(["github:a/a", "github:b/b", "no url"]),
        }
    ),
    "flake.remove_input": st.fixed_dictionaries({"path": st.just("/srv/a"), "name": names}),
    "module.create": st.fixed_dictionaries(
        {"name": names, "module": st.fixed_dictionaries({"options": st.just({"a": 1})})}
    ),
    "module.delete": st.fixed_dictionaries({"name": names}),
    "package.build": st.fixed_dictionaries(
        {"flake_ref": st.just("github:a/a"), "attribute": names}
    ),
    "config.create": st.fixed_dictionaries(
        {
            "name": names,
            "configuration": st.fixed_dictionaries(
                {
                    "system": st.sampled_from(["x86_64-linux", "vax"]),
                    "path": st.just("/srv/a"),
                    "hostname": names,
                }
            ),
        }
    ),
    "config.activate": st.fixed_dictionaries(
        {"name": names, "activation_type": st.sampled_from(["switch", "boot", "never"])}
    ),
    "config.rollback": st.fixed_dictionaries({"name": names}),
    "flake.vanish": st.just({}),
}


@st.composite
def commands(draw: st.DrawFn) -> Sent:
    type_ = draw(st.sampled_from(sorted(fields)))
    headers = {"X-Command-ID": str(UUID(int=draw(COMMAND_IDS)))}
    if draw(st.booleans()):
        headers["X-Organization-ID"] = draw(st.sampled_from(["acme", "umbrella", "not one"]))
    if draw(st.integers(0, 9)) == 0:
        headers["X-Expected-Version"] = draw(st.sampled_from(["0", "1", "2", "-1"]))
    return Sent(type_, draw(fields[type_]), headers)


class Instance:
    """An executor on a store, with a cache of so many aggregates."""

    def __init__(self, store: EventStore, cache: int) -> None:
        self.store = store
        repository = CachingRepository(ReplayingRepository(DOMAIN, store), cache)
        self.executor = Executor(DOMAIN, store, repository, source="cim-domain-nix")

    async def send(self, sent: Sent) -> Outcome:
        try:
            metadata = command_metadata(sent.type, sent.headers, fresh_id, utc_now)
            command = read_command(DOMAIN, metadata, sent.headers, orjson.dumps(sent.fields))
        except RequestError as error:
            return Outcome.refused(error)
        return await self.executor.execute(command)


async def play(store: EventStore, batches: Sequence[Sequence[Sent]]) -> tuple[Any, Any]:
    """What came of each command, and the state of every aggregate afterwards.

    Batches go to two instances by turns.
    """
    instances = (Instance(store, 100), Instance(store, 1))
    outcomes: list[Any] = []
    for number, batch in enumerate(batches):
        instance = instances[number % 2]
        outcomes += [(await instance.send(sent)).as_dict() for sent in batch]
    repository = ReplayingRepository(DOMAIN, store)
    found = {
        (one.metadata.message_type.split(".")[0], one.metadata.aggregate_id or "")
        async for part in store.read()
        for one in part.records
    }
    states = {}
    for name, identifier in sorted(found):
        known = await repository.load(DOMAIN.aggregates[name], identifier)
        states[name, identifier] = (known.state, known.position)
    return outcomes, states


async def on_jetstream(url: str, batches: Sequence[Sequence[Sent]]) -> tuple[Any, Any]:
    link = await Link.open(load_settings(), name="test", url=url)
    subjects = Subjects("nix", prefix=link.client.new_inbox().lower().replace(".", "-"))
    await ensure_log(link.requests, subjects)
    try:
        return await play(JetStreamEvents(link, subjects), batches)
    finally:
        await call(link.requests, f"STREAM.DELETE.{subjects.event_stream}")
        await link.close()


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(commands(), max_size=8), max_size=6))
def test_memory_and_jetstream_find_the_same_outcomes_and_states(
    nats_url: str, batches: list[list[Sent]]
) -> None:
    in_memory = asyncio.run(play(MemoryEvents(), batches))
    outcomes, states = asyncio.run(on_jetstream(nats_url, batches))
    assert outcomes == in_memory[0]
    assert states == in_memory[1]


CERTAIN: list[tuple[str, dict[str, Any]]] = [
    ("flake.create", {"path": "/srv/a"}),
    ("flake.create", {"path": "/srv/a"}),
    ("flake.create", {"path": "relative"}),
    ("flake.vanish", {}),
]


def test_the_random_commands_are_of_every_kind() -> None:
    batches = [[Sent(name, strategy, {}) for name, strategy in CERTAIN]]
    outcomes, _ = asyncio.run(play(MemoryEvents(), batches))
    assert [one["status"] for one in outcomes] == ["accepted", "rejected", "invalid", "invalid"]
