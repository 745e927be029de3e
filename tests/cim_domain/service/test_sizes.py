"""A service whose account or user may send less at once than the server takes from others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen

from cim_domain.client.client import DomainClient
from cim_domain.errors import RequestError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from tests.cim_domain.nats.connection.connecting import private
from tests.cim_domain.nats.connection.jwts import Operator
from tests.cim_domain.service.servers import asked, server_with, sums_on

S = Subjects("sums")
OWN = 8192


@frozen
class Bench:
    service: Service
    client: DomainClient
    link: Link

    async def serves(self) -> None:
        """It is there still, on the connection that it has had from the beginning."""
        reply = await asked(self.link, S.command("tally.add"), {"name": "small"})
        assert reply["status"] == "accepted"
        check = (await self.service.health())["checks"]["connection"]
        assert (check["status"], check["reconnects"]) == ("healthy", 0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_with(tmp_path, OWN) as bench:
        yield bench


@asynccontextmanager
async def bench_with(directory: Path, own: int) -> AsyncIterator[Bench]:
    """A service that may send so much, and a client that may send more."""
    operator = Operator()
    less = private(directory / "service.creds", operator.user(own))
    more = private(directory / "client.creds", operator.user())
    async with (
        server_with(directory / "server", operator.config()) as server,
        sums_on(server.url, directory, credentials_file=less) as service,
    ):
        settings = load_settings(url=server.url, credentials_file=more)
        link = await Link.open(settings, name="test")
        async with DomainClient.open(S.domain, settings) as client:
            yield Bench(service, client, link)
        await link.close()


@pytest.mark.parametrize("amounts", [[1], [1, 2]], ids=["event", "batch"])
@pytest.mark.parametrize("size", [OWN - 300, OWN, 10 * OWN, 700_000])
async def test_an_event_that_is_too_large_for_it_fails_its_command_alone(
    bench: Bench, size: int, amounts: list[int]
) -> None:
    body = {"name": "large", "amounts": amounts, "note": "x" * size}
    reply = await asked(bench.link, S.command("tally.add"), body)
    assert (reply["status"], reply["error"]["code"]) == ("failed", "too_large")
    details = reply["error"]["details"]
    assert details["limit"] <= OWN
    assert details["bytes"] > details["limit"]
    await bench.serves()


async def test_of_small_limits_half_is_for_the_event(tmp_path: Path) -> None:
    async with bench_with(tmp_path, 4096) as bench:
        body = {"name": "fits", "note": "x" * 1800}
        assert (await asked(bench.link, S.command("tally.add"), body))["status"] == "accepted"
        body = {"name": "does not", "note": "x" * 4000}
        reply = await asked(bench.link, S.command("tally.add"), body)
        assert reply["error"]["code"] == "too_large"
        await bench.serves()


async def test_a_reply_that_is_too_large_for_it_is_an_error_in_its_place(bench: Bench) -> None:
    long = "n" * 3000
    for number in range(4):
        await asked(bench.link, S.command("tally.add"), {"name": f"{long}{number}"})
    reply = await asked(bench.link, S.query("tally.names"), {}, X_Min_Sequence="4")
    assert reply["error"]["code"] == "too_large"
    # It is not what was sent that is too large.
    assert reply["error"]["details"]["part"] == "answer"
    assert reply["error"]["details"]["bytes"] > 4 * len(long)
    assert "ask for less" in reply["error"]["message"]
    assert f"has {reply['error']['details']['bytes']} bytes" in reply["error"]["message"]
    await bench.serves()


async def test_what_is_stored_first_and_too_large_for_it_is_a_dead_letter(bench: Bench) -> None:
    submitted = await bench.client.submit("tally.add", {"name": "large", "note": "x" * 20_000})
    status = await bench.client.wait_for(submitted.command_id, timeout=60)
    assert status.dead_letter
    assert status.outcome is not None
    assert status.outcome.error is not None
    assert status.outcome.error.code == "too_large"
    await bench.serves()


async def test_a_refusal_that_is_too_large_for_it_is_shortened(bench: Bench) -> None:
    name = "x" * 20_000
    body = {"name": name, "amounts": [-1]}
    reply = await asked(
        bench.link,
        S.command("tally.add"),
        body,
        X_Command_ID="0f9ad2f4-5f0e-4b5e-9f43-5a3f8f4f1c11",
    )
    assert (reply["status"], reply["error"]["code"]) == ("rejected", "tally.negative")
    assert reply["error"]["details"]["cut_from"] > OWN
    await bench.serves()


async def test_a_client_that_may_send_less_is_refused_before_it_sends(tmp_path: Path) -> None:
    operator = Operator()
    more = private(tmp_path / "service.creds", operator.user())
    less = private(tmp_path / "client.creds", operator.user(OWN))
    async with (
        server_with(tmp_path / "server", operator.config()) as server,
        sums_on(server.url, tmp_path, credentials_file=more),
        DomainClient.open(S.domain, load_settings(url=server.url, credentials_file=less)) as client,
    ):
        large = {"name": "large", "note": "x" * OWN}
        for refused in (
            client.send("tally.add", large),
            client.submit("tally.add", large),
            client.schedule("tally.add", large, after=60),
        ):
            with pytest.raises(RequestError) as caught:
                await refused
            assert caught.value.code == "too_large"
            assert caught.value.details["limit"] == OWN
        assert (await client.send("tally.add", {"name": "small"})).status == "accepted"
