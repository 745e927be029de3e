"""`send` and `query` against a service that runs."""

from pathlib import Path
from uuid import uuid4

import pytest


def fields(path: str, **more: str) -> str:
    described = "".join(f', "{name}": "{value}"' for name, value in more.items())
    return f'{{"path": "{path}"{described}}}'


def test_an_accepted_command_is_shown_with_its_event(cli):
    ran = cli("send", "nix.cmd.flake.create", fields("/send/accepted"))
    assert ran.code == 0
    assert ran.err == ""
    shown = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert shown["status"] == "accepted"
    assert shown["version"] == "1"
    assert shown["event"].startswith("flake.created ")


def test_json_is_the_service_s_own_reply_and_nothing_else(cli):
    command_id = str(uuid4())
    ran = cli(
        "send", "nix.cmd.flake.create", fields("/send/json"), "--json", "--command-id", command_id
    )
    assert ran.code == 0
    assert ran.document["status"] == "accepted"
    assert ran.document["command_id"] == ran.document["correlation_id"] == command_id
    assert [event["type"] for event in ran.document["events"]] == ["flake.created"]


def test_the_same_id_again_has_no_further_effect(cli):
    arguments = ("nix.cmd.flake.create", fields("/send/twice"), "--command-id", str(uuid4()))
    first, again = (cli("send", *arguments, "--json").document for _ in range(2))
    assert first == again


def test_a_rejected_command_says_why_and_exits_1(cli):
    cli("send", "nix.cmd.flake.create", fields("/send/rejected"))
    ran = cli("send", "nix.cmd.flake.create", fields("/send/rejected"))
    assert ran.code == 1
    assert "flake.exists" in ran.out
    assert "there is a flake at /send/rejected" in ran.out


@pytest.mark.parametrize(
    ("payload", "options", "status"),
    [
        ('{"path": 7}', (), "invalid"),
        (fields("/send/conflict"), ("--expected-version", "7"), "conflict"),
    ],
)
def test_refusals_of_every_kind_exit_1(cli, payload, options, status):
    ran = cli("send", "nix.cmd.flake.create", payload, *options, "--json")
    assert ran.code == 1
    assert ran.document["status"] == status
    assert ran.document["error"]["message"]


def test_the_wrong_fields_are_named(cli):
    ran = cli("send", "nix.cmd.flake.create", '{"path": "/send/fields", "colour": "red"}')
    assert ran.code == 1
    assert "colour: Extra inputs are not permitted" in ran.out


def test_a_command_that_is_unknown_exits_1(cli):
    ran = cli("send", "nix.cmd.flake.paint", "{}", "--json")
    assert ran.code == 1
    assert ran.document["error"]["code"] == "unknown_command"


def test_correlation_and_causation_travel(cli):
    correlation, causation = str(uuid4()), str(uuid4())
    sent = cli(
        "send",
        "nix.cmd.flake.create",
        fields("/send/correlated"),
        "--correlation-id",
        correlation,
        "--causation-id",
        causation,
        "--json",
    )
    assert sent.document["correlation_id"] == correlation


def test_organizations_do_not_see_each_other(cli):
    cli("send", "nix.cmd.flake.create", fields("/send/tenant"), "--organization-id", "acme")
    asked = ("query", "nix.query.flake.list", '{"text": "/send/tenant"}', "--json")
    assert cli(*asked).document["result"]["items"] == []
    [found] = cli(*asked, "--organization-id", "acme").document["result"]["items"]
    assert found["path"] == "/send/tenant"


def test_a_query_that_waits_for_the_sequence_reads_what_was_written(cli):
    sent = cli("send", "nix.cmd.flake.create", fields("/query/mine"), "--json").document
    ran = cli(
        "query",
        "nix.query.flake.get",
        fields("/query/mine"),
        "--min-sequence",
        str(sent["sequence"]),
        "--json",
    )
    assert ran.code == 0
    assert ran.document["result"]["path"] == "/query/mine"
    assert ran.document["sequence"] >= sent["sequence"]


def test_a_result_for_people_is_indented_json(cli):
    sent = cli("send", "nix.cmd.flake.create", fields("/query/people"), "--json").document
    ran = cli(
        "query", "flake.get", fields("/query/people"), "-d", "nix",
        "--min-sequence", str(sent["sequence"]),
    )  # fmt: skip
    assert ran.document["path"] == "/query/people"
    assert '\n  "path": "/query/people",\n' in ran.out


def test_what_is_not_there_exits_1_and_says_so(cli):
    ran = cli("query", "nix.query.flake.get", fields("/query/absent"))
    assert (ran.code, ran.out) == (1, "")
    assert "not_found" in ran.err
    machine = cli("query", "nix.query.flake.get", fields("/query/absent"), "--json")
    assert machine.code == 1
    assert machine.document["error"]["code"] == "not_found"


def test_json_comes_from_standard_input_or_a_file(cli, tmp_path: Path):
    piped = cli("send", "nix.cmd.flake.create", "-", stdin=fields("/send/stdin"))
    assert piped.code == 0
    file = tmp_path / "command.json"
    file.write_text(fields("/send/file"))
    assert cli("send", "nix.cmd.flake.create", f"@{file}").code == 0


def test_control_characters_and_markup_of_others_are_shown_and_not_obeyed(cli):
    described = '{"path": "/send/evil", "description": "\\u001b[31m [bold]x[/bold] \\u202e"}'
    sent = cli("send", "nix.cmd.flake.create", described, "--json").document
    ran = cli(
        "query", "flake.get", fields("/send/evil"), "-d", "nix",
        "--min-sequence", str(sent["sequence"]),
    )  # fmt: skip
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    assert ran.document["description"] == "\x1b[31m [bold]x[/bold] \u202e"


def test_plain_output_has_no_colour_codes_and_is_never_cut(cli):
    text = "long " * 80
    ran = cli("send", "nix.cmd.flake.create", fields("/send/long", description=text))
    assert ran.code == 0
    lines = cli("events", "nix", "--aggregate", "flake", "/send/long").out.splitlines()
    assert len(lines) == 1
    assert text.strip() in lines[0]
    assert "\x1b" not in lines[0]
