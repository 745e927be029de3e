"""Damage to a server's files, done while it does not run."""

from pathlib import Path


def _block(data: Path, stream: str) -> Path:
    (block,) = (path for path in data.rglob("*.blk") if stream in path.parts)
    return block


def flip(data: Path, stream: str, text: bytes) -> None:
    """Flip one bit of a message that holds the text."""
    block = _block(data, stream)
    content = bytearray(block.read_bytes())
    content[content.index(text)] ^= 1
    block.write_bytes(content)


def cut(data: Path, stream: str, text: bytes) -> None:
    """Cut a block within a message that holds the text: it and all behind it are lost."""
    block = _block(data, stream)
    content = block.read_bytes()
    block.write_bytes(content[: content.index(text)])
