"""Headers that nobody may ask for, and which are not taken apart until somebody does.

Taking headers apart is most of what reading a message costs. Whoever knows what a block must look
like, as the reader of the log does, may look at the bytes instead.
"""

from collections.abc import Callable, Iterator, Mapping

from cim_domain.nats.connection.headers import lines_in


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

    def names(self) -> tuple[str, ...]:
        """The names as they came, each as often as it did; also those that are none."""
        lines, found = self.lines, self._read()
        # Every line but the empty one at the end gave a name of its own: nearly always.
        if len(found) == lines.count(b"\r\n") - 1 and lines.endswith(b"\r\n\r\n"):
            return tuple(found)
        return tuple(name for name, _ in lines_in(lines))

    def combined(self) -> dict[str, str]:
        """With all values of what came several times in one, as HTTP joins them.

        They are under the name and ``~2`` as well, which tells them from one value with a comma.
        """
        found: dict[str, str] = {}
        for name, value in lines_in(self.lines):
            if name in found:
                found[name] = f"{found[name]}, {value}"
                found[f"{name}~2"] = ""
            else:
                found[name] = value
        return found

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def __contains__(self, name: object) -> bool:
        # A mapping's own way, by an error for what is not there, costs ten times as much.
        return name in self._read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __bool__(self) -> bool:
        # Asked of every message, before anybody needs to know what the headers are.
        return b":" in self.lines

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def combined(headers: Mapping[str, str]) -> dict[str, str]:
    """See `LazyHeaders.combined`; of other headers, which have one value each, the same again."""
    return headers.combined() if isinstance(headers, LazyHeaders) else dict(headers)
