"""`health` and `projections` against a service that runs."""

import json
from uuid import uuid4

import pytest


def test_health_of_one_service_is_one_report(cli):
    for name in ("nix", "cim-domain-nix"):
        ran = cli("health", name, "--json")
        assert ran.code == (0 if ran.document["status"] == "healthy" else 1)
        assert ran.document["service"] == "cim-domain-nix"
    assert ran.document["checks"]["server"]["state"] == "running"


def test_health_without_a_name_finds_the_services(cli):
    ran = cli("health")
    assert ran.code in {0, 1}
    assert ran.out.startswith("cim-domain-nix ")
    assert "projection.flakes" in ran.out
    assert [one["service"] for one in cli("health", "--json").document] == ["cim-domain-nix"]


def test_the_list_tells_how_far_each_projection_is(cli):
    sent = cli("send", "nix.cmd.flake.create", f'{{"path": "/list/{uuid4()}"}}', "--json").document
    cli("query", "nix.query.flake.list", "--min-sequence", str(sent["sequence"]))
    found = {one["name"]: one for one in cli("projections", "list", "nix", "--json").document}
    assert found["flakes"]["position"] >= sent["sequence"]
    header, *rows = cli("projections", "list", "nix").out.splitlines()
    assert header.split("  ")[0] == "projection"
    assert header.split()[1:] == [
        "version", "state", "position", "lag", "generation", "answers", "from", "error",
    ]  # fmt: skip
    assert {row.split()[0] for row in rows} == set(found)


def generation(cli) -> int:
    found = cli("projections", "list", "nix", "--json").document
    return next(one["generation"] for one in found if one["name"] == "flakes")


def test_a_rebuild_takes_the_place_of_the_live_views_while_queries_are_answered(cli):
    path = f"/rebuild/{uuid4()}"
    sent = cli("send", "nix.cmd.flake.create", json.dumps({"path": path}), "--json").document
    asked = (
        "query", "nix.query.flake.get", json.dumps({"path": path}), "--min-sequence",
        str(sent["sequence"]), "--json",
    )  # fmt: skip
    before, old = cli(*asked).document, generation(cli)
    for number in (1, 2, 3):
        ran = cli("projections", "rebuild", "nix", "flakes", "--json")
        assert ran.code == 0
        assert ran.document["generation"] == old + number
        assert ran.document["position"] >= sent["sequence"]
        assert cli(*asked).document["result"] == before["result"]
    # The service takes up the new views by itself, without an event.
    while generation(cli) != old + 3:
        assert cli(*asked).document["result"] == before["result"]
    updated = cli("send", "nix.cmd.flake.update", json.dumps({"path": path}), "--json").document
    after = cli(*asked[:-3], "--min-sequence", str(updated["sequence"]), "--json").document
    assert after["result"]["version"] == before["result"]["version"] + 1


def test_a_rebuild_says_what_it_has_done_beside_the_results(cli):
    ran = cli("projections", "rebuild", "nix", "overlays")
    assert (ran.code, ran.out) == (0, "")
    assert "overlays: built as generation" in ran.err


def test_views_in_memory_cannot_be_rebuilt_from_outside(cli):
    ran = cli("projections", "rebuild", "nix", "flakes", CIM_DOMAIN_VIEWS="memory")
    assert ran.code == 2
    assert "restart" in ran.err


def test_a_rebuild_where_no_service_keeps_its_views_makes_none(cli, tmp_path):
    elsewhere = tmp_path / "data"
    url = cli("doctor", "--json").document["checks"][0]["message"].split()[-1]
    ran = cli(
        "projections", "rebuild", "nix", "flakes", "--data-directory", str(elsewhere), "--url", url
    )
    assert ran.code == 2
    assert "--data-directory" in ran.err
    assert not elsewhere.exists()


@pytest.mark.parametrize("name", ["nobody", "No Name"])
def test_a_service_that_does_not_answer_is_no_health(cli, name):
    assert cli("health", name).code == (3 if name == "nobody" else 2)
