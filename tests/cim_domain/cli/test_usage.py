"""What the command line refuses before it asks anybody, and what it says when nobody is there."""

import json
import socket

import pytest


@pytest.fixture
def nobody():
    """An address of this machine at which nobody listens, nor will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("command", ["send", "query"])
@pytest.mark.parametrize("payload", ["{bad", "[1]", "7", "@/nowhere/at/all.json"])
def test_json_that_is_no_object_exits_2(run, command, payload):
    kind = {"send": "cmd", "query": "query"}[command]
    ran = run(command, f"nix.{kind}.flake.create", payload)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) <= 2


def test_what_never_ends_is_not_read_to_the_end(run):
    ran = run("send", "nix.cmd.flake.create", "@/dev/zero")
    assert ran.code == 2
    assert "no server takes" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("dlq", "show", "nix"),
        ("dlq", "replay", "nix"),
        ("dlq", "discard", "nix"),
        ("dlq", "list", "nix", "--after"),
        ("events", "nix", "--after"),
        ("state", "nix", "flake", "/srv/web", "--version"),
        ("status", "nix", "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00", "--sequence"),
        ("send", "nix.cmd.flake.create", "{}", "--expected-version"),
        ("query", "nix.query.flake.get", "{}", "--min-sequence"),
    ],
)
def test_a_number_that_no_log_reaches_exits_2(run, arguments, nats_url):
    ran = run(*arguments, "99999999999999999999", "--url", nats_url)
    assert (ran.code, ran.out) == (2, "")
    assert "Error" not in ran.err.replace("─ Error ─", "")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("flake.create", "--domain"),
        ("nix.query.flake.get", "cim-domain query"),
        ("nix.flake.create", "DOMAIN.cmd.AGGREGATE.ACTION"),
        ("Nix.cmd.flake.create", "lower snake case"),
        ("nix.cmd.flake.create\x1b[2J", "code"),
    ],
)
def test_a_subject_that_is_none_exits_with_a_word_about_it(run, subject, said, nats_url):
    ran = run("send", subject, "{}", "--url", nats_url)
    assert ran.code in {1, 2}
    assert "\x1b" not in ran.err
    if said != "code":
        assert ran.code == 2
        assert said in ran.err


def test_errors_are_one_json_document_where_json_is_asked_for(run):
    ran = run("send", "nix.cmd.flake.create", "{bad", "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "nix.cmd.flake.create", "{}"),
        ("query", "nix.query.flake.get", "{}"),
        ("events", "nix"),
        ("health",),
        ("health", "nix"),
        ("projections", "list", "nix"),
        ("doctor", "nix"),
        ("serve", "nix"),
    ],
)
def test_without_a_server_every_command_exits_3(run, arguments, nobody, tmp_path):
    brief = {"NATS_CONNECT_TIMEOUT": "0.2", "NATS_DATA_DIRECTORY": str(tmp_path / "data")}
    ran = run(*arguments, "--url", f"nats://{nobody}", **brief)
    assert ran.code == 3
    assert nobody in ran.err + ran.out
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "nix.cmd.flake.create", '{"path": "/srv/web"}'),
        ("query", "nix.query.flake.get", '{"path": "/srv/web"}'),
        ("health", "nix"),
        ("health",),
        ("projections", "list", "nix"),
        ("events", "nix"),
    ],
)
def test_a_server_without_the_service_exits_3(run, arguments, nats_url, subjects):
    ran = run(*arguments, "--url", nats_url, NATS_SUBJECT_PREFIX=subjects.prefix)
    assert ran.code == 3
    assert "start" in ran.err.splitlines()[-1]


def test_a_configuration_that_does_not_fit_exits_2(run, tmp_path):
    ran = run("health", NATS_URL="http://example.org")
    assert ran.code == 2
    assert "NATS_URLS" in ran.err
    missing = run("health", CIM_DOMAIN_CONFIG=str(tmp_path / "missing.toml"))
    assert missing.code == 2
    assert "missing.toml" in missing.err


def test_the_configuration_file_that_is_named_counts(run, tmp_path, nobody):
    file = tmp_path / "other.toml"
    file.write_text(f'[nats]\nurl = "nats://{nobody}"\nconnect_timeout = 0.2\n')
    ran = run("health", "--config", str(file))
    assert ran.code == 3
    assert nobody in ran.err


def test_no_error_repeats_a_password(run, nobody):
    url = f"nats://me:hunter2@{nobody}"
    ran = run("health", "--url", url, "--json", NATS_CONNECT_TIMEOUT="0.2")
    assert ran.code == 3
    assert "hunter2" not in ran.out + ran.err


def test_an_unknown_domain_or_projection_exits_with_what_there_is(cli, run, nats_url):
    serve = run("serve", "nowhere", "--url", nats_url)
    assert serve.code == 2
    assert "aggregates/nowhere" in serve.err
    rebuild = cli("projections", "rebuild", "nix", "nothing")
    assert rebuild.code == 1
    assert "flakes" in rebuild.err


@pytest.mark.parametrize(
    "command",
    ["new", "serve", "send", "query", "events", "health", "doctor", "projections list",
     "projections rebuild"],
)  # fmt: skip
def test_every_command_explains_itself_with_an_example(run, command):
    ran = run(*command.split(), "--help")
    assert ran.code == 0
    assert "Example" in ran.out
    assert f"cim-domain {command}" in ran.out
