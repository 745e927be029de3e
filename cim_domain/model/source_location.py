"""Where a class, a function or an error stands, for messages that name it."""

import inspect
import traceback
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
    return f"{name} ({short_path(file)}:{line})" if file else name


def raised_at(error: BaseException) -> str:
    """` (order.py:3)`: the line that raised it; nothing where that is not known."""
    if isinstance(error, SyntaxError):  # its own text names the file and the line
        return ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]  # the first one caught it
        if not frame.filename.startswith("<") and "importlib" not in Path(frame.filename).parts
    ]
    return f" ({short_path(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""


def short_path(file: str) -> str:
    """A file, as seen from the working directory."""
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
