"""The tables of the documentation hold what the code has: settings, error codes, ids, tests."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import IntEnum
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from cim_domain import Domain
from cim_domain.identity import aggregate_id
from cim_domain.model.fields.keys import key_text
from cim_domain.nats.config.settings import NatsSettings, ServerUrl
from cim_domain.partition import partition_of
from cim_domain.service.settings import ServiceSettings
from tests.docs.documents import ROOT, links, rows

DOCS = ROOT / "docs"
KIT = ROOT / "cim_domain"
# These raise errors that never leave a program: its own, or those it was told of.
NOT_ON_THE_WIRE = {
    *(KIT / f"client/{name}.py" for name in ("client", "messages", "queued_commands")),
    *(KIT / "cli").rglob("*.py"),
    KIT / "wire/error_replies.py",
}

_TEST = re.compile(r"\[\S+\]\((\S+)\): `(test_\w+)`")


def settings(
    model: type[BaseModel], variables: str, section: str
) -> Iterator[tuple[str, str, str]]:
    """Of each setting: its variable, its name in the file, its default as the table has it."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        variable, path = f"{variables}{name.upper()}", f"{section}.{name}"
        if isinstance(default, BaseModel):
            yield from settings(type(default), f"{variable}__", path)
        else:
            yield variable, path, shown(default)


def shown(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case (ServerUrl() as url,):
            return url.get_secret_value()
        case SecretStr():
            return default.get_secret_value()
        case Path():
            return str(default).replace(str(Path.home()), "~")
        case _:
            return str(default)


def test_every_setting_is_in_the_table_with_its_names_and_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    expected = [
        *settings(NatsSettings, "NATS_", "nats"),
        *settings(ServiceSettings, "CIM_DOMAIN_", "service"),
    ]
    written = [
        tuple(row[:3])
        for row in rows(DOCS / "operations.md")
        if row[0].startswith(("NATS_", "CIM_DOMAIN_"))
    ]
    assert written == expected


def test_every_error_code_is_in_the_tables_and_no_other() -> None:
    sources = [path for path in KIT.rglob("*.py") if path not in NOT_ON_THE_WIRE]
    raised = {
        code
        for path in sources
        for code in re.findall(
            r'(?:\bcode=|\bdefault_code(?:: ClassVar\[str\])? = )"([a-z_]+)"', path.read_text()
        )
    }
    named = {
        code
        for path in sources
        for code in re.findall(r'^[A-Z_]+ = "([a-z_]+)"', path.read_text(), re.MULTILINE)
    }
    documented = {
        row[0]
        for heading, row in under_headings(DOCS / "wire-contract.md")
        if heading == "Error codes" and row[0] != "code" and not row[0].startswith("-")
    }
    rejected_by_domains_alone = {"rejected"}
    assert raised - rejected_by_domains_alone - set(codes_of_loading()) <= documented
    assert documented <= raised | named


def test_every_error_code_says_whether_it_is_worth_sending_again() -> None:
    found = [
        row
        for heading, row in under_headings(DOCS / "wire-contract.md")
        if heading == "Error codes" and row[0] != "code" and not row[0].startswith("-")
    ]
    answers = ("no", "later", "at once", "when", "after", "with a new")
    assert [row[0] for row in found if not row[-1].startswith(answers)] == []
    mended = {"400": "no", "404": "no", "500": "when mended", "503": ("later", "at once")}
    for code, number, *_, again in (row for row in found if len(row) == 4):
        expected = mended.get(number, answers)
        assert again.startswith(expected) or code in {"timeout", "too_many_events"}, code


def test_the_natural_keys_of_nix_are_those_of_its_aggregates() -> None:
    written = {
        row[0]: tuple(row[1].split(", "))
        for heading, row in under_headings(DOCS / "wire-contract.md")
        if heading == "Identity" and len(row) == 2 and row[0] in Domain.find("nix").aggregates
    }
    assert written == {name: one.key for name, one in Domain.find("nix").aggregates.items()}


def test_every_code_of_a_domain_that_cannot_be_loaded_is_in_its_table() -> None:
    documented = [
        code
        for heading, row in under_headings(DOCS / "concepts.md")
        if heading == "Where a domain may live" and not row[0].startswith(("code", "-"))
        for code in row[0].split(", ")
    ]
    assert set(documented) == {*codes_of_loading(), "not_a_domain"}


def codes_of_loading() -> Iterator[str]:
    """The codes that are written where a `LoadError` is raised."""
    for path in KIT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "LoadError":
                for given in node.keywords:
                    if given.arg == "code" and isinstance(given.value, ast.Constant):
                        yield given.value.value


def under_headings(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table with the second-level heading above it."""
    heading = ""
    for line in document.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("|"):
            yield heading, [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


def test_the_vectors_of_identity_are_the_kits() -> None:
    vectors = [row for row in rows(DOCS / "wire-contract.md") if row[0].startswith("[")]
    assert len(vectors) == 8
    seen = set()
    for name, identifier, *partition in vectors:
        domain, organization, aggregate, *key = json.loads(name)
        assert aggregate_id(domain, organization, aggregate, key) == identifier
        if partition:
            seen.add(aggregate)
            assert partition == [str(partition_of(aggregate, identifier, 16))]
    assert seen == set(Domain.find("nix").aggregates)


KEYS = [
    "Zürich-1",
    "",
    1007,
    True,
    UUID("6F3C1D9A-6C1E-4F55-9F57-0F6F3C1D9A00"),
    IntEnum("Floor", {"GROUND": 0}).GROUND,
    date(2026, 3, 1),
    datetime.fromisoformat("2026-03-01T13:00:00+01:00"),
    datetime.fromisoformat("2026-03-01T07:00:00.0-05:00"),
]


def test_the_vectors_of_keys_are_the_kits() -> None:
    found = [
        row
        for heading, row in under_headings(DOCS / "wire-contract.md")
        if heading == "Identity" and len(row) == 5 and row[0] not in {"type", "---"}
    ]
    assert len(found) == len(KEYS)
    for value, (*_, text, identifier) in zip(KEYS, found, strict=True):
        written = "" if text == "(nothing)" else text
        assert key_text(value) == written
        assert aggregate_id("shop", None, "order", [written]) == identifier


def test_every_promise_names_a_test_that_is_there() -> None:
    text = (DOCS / "guarantees.md").read_text()
    named = _TEST.findall(text)
    assert len(named) == len(links(DOCS / "guarantees.md"))
    missing = [
        f"{file}: {test}"
        for file, test in named
        if f"def {test}(" not in (DOCS / file).resolve().read_text()
    ]
    assert missing == []
