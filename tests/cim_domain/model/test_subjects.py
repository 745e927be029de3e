"""Every subject and stream name, literally: the wire contract that other programs rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.errors import ModelError
from cim_domain.model.subjects import Subjects, require_name

names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
prefixes = st.lists(st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True), max_size=3).map(".".join)


def test_the_subjects_of_a_domain() -> None:
    nix = Subjects("nix")
    assert nix.command("flake.create") == "nix.cmd.flake.create"
    assert nix.query("flake.get") == "nix.query.flake.get"
    assert nix.event("flake.created") == "nix.event.flake.created"
    assert nix.journal("flake.created", "ID") == "nix.journal.15.flake.ID.created"
    assert nix.journal_of("flake", "ID") == "nix.journal.15.flake.ID.*"
    assert nix.journal_of_type("flake.created") == "nix.journal.*.flake.*.created"
    assert nix.dead_letter_root == "nix.dlq"
    assert nix.commands == "nix.cmd.>"
    assert nix.queries == "nix.query.>"
    assert nix.events == "nix.event.*.*"
    assert nix.journals == "nix.journal.*.*.*.*"
    assert nix.republished == "nix.event.{{wildcard(2)}}.{{wildcard(4)}}"
    assert nix.dead_letters == "nix.dlq.>"
    assert nix.service == "cim-domain-nix"
    assert nix.health == "health.cim-domain-nix"
    assert nix.event_stream == "NIX_EVENTS"
    assert nix.dead_letter_stream == "NIX_DLQ"


def test_a_prefix_stands_before_everything() -> None:
    nix = Subjects("nix", "staging.eu")
    assert nix.command("flake.create") == "staging.eu.nix.cmd.flake.create"
    assert nix.journal("flake.created", "ID") == "staging.eu.nix.journal.15.flake.ID.created"
    assert nix.republished == "staging.eu.nix.event.{{wildcard(2)}}.{{wildcard(4)}}"
    assert nix.health == "staging.eu.health.cim-domain-nix"
    assert nix.event_stream == "STAGING_EU_NIX_EVENTS"
    assert nix.dead_letter_stream == "STAGING_EU_NIX_DLQ"


@given(names, prefixes, names, names)
def test_the_type_is_found_again_in_a_subject(
    domain: str, prefix: str, aggregate: str, action: str
) -> None:
    subjects = Subjects(domain, prefix)
    message_type = f"{aggregate}.{action}"
    for subject in (
        subjects.command(message_type),
        subjects.query(message_type),
        subjects.event(message_type),
    ):
        assert subjects.type_in(subject) == message_type


@pytest.mark.parametrize(
    "name", ["", "Nix", "1nix", "_nix", "nix.os", "nix-os", "*", ">", "nix ", "ä"]
)
def test_a_name_is_one_lower_snake_case_token(name: str) -> None:
    with pytest.raises(ModelError, match="lower snake case"):
        Subjects(name)
    with pytest.raises(ModelError, match="aggregate"):
        require_name(name, "aggregate")


@pytest.mark.parametrize("prefix", [".", "a.", ".a", "a..b", "A", "a b", "*", "a.>", "$SYS", "a\n"])
def test_a_prefix_is_plain_tokens(prefix: str) -> None:
    with pytest.raises(ModelError, match="prefix"):
        Subjects("nix", prefix)
