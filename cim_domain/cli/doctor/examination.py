"""Looking at a server and at what a domain has on it. Nothing is changed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cim_domain.cli.doctor.findings import Decision, Finding
from cim_domain.client import DomainClient
from cim_domain.errors import ConfigurationError, RequestError
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import redacted
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError, call
from cim_domain.nats.jetstream.consumers import consumers_of
from cim_domain.nats.jetstream.dead_letters import dead_letter_stream
from cim_domain.nats.jetstream.requirements import OLDEST, require_jetstream
from cim_domain.nats.jetstream.streams import StreamDefinition, stream_config
from cim_domain.processes.runner import CONSUMER
from cim_domain.store.jetstream import JetStreamEvents, event_stream, log_identity

SKEW = 1.0
"""Seconds by which clocks may differ before it is worth a word."""

ANSWER = 2.0
"""Seconds that a service may take to say how it fares."""


def version(link: Link) -> Finding:
    """Whether the server is new enough."""
    found = link.client.connected_server_version
    number = (found.major, found.minor, found.patch)
    url = link.client.connected_url
    place = f" at {redacted(url.geturl())}" if url else ""
    text = f"nats-server {'.'.join(map(str, number))}{place}"
    if number >= OLDEST:
        return Finding("server", "ok", text)
    oldest = ".".join(map(str, OLDEST))
    return Finding("server", "fail", text, f"it is too old: run {oldest} or later")


async def jetstream(link: Link) -> Finding:
    """Whether the account has JetStream."""
    try:
        await require_jetstream(link)
    except (ConfigurationError, RequestError) as error:
        problem, _, advice = str(error).partition(": ")
        return Finding("jetstream", "fail", problem, advice or "look at the server's log")
    return Finding("jetstream", "ok", "is enabled")


async def clock(link: Link) -> Finding:
    """How far this machine's clock is from the server's, which says its own beside a stream."""
    before = datetime.now(UTC)
    answer = await call(link.requests, "STREAM.LIST")
    after = datetime.now(UTC)
    said = [info["ts"] for info in answer.get("streams") or () if "ts" in info]
    if not said:
        return Finding("clock", "ok", "not compared: the server tells its time only with a stream")
    return skew(datetime.fromisoformat(said[0]), before, after)


def skew(server: datetime, before: datetime, after: datetime) -> Finding:
    """What to say of a server's time that was told between two times of this machine."""
    outside = max(before - server, server - after, timedelta(0)).total_seconds()
    if outside <= SKEW:
        return Finding("clock", "ok", f"within {SKEW:g} s of the server's")
    ahead = "behind" if server > after else "ahead of"
    return Finding(
        "clock",
        "warn",
        f"this machine is {outside:.1f} s {ahead} the server",
        "have both keep their time by NTP: the times of events are those of the service's machine",
    )


async def streams(link: Link, subjects: Subjects, replicas: int) -> list[Finding]:
    """Whether the domain's streams are as a service needs them."""
    letters = dead_letter_stream(subjects.dead_letter_stream, subjects.dead_letters, replicas)
    return [
        *await _log(link, subjects, replicas),
        await _stream(link, subjects, letters),
    ]


async def service(link: Link, subjects: Subjects) -> Finding:
    """What a service of the domain says of itself."""
    try:
        client = DomainClient(link, subjects, timeout=ANSWER, retry=0)
        said = await client.health()
    except RequestError as error:
        advice = f"start it with `cim-domain serve {subjects.domain}`"
        return Finding("service", "warn", error.message, advice)
    poor = [
        f"{name}: {check.get('error') or check.get('status')}"
        for name, check in said.get("checks", {}).items()
        if check.get("status") != "healthy"
    ]
    text = f"{said.get('service')} {said.get('version')} is {said['status']}"
    if not poor:
        return Finding("service", "ok", text)
    verdict: Decision = "fail" if said["status"] == "unhealthy" else "warn"
    advice = f"see `cim-domain health {subjects.domain}` and the service's log"
    return Finding("service", verdict, f"{text} ({'; '.join(poor)})", advice)


async def consumers(
    link: Link, subjects: Subjects, allowed: int, code: Domain | None
) -> list[Finding]:
    """How many events wait for each durable consumer of the log, and which are left over."""
    return [
        _consumer(info, allowed, subjects.domain, code)
        for info in await consumers_of(link.requests, subjects.event_stream)
    ]


async def dead_letters(link: Link, subjects: Subjects) -> Finding:
    """How many dead letters there are."""
    stream = subjects.dead_letter_stream
    try:
        info = await call(link.requests, f"STREAM.INFO.{stream}")
    except ApiError as error:
        if error.error_code != STREAM_NOT_FOUND:
            raise
        return Finding("dead letters", "ok", "none")
    count = int(info["state"]["messages"])
    if not count:
        return Finding("dead letters", "ok", "none")
    advice = (
        f"`cim-domain dlq list {subjects.domain}` tells why; replay or discard what is in {stream}"
    )
    return Finding("dead letters", "warn", f"{count} wait for somebody", advice)


async def _log(link: Link, subjects: Subjects, replicas: int) -> list[Finding]:
    """Whether the event stream is as needed, and which log it is."""
    config = await stream_config(link.requests, subjects.event_stream)
    if config is None:
        return [await _stream(link, subjects, event_stream(subjects, replicas))]
    try:
        identity = log_identity(subjects, config)
    except ConfigurationError as error:
        problem, _, advice = str(error).partition(". ")
        return [Finding(f"stream {subjects.event_stream}", "fail", problem, advice)]
    stream = await _stream(link, subjects, event_stream(subjects, replicas, identity))
    text = f"is {identity.log_id}, in {identity.partitions} partitions"
    lost = await JetStreamEvents(link, subjects).first_lost()
    if lost is None:
        return [stream, Finding("log", "ok", text)]
    return [
        stream,
        Finding(
            "log",
            "fail",
            f"{text}; event {lost} is missing: the log is damaged",
            "bring the log back from a backup; nothing behind that event is built into views",
        ),
    ]


async def _stream(link: Link, subjects: Subjects, definition: StreamDefinition) -> Finding:
    name = f"stream {definition.name}"
    start = f"`cim-domain serve {subjects.domain}`"
    actual = await stream_config(link.requests, definition.name)
    if actual is None:
        return Finding(name, "warn", "is not there", f"{start} makes it")
    differences = definition.differences(actual)
    if not differences:
        return Finding(name, "ok", "is as needed")
    listed = "; ".join(
        f"{setting} is {found!r}, needed is {wanted!r}"
        for setting, (wanted, found) in differences.items()
    )
    advice = f"{start} sets it right where the server allows that; else `nats stream edit` does"
    return Finding(name, "fail", listed, advice)


def _consumer(info: Mapping[str, Any], allowed: int, domain: str, code: Domain | None) -> Finding:
    name = f"consumer {info['name']}"
    waiting, handling = int(info["num_pending"]), int(info["num_ack_pending"])
    text = f"{waiting} events wait, {handling} are being handled"
    if code and info["name"].startswith(CONSUMER):
        process = info["name"].removeprefix(CONSUMER)
        if process not in code.processes:
            advice = f"`cim-domain processes remove {domain} {process}` removes it"
            return Finding(name, "warn", f"{text}; the code here has no such process", advice)
    if waiting <= allowed:
        return Finding(name, "ok", text)
    return Finding(name, "warn", text, "see whether the service runs, and what its log says")
