"""`submit`, `schedule`, `cancel` and `status` against a service that runs."""

from uuid import uuid4

import pytest

SUBMIT = "nix.submit.flake.create"


def fields(path: str) -> str:
    return f'{{"path": "{path}"}}'


def rows(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def test_what_is_submitted_is_stored_and_its_status_can_be_asked(cli):
    ran = cli("submit", SUBMIT, fields("/submit/stored"))
    assert (ran.code, ran.err) == (0, "")
    stored = rows(ran.out)
    assert stored["status"] == "stored"
    known = cli("status", "nix", stored["command"], "--sequence", stored["sequence"], "--json")
    assert known.code == 0
    assert known.document["status"] in {"waiting", "accepted"}


def test_with_wait_the_outcome_is_shown_and_status_shows_the_same(cli):
    command_id = str(uuid4())
    ran = cli(
        "submit", "flake.create", fields("/submit/waited"), "-d", "nix", "--wait",
        "--command-id", command_id, "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert (ran.document["status"], ran.document["command_id"]) == ("accepted", command_id)
    assert cli("status", "nix", command_id, "--json").document == ran.document
    shown = cli("status", "nix", command_id).out
    assert rows(shown)["status"] == "accepted"


@pytest.mark.parametrize(
    ("payload", "state"), [('{"path": 7}', "invalid"), (fields("/submit/twice"), "rejected")]
)
def test_what_was_refused_exits_1_and_says_why(cli, payload, state):
    cli("submit", SUBMIT, fields("/submit/twice"), "--wait")
    ran = cli("submit", SUBMIT, payload, "--wait", "--json")
    assert ran.code == 1
    assert ran.document["status"] == state
    assert cli("status", "nix", ran.document["command_id"]).code == 1


def test_submitted_twice_it_is_stored_once(cli):
    command_id = str(uuid4())
    for duplicate in (False, True):
        ran = cli("submit", SUBMIT, fields("/submit/id"), "--command-id", command_id, "--json")
        assert ran.code == 0
        assert ran.document["duplicate"] is duplicate


def test_a_scheduled_command_waits_and_can_be_cancelled_once(cli):
    ran = cli("schedule", SUBMIT, fields("/schedule/cancelled"), "--after", "2h")
    assert (ran.code, rows(ran.out)["status"]) == (0, "scheduled")
    command_id = rows(ran.out)["command"]
    known = cli("status", "nix", command_id)
    assert known.code == 0
    assert rows(known.out)["at"] == rows(ran.out)["at"]
    assert cli("cancel", "nix", command_id, "--json").document["status"] == "cancelled"
    assert cli("status", "nix", command_id, "--json").code == 1


def test_a_time_in_the_past_is_now_and_too_late_to_cancel(cli):
    ran = cli(
        "schedule", SUBMIT, fields("/schedule/past"), "--at", "2001-01-01T00:00:00Z", "--json"
    )
    command_id = ran.document["command_id"]
    again = cli(
        "submit", SUBMIT, fields("/schedule/past"), "--command-id", command_id, "--wait", "--json"
    )
    assert again.document["status"] == "accepted"
    late = cli("cancel", "nix", command_id)
    assert (late.code, rows(late.out)["status"]) == (1, "not_scheduled")


def test_a_scheduled_command_is_not_replaced(cli):
    given = ("schedule", SUBMIT, fields("/schedule/once"), "--after", "1d", "--json")
    command_id = cli(*given).document["command_id"]
    ran = cli(*given, "--command-id", command_id)
    assert ran.code == 1
    assert ran.document["error"]["code"] == "already_scheduled"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "--at TIME or --after LENGTH"),
        (("--at", "2030-01-01T00:00:00Z", "--after", "1s"), "--at TIME or --after LENGTH"),
        (("--at", "2030-01-01T00:00:00"), "expected a time with its zone"),
        (("--at", "tomorrow"), "expected a time with its zone"),
        (("--after", "soon"), "expected a length of time"),
        (("--after", "999999999999d"), "nobody can wait"),
    ],
)
def test_a_time_that_cannot_be_read_is_wrong_usage(cli, options, problem):
    ran = cli("schedule", SUBMIT, fields("/schedule/usage"), *options)
    assert ran.code == 2
    assert problem in ran.err


def test_organizations_do_not_see_each_other(cli):
    ran = cli(
        "submit", SUBMIT, fields("/submit/acme"), "--wait", "--json", "--organization-id", "acme"
    )
    command_id = ran.document["command_id"]
    unknown = cli("status", "nix", command_id, "--json")
    assert (unknown.code, unknown.document["error"]["code"]) == (1, "not_found")
    assert cli("status", "nix", command_id, "--organization-id", "acme").code == 0


def test_a_subject_for_another_command_is_wrong_usage(cli):
    ran = cli("submit", "nix.query.flake.get", fields("/submit/usage"))
    assert ran.code == 2
    assert "`cim-domain query`" in ran.err
    ran = cli("send", "nix.submit.flake.create", fields("/submit/usage"))
    assert ran.code == 2
    assert "`cim-domain submit`" in ran.err


def test_a_subject_of_a_command_will_do(cli):
    path = f"/submitted/{uuid4()}"
    payload = fields(path)
    stored = cli("submit", "nix.cmd.flake.create", payload, "--wait", "--json").document
    assert stored["status"] == "accepted"
    at = ("--after", "1h30m", "--json")
    later = cli("schedule", "nix.cmd.flake.update", payload, *at).document
    assert later["status"] == "scheduled"
    assert cli("cancel", "nix", later["command_id"]).code == 0


@pytest.mark.parametrize("command", [("submit",), ("schedule", "--after", "1h")])
def test_a_command_that_the_domain_does_not_have_is_told_at_once(cli, command):
    ran = cli(*command, "nix.cmd.flake.craete", "{}")
    assert (ran.code, ran.out) == (2, "")
    assert "has no command 'flake.craete'; did you mean 'flake.create'" in ran.err


def test_of_a_domain_whose_code_is_elsewhere_nothing_is_known(cli):
    ran = cli("submit", "elsewhere.cmd.thing.do", "{}")
    assert ran.code == 3
    assert "nothing stores commands" in ran.err
