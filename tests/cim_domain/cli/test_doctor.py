"""`doctor`: healthy, and with the faults it is there to find."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from cim_domain.cli.doctor.examination import skew
from cim_domain.cli.doctor.views_file import views_file
from cim_domain.dead_letters import DeadLetter
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters, dead_letter_stream
from cim_domain.nats.jetstream.streams import ensure_stream
from cim_domain.service.settings import load_service_settings
from cim_domain.store.jetstream import event_stream
from cim_domain.testing.server import server_in_thread
from cim_domain.views.sql.sqlite_file import APPLICATION


def found(ran) -> dict[str, dict[str, str]]:
    return {one["name"]: one for one in ran.document["checks"]}


def test_a_healthy_domain_is_ok_in_every_line(cli):
    ran = cli("doctor", "nix", "--json")
    checks = found(ran)
    assert ran.code == 0, checks
    assert ran.document["status"] == "ok"
    assert {"server", "jetstream", "clock", "stream NIX_EVENTS", "service", "views"} <= set(checks)
    assert all(one["status"] == "ok" for one in checks.values())
    lines = cli("doctor", "nix").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(checks)


def test_without_a_domain_the_server_alone_is_looked_at(cli):
    assert set(found(cli("doctor", "--json"))) == {"server", "jetstream", "clock"}


def test_a_server_without_jetstream_fails_and_says_how_to_enable_it(run):
    with server_in_thread(extra_config="jetstream: disabled") as url:
        ran = run("doctor", "nix", "--url", url, "--json")
    assert ran.code == 1
    checks = found(ran)
    assert checks["server"]["status"] == "ok"
    assert checks["jetstream"]["status"] == "fail"
    assert "-js" in checks["jetstream"]["advice"]


async def test_a_stream_changed_by_hand_fails_and_the_difference_is_named(
    run, link, subjects, nats_url, tmp_path
):
    definition = event_stream(subjects)
    await ensure_stream(link.requests, definition)
    changed = {**definition.wanted, "allow_direct": False, "discard": "old"}
    await call(link.requests, f"STREAM.UPDATE.{definition.name}", changed)
    environment = {"NATS_SUBJECT_PREFIX": subjects.prefix, "NATS_DATA_DIRECTORY": str(tmp_path)}
    ran = await in_thread(run, "doctor", "nix", "--url", nats_url, "--json", **environment)
    assert ran.code == 1
    check = found(ran)[f"stream {definition.name}"]
    assert check["status"] == "fail"
    assert "discard is 'old', needed is 'new'" in check["message"]
    assert "allow_direct" in check["message"]


async def test_what_is_not_there_yet_is_a_warning(run, subjects, nats_url, tmp_path):
    environment = {"NATS_SUBJECT_PREFIX": subjects.prefix, "NATS_DATA_DIRECTORY": str(tmp_path)}
    ran = await in_thread(run, "doctor", "nix", "--url", nats_url, "--json", **environment)
    assert ran.code == 0
    checks = found(ran)
    assert checks[f"stream {subjects.event_stream}"]["status"] == "warn"
    assert checks["service"]["status"] == "warn"
    assert "cim-domain serve nix" in checks["service"]["advice"]
    assert checks["views"]["status"] == "ok"


@pytest.mark.parametrize("fault", ["damaged", "foreign"])
def test_views_that_cannot_be_used_fail(run, nats_url, subjects, tmp_path, fault):
    file = tmp_path / f"{subjects.prefix}-nix-views.sqlite3"
    if fault == "damaged":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute("CREATE TABLE one (text)")
            connection.executemany("INSERT INTO one VALUES (?)", [("x" * 500,)] * 100)
            connection.commit()
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)
    else:
        file.write_bytes(b"this is no database at all" * 50)
    environment = {"NATS_SUBJECT_PREFIX": subjects.prefix, "NATS_DATA_DIRECTORY": str(tmp_path)}
    ran = run("doctor", "nix", "--url", nats_url, "--json", **environment)
    assert ran.code == 1
    assert found(ran)["views"]["status"] == "fail"


def test_clocks_that_differ_are_told_by_how_much_and_which_way():
    now = datetime.now(UTC)
    inside = timedelta(milliseconds=5)
    assert skew(now, now - inside, now + inside).status == "ok"
    late = skew(now - timedelta(seconds=90), now - inside, now + inside)
    assert late.status == "warn"
    assert "90.0 s ahead of the server" in late.message
    early = skew(now + timedelta(seconds=90), now - inside, now + inside)
    assert "90.0 s behind the server" in early.message


async def in_thread(run, *arguments, **environment):
    """The command line has an event loop of its own, which this one must not be in the way of."""
    return await asyncio.to_thread(run, *arguments, **environment)


async def test_what_waits_is_a_warning_that_counts_it(run, link, subjects, nats_url, tmp_path):
    definitions = (
        event_stream(subjects),
        dead_letter_stream(subjects.dead_letter_stream, subjects.dead_letters),
    )
    for definition in definitions:
        await ensure_stream(link.requests, definition)
    stream = subjects.event_stream
    await call(
        link.requests,
        f"CONSUMER.CREATE.{stream}.process-builder",
        {"stream_name": stream, "config": {"durable_name": "process-builder", "ack_policy": "all"}},
    )
    for number in range(3):
        await link.requests.one(subjects.journal("flake.created", str(number)), b"{}", timeout=5)
    letters = StreamDeadLetters(link, subjects.dead_letter_stream, subjects.dead_letter_root)
    letter = DeadLetter(consumer="commands", subject="a.b", data=b"{}", code="invalid", reason="r")
    await letters.put(letter)
    ran = await in_thread(
        run, "doctor", "nix", "--url", nats_url, "--json",
        NATS_SUBJECT_PREFIX=subjects.prefix, NATS_DATA_DIRECTORY=str(tmp_path),
        CIM_DOMAIN_LAG_ALLOWED="2",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.document["status"] == "warn"
    checks = found(ran)
    waiting = checks["consumer process-builder"]
    assert (waiting["status"], waiting["message"][:13]) == ("warn", "3 events wait")
    assert checks["dead letters"]["status"] == "warn"
    assert subjects.dead_letter_stream in checks["dead letters"]["advice"]


async def test_a_service_that_is_not_well_is_named_with_what_ails_it(
    run, link, subjects, nats_url, tmp_path
):
    report = {
        "status": "unhealthy", "service": "cim-domain-nix", "version": "1.2.3",
        "checks": {"stream": {"status": "unhealthy", "error": "is \x1b[1m away"}},
    }  # fmt: skip

    async def respond(message):
        await message.respond(json.dumps(report).encode())

    await link.client.subscribe(subjects.health, cb=respond)
    environment = {"NATS_SUBJECT_PREFIX": subjects.prefix, "NATS_DATA_DIRECTORY": str(tmp_path)}
    ran = await in_thread(run, "doctor", "nix", "--url", nats_url, **environment)
    assert ran.code == 1
    [line] = [line for line in ran.out.splitlines() if " service " in line]
    assert line.startswith("fail")
    assert "(stream: is \\x1b[1m away)" in line
    health = await in_thread(run, "health", "nix", "--url", nats_url, **environment)
    assert health.code == 1
    assert "unhealthy" in health.out
    assert "\x1b" not in health.out + ran.out


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("degraded", 1), ("unhealthy", 1)])
async def test_health_ends_with_an_error_where_all_is_not_well(
    run, link, subjects, nats_url, tmp_path, status, code
):
    report = {"status": status, "service": "cim-domain-nix", "version": "1", "checks": {}}

    async def respond(message):
        await message.respond(json.dumps(report).encode())

    await link.client.subscribe(subjects.health, cb=respond)
    environment = {"NATS_SUBJECT_PREFIX": subjects.prefix, "NATS_DATA_DIRECTORY": str(tmp_path)}
    assert (await in_thread(run, "health", "nix", "--url", nats_url, **environment)).code == code


@pytest.mark.parametrize("views", ["memory", "postgresql://me:hunter2@nowhere.invalid/views"])
def test_views_elsewhere_are_the_service_s_own_to_judge(views, tmp_path):
    finding = views_file(
        load_service_settings(views=views), load_settings(data_directory=tmp_path), "nix"
    )
    assert finding.status == "ok"
    assert "hunter2" not in finding.message


def test_views_that_were_set_aside_or_are_open_to_others_are_a_warning(tmp_path):
    file = tmp_path / "nix-views.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    settings, nats = load_service_settings(), load_settings(data_directory=tmp_path)
    file.chmod(0o644)
    assert "chmod 600" in views_file(settings, nats, "nix").advice
    file.chmod(0o600)
    assert views_file(settings, nats, "nix").status == "ok"
    (tmp_path / "nix-views.sqlite3.corrupt-1").touch()
    aside = views_file(settings, nats, "nix")
    assert (aside.status, "nix-views.sqlite3.corrupt-1" in aside.advice) == ("warn", True)
