"""Whoever follows the documents notices what does not work as they say."""

from pathlib import Path

import pytest

from tests.docs.documents import Block, blocks
from tests.docs.follower import Follower


def follow(directory: Path, language: str, text: str, output: str | None = None) -> None:
    with Follower(directory) as follower:
        follower.follow(Block(language, text, 1, output))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "true | false\necho on"),
        ("sh", "cim-domain send nix.cmd.flake.create --no-such-option"),
        ("sh", "make no-such-target"),
        ("python", "raise SystemExit(1)"),
        ("toml", "[service]\nno_such_setting = 1"),
        ("json", "{"),
        ("cobol", ""),
        ("", ""),
    ],
)
def test_a_block_that_does_not_work_fails(tmp_path: Path, language: str, text: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        follow(tmp_path, language, text)


def test_another_output_fails(tmp_path: Path) -> None:
    follow(tmp_path, "sh", "echo one two three", "one ... three")
    with pytest.raises(AssertionError, match="gives"):
        follow(tmp_path, "sh", "echo one two three", "one ... four")


def test_a_service_that_cannot_start_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="there is no domain 'nowhere'"):
        follow(tmp_path, "sh", "cim-domain serve nowhere")


def test_a_file_is_made_in_parts(tmp_path: Path) -> None:
    with Follower(tmp_path) as follower:
        for part in ("one = 1", "print(one + 1)"):
            follower.follow(Block("python", f"# made/part.py\n{part}\n", 1))
        follower.follow(Block("sh", "python made/part.py", 1, "2"))


@pytest.mark.parametrize(
    "text",
    [
        "```text\noutput of nothing\n```\n",
        "```sh\ntrue\n```\nwords\n```text\noutput of what?\n```\n",
        "- in a list\n\n  ```sh\n  true\n  ```\n",
    ],
)
def test_a_block_that_would_not_be_followed_fails(tmp_path: Path, text: str) -> None:
    document = tmp_path / "document.md"
    document.write_text(text)
    with pytest.raises(AssertionError):
        blocks(document)
