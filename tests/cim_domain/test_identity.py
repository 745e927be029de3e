"""Ids that anyone can compute. The vectors are for clients in other languages to check against."""

import json
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.identity import (
    NAMESPACE,
    aggregate_id,
    canonical_id,
    caused_id,
    derived_id,
    fresh_id,
)

COMMAND = "6f1c2d3e-4b5a-4c6d-8e7f-9a0b1c2d3e4f"


def test_the_namespace_never_changes() -> None:
    assert str(NAMESPACE) == "d0a5d4a8-6f6c-5c9f-8a0e-2c7c1f5d3b61"


@pytest.mark.parametrize(
    ("organization", "aggregate", "key", "name", "expected"),
    [
        (
            None,
            "flake",
            ["/srv/web"],
            '["nix",null,"flake","/srv/web"]',
            "d3d3d7a9-f70d-5a16-a76d-4dd53ba3ea59",
        ),
        (
            "acme",
            "flake",
            ["/srv/web"],
            '["nix","acme","flake","/srv/web"]',
            "de22734b-1281-514d-9376-31a929a96865",
        ),
        (
            None,
            "package",
            ["/srv/web", "hello"],
            '["nix",null,"package","/srv/web","hello"]',
            "8612f4d8-9fd6-5c70-8a24-e9421b2a29c4",
        ),
        (
            None,
            "flake",
            ['/srv/größe "1"'],
            '["nix",null,"flake","/srv/größe \\"1\\""]',
            "4c646d38-7ed1-5f94-8fa8-9e363e611ef8",
        ),
        (
            None,
            "flake",
            ["a\nb\U0001f600"],
            '["nix",null,"flake","a\\nb\U0001f600"]',
            "cf6e75a5-ba06-55cc-9717-875a1b713eda",
        ),
    ],
)
def test_an_aggregates_id_is_fixed(
    organization: str | None, aggregate: str, key: list[str], name: str, expected: str
) -> None:
    assert aggregate_id("nix", organization, aggregate, key) == expected
    assert str(uuid5(NAMESPACE, name)) == expected


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8")), min_size=1, max_size=3))
def test_json_written_elsewhere_gives_the_same_id(key: list[str]) -> None:
    array = json.dumps(["nix", None, "flake", *key], ensure_ascii=False, separators=(",", ":"))
    # U+007F is where writers of JSON differ; both forms are legal, and only one is hashed.
    assert aggregate_id("nix", None, "flake", key) == str(uuid5(NAMESPACE, array))


def test_tenants_domains_aggregates_and_parts_of_keys_never_meet() -> None:
    found = {
        aggregate_id("nix", None, "flake", ["a", "b"]),
        aggregate_id("nix", None, "flake", ["ab"]),
        aggregate_id("nix", None, "flake", ["a,b"]),
        aggregate_id("nix", None, "flake", ['a","b']),
        aggregate_id("nix", "null", "flake", ["a", "b"]),
        aggregate_id("nix", "", "flake", ["a", "b"]),
        aggregate_id("nix", "flake", "a", ["b"]),
        aggregate_id("other", None, "flake", ["a", "b"]),
        aggregate_id("nix", None, "package", ["a", "b"]),
    }
    assert len(found) == 9


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, "a66965fb-03f3-51ff-9f52-cab496d42d61"),
        (1, "90c94872-870e-5cd9-8a55-1ec073ed3bec"),
        (10, "27f99931-6044-539f-acb0-7b029374d6b8"),
    ],
)
def test_a_caused_id_is_fixed(index: int, expected: str) -> None:
    assert caused_id(COMMAND, index) == expected
    assert caused_id(COMMAND.upper(), index) == expected
    assert str(uuid5(UUID(COMMAND), str(index))) == expected


def test_a_derived_id_is_fixed_and_never_a_caused_one() -> None:
    assert derived_id(COMMAND, "build") == "bde5276d-2ace-59cf-a2f1-78f30ef96021"
    for number in ("0", "12", "\u0663"):
        with pytest.raises(ValueError, match="number"):
            derived_id(COMMAND, number)


def test_ids_are_written_in_one_form() -> None:
    for text in (
        COMMAND.upper(),
        COMMAND.replace("-", ""),
        f"{{{COMMAND}}}",
        f"urn:uuid:{COMMAND}",
    ):
        assert canonical_id(text) == COMMAND
    for text in (
        "",
        "x",
        COMMAND + "0",
        "a.b",
        "*",
        f" {COMMAND}",
        f"{COMMAND}\n",
        f"{{{COMMAND}",
        f"0x{COMMAND.replace('-', '')[2:]}",
        COMMAND.replace("-", "")[:-1] + "-1",
        "\u0661" * 32,
        "1_" * 16,
    ):
        with pytest.raises(ValueError, match=r"."):
            canonical_id(text)


def test_fresh_ids_differ_and_are_canonical() -> None:
    found = {fresh_id() for _ in range(1000)}
    assert len(found) == 1000
    assert {canonical_id(one) for one in found} == found
