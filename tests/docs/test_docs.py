"""What newcomers read is true: every block in README and docs works, every link leads somewhere."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer

from cim_domain.cli.app import app
from tests.docs.documents import DOCUMENTS, ROOT, anchors, blocks, links
from tests.docs.follower import Follower

HOSTS = {"127.0.0.1", "localhost"}
MAKE = re.compile(r"`make ([a-z]+)`")
COMMAND = re.compile(r"`cim-domain ([a-z]+)")


def name(document: Path) -> str:
    return document.name


def test_there_are_the_documents() -> None:
    assert {
        "README.md",
        "concepts.md",
        "changing-a-model.md",
        "wire-contract.md",
        "operations.md",
        "guarantees.md",
    } <= {document.name for document in DOCUMENTS}


# Many programs run one after another; each has its own limit.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_block_works_as_it_says(document: Path, tmp_path: Path) -> None:
    with Follower(tmp_path) as follower:
        for block in blocks(document):
            follower.follow(block)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        target, _, anchor = link.partition("#")
        found = (document.parent / target).resolve() if target else document
        assert found.is_relative_to(ROOT), link
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_that_are_mentioned_exist(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE.findall(text)) <= targets
    assert set(COMMAND.findall(text)) <= set(typer.main.get_group(app).commands)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "docs/nats-server.conf"], ids=name)
def test_no_machine_is_mentioned(document: Path) -> None:
    text = document.read_text()
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
    for url in re.findall(r"\w+://[\w.@-]+", text):
        host = urlsplit(url).hostname or ""
        assert (
            not host or host in HOSTS or host.endswith("example.org") or host.startswith("10.")
        ), url
