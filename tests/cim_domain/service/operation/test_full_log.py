"""A log without room: commands are told so at once, health says it, and it passes by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import attrs
import pytest

from cim_domain.client.client import DomainClient
from cim_domain.errors import RequestError, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.server.embedded import EmbeddedServer
from cim_domain.service.service import Service
from cim_domain.store.fullness import FullnessNoted
from cim_domain.store.jetstream import JetStreamEvents, Patience
from cim_domain.testing.records import commit
from cim_domain.testing.server import frozen
from tests.cim_domain.service.servers import asked, reconfigure, server_with, sums_on

S = Subjects("sums")
NOTE = "x" * 20_000
SMALL, LARGE = 200_000, 10_000_000

ACCOUNT = """
accounts {
  A { jetstream: { max_file: %d, max_mem: 10MB }, users: [ { user: a, password: a } ] }
}
no_auth_user: a
"""


@attrs.frozen
class Bench:
    server: EmbeddedServer
    service: Service
    link: Link
    directory: Path

    async def add(self, name: str, **fields: Any) -> Any:
        return await asked(self.link, S.command("tally.add"), {"name": name, **fields})

    async def filled(self) -> Any:
        """Add until there is no more room; the reply that says so, and what was accepted."""
        accepted: list[str] = []
        for number in range(200):
            name = f"t{number}"
            reply = await self.add(name, note=NOTE)
            if reply["status"] != "accepted":
                return reply, accepted
            accepted.append(name)
        raise AssertionError("it never was full")

    async def log(self) -> Any:
        return await call(self.link.requests, f"STREAM.INFO.{S.event_stream}")

    async def update(self, **settings: Any) -> None:
        config = (await self.log())["config"]
        await call(self.link.requests, f"STREAM.UPDATE.{S.event_stream}", {**config, **settings})

    async def storage(self) -> Any:
        return (await self.service.health())["checks"]["storage"]


@asynccontextmanager
async def bench_with(directory: Path, config: str = "") -> AsyncIterator[Bench]:
    async with (
        server_with(directory / "server", config) as server,
        sums_on(server.url, directory) as service,
    ):
        link = await Link.open(load_settings(), name="test", url=server.url)
        yield Bench(server, service, link, directory / "server")
        await link.close()


async def of_the_account(bench: Bench, *, room: bool) -> None:
    reconfigure(bench.server, bench.directory, ACCOUNT % (LARGE if room else SMALL))
    await asyncio.sleep(1)


async def in_bytes(bench: Bench, *, room: bool) -> None:
    await bench.update(max_bytes=LARGE if room else SMALL)


async def in_messages(bench: Bench, *, room: bool) -> None:
    await bench.update(max_msgs=1000 if room else 5)


@pytest.mark.parametrize("limit", [of_the_account, in_bytes, in_messages])
@pytest.mark.parametrize("amounts", [[1], [1, 1]], ids=["event", "batch"])
async def test_without_room_nothing_is_stored_and_health_says_so_until_there_is_room(
    tmp_path: Path, limit: Callable[..., Awaitable[None]], amounts: list[int]
) -> None:
    async with bench_with(tmp_path, ACCOUNT % LARGE) as bench:
        assert (await bench.service.health())["status"] == "healthy"
        await limit(bench, room=False)
        _, accepted = await bench.filled()
        before = (await bench.log())["state"]
        started = perf_counter()
        reply = await bench.add("more", note=NOTE, amounts=amounts)
        assert perf_counter() - started < 2
        assert (reply["status"], reply["error"]["code"]) == ("failed", "log_full")
        state = (await bench.log())["state"]
        assert (state["messages"], state["bytes"]) == (before["messages"], before["bytes"])
        check = await bench.storage()
        assert check["status"] == "degraded"
        assert check["error"]
        assert (await bench.service.health())["status"] == "degraded"
        await limit(bench, room=True)
        assert (await bench.storage())["status"] == "healthy"
        reply = await bench.add("more", note=NOTE, amounts=amounts)
        assert reply["status"] == "accepted"
        # What was refused has left nothing, and nobody stumbles over it.
        state = (await bench.log())["state"]
        assert state["messages"] == state["last_seq"] == len(accepted) + len(amounts)
        names = await asked(
            bench.link, S.query("tally.names"), {}, X_Min_Sequence=str(reply["sequence"])
        )
        assert {*names} == {*accepted, "more"}
        assert (await bench.service.health())["status"] == "healthy"


async def test_health_warns_before_there_is_no_room(tmp_path: Path) -> None:
    async with bench_with(tmp_path, ACCOUNT % LARGE) as bench:
        await in_messages(bench, room=False)
        for number in range(5):
            assert (await bench.add(f"t{number}"))["status"] == "accepted"
        check = await bench.storage()
        assert check["status"] == "degraded"
        assert "5 of 5 messages" in check["error"]


async def test_a_server_without_room_is_told_of_by_what_it_refused(tmp_path: Path) -> None:
    """Of its own limits a server says nothing."""
    config = f'jetstream {{ store_dir: "{tmp_path}/js", max_file_store: %d }}'
    async with bench_with(tmp_path, config % SMALL) as bench:
        reply, _ = await bench.filled()
        assert reply["error"]["code"] == "log_full"
        check = await bench.storage()
        assert check["status"] == "degraded"
        assert "no room" in check["error"]


async def test_a_message_larger_than_the_stream_takes_is_too_large(tmp_path: Path) -> None:
    async with bench_with(tmp_path) as bench:
        await bench.update(max_msg_size=5000)
        for amounts in ([1], [1, 1]):
            reply = await bench.add("large", note=NOTE, amounts=amounts)
            assert (reply["status"], reply["error"]["code"]) == ("failed", "too_large")
        assert (await bench.add("small"))["status"] == "accepted"


async def test_what_cannot_be_stored_first_is_told_to_its_sender(tmp_path: Path) -> None:
    async with bench_with(tmp_path, ACCOUNT % SMALL) as bench:
        await bench.filled()
        settings = load_settings(url=bench.server.url)
        async with DomainClient.open(S.domain, settings) as client:
            code = ""
            for _ in range(20):
                try:
                    await client.submit("tally.add", {"name": "more", "note": NOTE})
                except RequestError as error:
                    code = error.code
                    break
        assert code == "log_full"


async def test_a_refusal_that_cannot_be_kept_is_told_as_such(tmp_path: Path) -> None:
    async with bench_with(tmp_path, ACCOUNT % SMALL) as bench:
        await bench.filled()
        for _ in range(400):
            reply = await asked(
                bench.link, S.command("tally.add"), {"name": "x" * 4000, "amounts": [-1]},
                X_Command_ID=str(uuid4()),
            )  # fmt: skip
            if reply["status"] == "failed":
                break
        assert reply["error"]["code"] == "log_full"


async def test_a_server_that_does_not_answer_who_stores_is_taken_note_of(tmp_path: Path) -> None:
    """As one with a full disk does not; health looks at this."""
    async with bench_with(tmp_path) as bench:
        events = JetStreamEvents(bench.link, S, Patience(answer=0.2, budget=0.5))
        log = FullnessNoted(events)
        one = commit(str(uuid4()), aggregate="tally")
        await events.identity()
        with frozen(bench.server), pytest.raises(Unavailable) as caught:
            await log.append([one])
        assert log.full is caught.value
        await log.append([one])
        assert log.full is None
