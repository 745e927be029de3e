"""`state` and `history` against a service that runs."""

import json
from uuid import uuid4

import pytest


@pytest.fixture
def flake(cli):
    """The path of a flake with two events, and their outcomes."""
    path, added = f"/past/{uuid4()}", {"name": "nixpkgs", "url": "github:NixOS/nixpkgs"}
    outcomes = [
        cli("send", f"nix.cmd.flake.{action}", json.dumps({"path": path, **more}), "--json")
        for action, more in (("create", {}), ("add_input", added))
    ]
    return path, [one.document for one in outcomes]


def test_state_is_what_the_events_say(cli, flake):
    path, [_, added] = flake
    found = cli("state", "nix", "flake", path, "--json").document
    assert (found["version"], found["sequence"]) == (2, added["sequence"])
    assert found["aggregate_id"] == added["aggregate_id"]
    assert found["event"] == added["events"][0]
    assert "nixpkgs" in json.dumps(found["state"])
    by_id = cli("state", "nix", "flake", added["aggregate_id"], "--json").document
    assert by_id == found
    shown = cli("state", "nix", "flake", path).out
    assert f"flake.input_added {added['events'][0]['id']}" in shown


def test_state_as_of_a_version_and_as_of_its_time_is_the_same(cli, flake):
    path, _ = flake
    first = cli("state", "nix", "flake", path, "--version", "1", "--json").document
    assert first["version"] == 1
    assert "nixpkgs" not in json.dumps(first["state"])
    at = cli("state", "nix", "flake", path, "--at", first["timestamp"], "--json").document
    assert at == first


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("flake", "/past/none"), 1),
        (("window", "/past/none"), 1),
        (("flake", "{path}", "--version", "3"), 1),
        (("flake", "{path}", "--at", "2020-01-01T00:00:00Z"), 1),
        (("flake", "{path}", "--at", "2020-01-01T00:00:00"), 2),
        (("flake", "{path}", "--at", "yesterday"), 2),
        (("flake", "{path}", "--version", "0"), 2),
    ],
)
def test_what_there_is_not_is_refused(cli, flake, arguments, code):
    path, _ = flake
    ran = cli("state", "nix", *(one.format(path=path) for one in arguments))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err


def test_history_tells_what_each_event_changed(cli, flake):
    path, [created, added] = flake
    steps = cli("history", "nix", "flake", path, "--json").documents
    assert [step["sequence"] for step in steps] == [created["sequence"], added["sequence"]]
    assert "nixpkgs" in json.dumps(steps[1]["changes"]["inputs"]["after"])
    assert "nixpkgs" not in json.dumps(steps[1]["changes"]["inputs"]["before"])
    lines = cli("history", "nix", "flake", path).out.splitlines()
    assert "flake.created" in lines[0]
    assert any(line.strip().startswith("inputs ") and " → " in line for line in lines)


@pytest.mark.parametrize("arguments", [("flake", "/past/none"), ("window", "x")])
def test_the_history_of_nothing_is_refused(cli, arguments):
    ran = cli("history", "nix", *arguments)
    assert (ran.code, ran.out) == (1, "")


def test_history_and_events_show_whose_doing_it_is(cli):
    path = f"/past/{uuid4()}"
    own = ("--actor-id", "ann", "--meta", "Request-ID=7", "--meta", "note=two words")
    sent = cli("send", "nix.cmd.flake.create", json.dumps({"path": path}), "--json", *own)
    [event] = cli("history", "nix", "flake", path, "--json").documents
    assert event["actor_id"] == "ann"
    assert event["meta"] == {"Request-ID": "7", "note": "two words"}
    assert " by ann Request-ID=7 note=two words" in cli("history", "nix", "flake", path).out
    correlation = sent.document["correlation_id"]
    assert " by ann\n" in cli("events", "nix", "--correlation", correlation).out


@pytest.mark.parametrize("meta", ["a", "=1", "a_b=1"])
def test_what_is_no_meta_is_refused(cli, meta):
    ran = cli("send", "nix.cmd.flake.create", '{"path": "/past/x"}', "--meta", meta)
    assert ran.code in {1, 2}
    assert "eta" in ran.err
