"""Observers are told what a service does, and never harm it; Prometheus reads it over HTTP."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cim_domain.dead_letters import DeadLetter
from cim_domain.errors import Failed
from cim_domain.integrations.prometheus import CODES, PrometheusObserver
from cim_domain.model.metadata import Metadata, utc_now
from cim_domain.nats.config.settings import load_settings
from cim_domain.observability.observer import GuardedObserver
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.testing.process import service_process
from cim_domain.wire.outcome import Outcome
from tests.cim_domain.faulty import until
from tests.cim_domain.tallies import numbered, tally_domain

MEMORY = load_service_settings(views="memory")


class Noting:
    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        self.queries: list[tuple[str, str | None]] = []
        self.statuses: list[tuple[str, int]] = []
        self.letters: list[str] = []

    def command(self, message_type, outcome, seconds):
        assert seconds > 0
        self.commands.append((message_type, outcome.status))

    def query(self, message_type, error, seconds):
        assert seconds > 0
        self.queries.append((message_type, error))

    def projection(self, status):
        self.statuses.append((status.name, status.position))

    def dead_letter(self, letter):
        self.letters.append(letter.consumer)


class Raising:
    def command(self, *_):
        raise RuntimeError("command")

    def query(self, *_):
        raise RuntimeError("query")

    def projection(self, *_):
        raise RuntimeError("projection")

    def dead_letter(self, *_):
        raise RuntimeError("dead letter")


@pytest.fixture
def nats(subjects, nats_url, tmp_path):
    return load_settings(subject_prefix=subjects.prefix, url=nats_url, data_directory=tmp_path)


async def use(link, root):
    """A command of each kind, queries, and a dead letter."""

    async def ask(subject, body, **headers):
        reply = await link.requests.one(f"{root}.{subject}", body, headers=headers, timeout=5)
        return orjson.loads(reply.data)

    made = await ask("cmd.tally.add", b'{"name":"a"}')
    assert made["status"] == "accepted"
    await ask("cmd.tally.add", b'{"name":"a","amounts":[-1]}')
    await ask("cmd.tally.vanish", b"{}")
    found = await ask(
        "query.tally.get", b'{"name":"a"}', **{"X-Min-Sequence": str(made["sequence"])}
    )
    assert found["total"] == 1
    await ask("query.tally.get", b'{"name":"b"}')
    await ask("query.tally.guess", b"{}")
    await link.client.publish(f"{root}.cmd.tally.add", b"no JSON")


async def test_an_observer_is_told_of_everything(link, nats, subjects):
    observer, root = Noting(), subjects.root.replace("nix", "sums")
    async with Service(tally_domain(), nats, MEMORY, observer=observer):
        await use(link, root)
        await asyncio.wait_for(until(lambda: len(observer.commands) == 4), 10)
    assert observer.commands == [
        ("tally.add", "accepted"), ("tally.add", "rejected"), ("tally.vanish", "invalid"),
        ("tally.add", "invalid"),
    ]  # fmt: skip
    assert observer.queries == [
        ("tally.get", None), ("tally.get", "not_found"), ("tally.guess", "unknown_query"),
    ]  # fmt: skip
    assert ("tallies", 1) in observer.statuses
    assert observer.letters == ["commands"]


async def test_what_an_observer_raises_does_no_harm_and_is_logged_once(
    link, nats, subjects, caplog
):
    root = subjects.root.replace("nix", "sums")
    with caplog.at_level(logging.ERROR, "cim_domain.observability.observer"):
        async with Service(tally_domain(), nats, MEMORY, observer=Raising()) as service:
            await use(link, root)
            assert (await service.health())["checks"]["projection.tallies"]["state"] == "live"
    assert len(caplog.records) == 1


def test_what_stops_a_program_is_not_held_back():
    class Stopping(Raising):
        def query(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GuardedObserver(Stopping()).query("a.b", None, 1.0)


# Prometheus


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, sorted by the labels' names."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_prometheus_reads_what_was_counted(link, nats, subjects):
    metrics, root = PrometheusObserver(tally_domain()), subjects.root.replace("nix", "sums")
    with metrics.served(port=0) as port:
        async with Service(tally_domain(), nats, MEMORY, observer=metrics):
            await use(link, root)
        found = await asyncio.to_thread(scrape, port)
    counted = "cim_domain_commands_total"
    assert found[counted, "", "sums", "accepted", "tally.add"] == 1
    assert found[counted, "tally.negative", "sums", "rejected", "tally.add"] == 1
    assert found[counted, "unknown_command", "sums", "invalid", "unknown"] == 1
    assert found["cim_domain_queries_total", "", "sums", "tally.get"] == 1
    assert found["cim_domain_queries_total", "unknown_query", "sums", "unknown"] == 1
    assert found["cim_domain_query_seconds_count", "sums", "tally.get"] == 2
    assert found["cim_domain_projection_position", "sums", "tallies"] == 1
    assert found["cim_domain_projection_lag_events", "sums", "tallies"] == 0
    assert found["cim_domain_projection_state", "sums", "tallies", "live"] == 1
    assert found["cim_domain_projection_state", "sums", "tallies", "stopped"] == 0
    assert found["cim_domain_dead_letters_total", "invalid", "commands", "sums"] == 1


async def test_nobody_listens_any_more_once_it_is_over():
    metrics = PrometheusObserver(tally_domain())
    with metrics.served(port=0) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


def test_whatever_is_sent_the_series_stay_few():
    metrics = PrometheusObserver(tally_domain())
    metadata = Metadata.root(numbered(1), "a.b", utc_now(), "test")
    for number in range(CODES + 100):
        error = Failed("no", code=f"code_{number}")
        metrics.command(f"guess.{number}", Outcome.refused(error, metadata), 1.0)
        metrics.query(f"guess.{number}", error.code, 1.0)
        letter = DeadLetter.about(error, consumer="commands", subject="s", data=b"")
        metrics.dead_letter(letter)
    for family in metrics.registry.collect():
        assert len({tuple(sample.labels.items()) for sample in family.samples}) <= 2 * (CODES + 1)


def test_serve_gives_metrics_out_where_it_is_told_to(tmp_path: Path):
    arguments = ("--port", "0", "--metrics-port", "0")
    with service_process("nix", data_directory=tmp_path / "data", arguments=arguments) as one:
        said = next(line for line in one.log if "metrics are at" in line)
        port = int(said.split("127.0.0.1:")[1].split("/")[0])
        assert ("cim_domain_projection_state", "nix", "flakes", "live") in scrape(port)
        with pytest.raises(HTTPError):
            urlopen(f"http://127.0.0.1:{port}/metrics", data=b"x", timeout=5)


def test_a_port_that_is_taken_is_named_without_a_traceback(tmp_path: Path):
    metrics = PrometheusObserver(tally_domain())
    with metrics.served(port=0) as port:
        ran = subprocess.run(
            [
                sys.executable, "-m", "cim_domain.cli", "serve", "nix", "--port", "0",
                "--data-directory", tmp_path / "data", "--metrics-port", str(port),
            ],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert ran.returncode == 2
    assert f"127.0.0.1:{port}" in ran.stderr
    assert "Traceback" not in ran.stderr
