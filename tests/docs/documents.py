"""The documents that newcomers read, taken apart: code blocks, links, rows of tables."""

import re
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@frozen
class Block:
    """A fenced block; `line` is where it begins, `output` the block of its output right after."""

    language: str
    text: str
    line: int
    output: str | None = None

    @property
    def file(self) -> str | None:
        """The file that the block is, where its first line is a comment with a path."""
        first = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return first[1] if first else None


def blocks(document: Path) -> list[Block]:
    """The fenced blocks in order. A ``text`` block is the output of the one right before it."""
    text = document.read_text()
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        block = Block(match[1], match[2], text[: match.start()].count("\n") + 1)
        if block.language == "text":
            assert found, f"{document.name}:{block.line}: output of nothing"
            assert not text[end : match.start()].strip(), (
                f"{document.name}:{block.line}: a text block is output, right behind what gives it"
            )
            before = found.pop()
            block = Block(before.language, before.text, before.line, block.text)
        found.append(block)
        end = match.end()
    fences = text.count("```")
    assert fences == 2 * len(_FENCE.findall(text)), f"{document.name}: a fence that is no block"
    return found


def links(document: Path) -> list[str]:
    """Where its links lead."""
    return _LINK.findall(document.read_text())


def anchors(document: Path) -> set[str]:
    """What its headings may be linked as."""
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in _HEADING.findall(document.read_text())
    }


def rows(document: Path) -> list[list[str]]:
    """The rows of all tables, their cells without the marks of code."""
    return [
        [cell.strip().replace("`", "") for cell in row.split("|")]
        for row in _ROW.findall(document.read_text())
    ]
