"""Where a class or function stands, for errors that name it."""

import inspect
from pathlib import Path
from typing import Any


def where(thing: Any) -> str:
    """`Flake (flake.py:12)`: the name, and the file and line where they are known."""
    name = getattr(thing, "__qualname__", repr(thing))
    try:
        file = inspect.getsourcefile(thing)
        line = inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return f"{name} (module {getattr(thing, '__module__', '?')})"
    return f"{name} ({_short(file)}:{line})" if file else name


def _short(file: str) -> str:
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
