"""Headers that nobody may ask for, and which are not taken apart until somebody does.

Taking headers apart is most of what reading a message costs. Whoever knows what a block must look
like, as the reader of the log does, may look at the bytes instead.
"""

from collections.abc import Callable, Iterator, Mapping


class LazyHeaders(Mapping[str, str]):
    """The headers of a message, taken apart when one of them is asked for.

    `lines` is what `parse` reads them from: everything behind ``NATS/1.0``.
    """

    __slots__ = ("_found", "_parse", "lines")

    def __init__(self, lines: bytes, parse: Callable[[bytes], dict[str, str]]) -> None:
        self.lines = lines
        self._parse = parse
        self._found: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        if self._found is None:
            self._found = self._parse(self.lines)
        return self._found

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __bool__(self) -> bool:
        # Asked of every message, before anybody needs to know what the headers are.
        return b":" in self.lines

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())
