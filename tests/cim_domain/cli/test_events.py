"""`events`: from the log of a service that runs."""

import json
import signal
import subprocess
import sys
from uuid import uuid4

import pytest

from cim_domain.cli.output import Output
from cim_domain.cli.rendering.causation import causation_tree
from cim_domain.identity import derived_id, fresh_id
from cim_domain.model.metadata import Metadata, utc_now
from cim_domain.model.records import EventRecord
from cim_domain.testing.process import clean_environment


@pytest.fixture
def flake(cli):
    """The path and the outcomes of a flake with two events, of one correlation."""
    path, correlation = f"/events/{uuid4()}", str(uuid4())
    outcomes = [
        cli(
            "send", f"nix.cmd.flake.{action}", json.dumps({"path": path}), "--correlation-id",
            correlation, "--json",
        ).document
        for action in ("create", "update")
    ]  # fmt: skip
    return path, outcomes


def test_an_aggregate_is_found_by_its_key_and_by_its_id(cli, flake):
    path, [created, updated] = flake
    by_key = cli("events", "nix", "--aggregate", "flake", path, "--json").documents
    by_id = cli(
        "events", "nix", "--aggregate", "flake", created["aggregate_id"], "--json"
    ).documents
    assert by_key == by_id
    assert [event["type"] for event in by_key] == ["flake.created", "flake.updated"]
    assert [event["sequence"] for event in by_key] == [created["sequence"], updated["sequence"]]
    assert by_key[0]["data"]["path"] == path


def test_a_key_of_several_parts_is_a_json_array(cli):
    ran = cli("events", "nix", "--aggregate", "package", '["nixpkgs", "hello"]')
    assert (ran.code, ran.out) == (0, "")
    assert cli("events", "nix", "--aggregate", "package", '["nixpkgs", 7]').code == 2
    assert cli("events", "nix", "--aggregate", "package", "[nixpkgs").code == 2


def test_all_events_come_in_order_from_behind_a_sequence_up_to_a_limit(cli, flake):
    _, [created, updated] = flake
    after = str(created["sequence"] - 1)
    both = cli("events", "nix", "--after", after, "--limit", "2", "--json").documents
    assert [event["sequence"] for event in both] == [created["sequence"], updated["sequence"]]
    assert len(cli("events", "nix", "--after", after, "--limit", "1").out.splitlines()) == 1
    assert cli("events", "nix", "--after", str(updated["sequence"])).out == ""


def test_a_correlation_is_shown_as_a_tree(cli, flake):
    _, [created, updated] = flake
    ran = cli("events", "nix", "--correlation", created["correlation_id"])
    assert ran.code == 0
    first, *rest = ran.out.splitlines()
    assert first == f"correlation {created['correlation_id']}"
    assert [line[4:].split()[0] for line in rest[::2]] == ["command", "command"]
    assert created["command_id"] in rest[0]
    assert "flake.created" in rest[1]
    assert updated["command_id"] in rest[2]
    assert "flake.updated" in rest[3]


def test_a_correlation_as_json_is_lines_of_events(cli, flake):
    _, [created, _] = flake
    found = cli("events", "nix", "--correlation", created["correlation_id"], "--json").documents
    assert [event["type"] for event in found] == ["flake.created", "flake.updated"]


def test_what_a_process_sent_hangs_below_the_event_it_reacted_to():
    root, event, later = fresh_id(), fresh_id(), fresh_id()
    sent = derived_id(event, "builder.1")
    records = [recorded(1, event, root, root), recorded(2, later, root, sent)]
    output = Output()
    with output.console.capture() as captured:
        output.show(causation_tree(root, records, ["other", "builder"]))
    lines = captured.get().splitlines()
    depths = [len(line) - len(line.lstrip("│├└─ ")) for line in lines]
    assert depths == sorted(set(depths))
    assert f"command {sent} sent by builder" in lines[3]


def recorded(sequence: int, message_id: str, correlation: str, causation: str) -> EventRecord:
    metadata = Metadata(
        message_id=message_id,
        message_type="flake.created",
        correlation_id=correlation,
        causation_id=causation,
        timestamp=utc_now(),
        source="test",
        aggregate_id=fresh_id(),
        aggregate_version=1,
        sequence=sequence,
    )
    return EventRecord(metadata, b"{}")


def test_follow_shows_events_as_they_happen_until_interrupted(cli, data_directory):
    seen = cli("events", "nix", "--json").documents
    after = seen[-1]["sequence"] if seen else 0
    command = [sys.executable, "-m", "cim_domain.cli", "events", "nix", "--follow", "--json"]
    with subprocess.Popen(
        [*command, "--after", str(after)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(NATS_DATA_DIRECTORY=str(data_directory)),
    ) as following:
        sent = cli("send", "nix.cmd.flake.create", '{"path": "/events/live"}', "--json").document
        shown = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
        assert "Traceback" not in following.stderr.read()
    assert shown["id"] == sent["events"][0]["id"]
