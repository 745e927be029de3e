"""The queries that clients in other languages know."""

import pytest
from pydantic import ValidationError

LISTS = {"flake.list", "package.list", "module.list", "overlay.list", "config.list"}
CONTRACT = LISTS | {
    "flake.get",
    "flake.get_inputs",
    "package.get",
    "package.get_status",
    "package.status",
    "package.statistics",
    "module.get",
    "overlay.get",
    "config.get",
    "config.get_current",
    "config.current",
    "config.get_history",
    "dependency.graph",
}


def test_the_domain_answers_the_queries_of_its_contract_and_no_others(domain):
    assert set(domain.queries) == CONTRACT


def test_what_has_two_names_is_one_query(domain):
    assert domain.queries["package.status"] == domain.queries["package.get_status"]
    assert domain.queries["config.current"] == domain.queries["config.get_current"]


def test_every_event_of_the_domain_changes_a_view(domain):
    read = {event for model in domain.projections.values() for event in model.events}

    assert read == set(domain.events.values())


@pytest.mark.parametrize("query", sorted(LISTS))
async def test_a_list_of_nothing_is_empty(nix, query):
    assert await nix.ask(query) == {"items": [], "next": None}


@pytest.mark.parametrize("query", sorted(CONTRACT))
async def test_a_field_that_no_query_has_is_refused(nix, query):
    with pytest.raises(ValidationError, match="nonsense"):
        await nix.ask(query, nonsense=1)
