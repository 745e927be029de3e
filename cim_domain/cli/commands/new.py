"""`new`: a first domain with its test, ready to serve."""

import keyword
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.exit_codes import usage
from cim_domain.cli.options import Debug, Json
from cim_domain.cli.places import find_code_in
from cim_domain.cli.session import Session
from cim_domain.model.discovery import READ_SIDE, WRITE_SIDE, names_in
from cim_domain.model.subjects import require_name

TEMPLATE = "template"
PLACEHOLDER = "DOMAIN"
"""Stands for the domain's name in the template's paths and texts."""

ITEM = """'{"number": "1", "title": "tea"}'"""


def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The domain's name, such as shop.", show_default=False),
    ],
    *,
    directory: Annotated[
        Path,
        typer.Option("--directory", metavar="DIR", help="Where to write it; made where missing."),
    ] = Path(),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a first domain with its test, ready to serve.

    [bold]Examples[/bold]

      cim-domain new shop

      cim-domain new shop --directory ~/shop

    It has one aggregate with two commands, a view of it with two queries, and tests of both. No
    file is ever overwritten: exit code 2 where one is in the way, or the name cannot be used.
    """
    session = Session(json=json, debug=debug)

    def work() -> None:
        _check_name(name)
        texts = dict(_texts(name))
        _check_room(directory, texts)
        _check_free(name, directory)
        _write(directory, texts)
        steps = _next_steps(name, directory)
        if json:
            session.output.document({"domain": name, "files": list(texts), "next": steps})
        else:
            session.output.show(_told(directory, texts, steps))

    session.guarded(work)


def _check_name(name: str) -> None:
    """End the command over a name that no domain can have."""
    require_name(name, "domain")
    if keyword.iskeyword(name):
        usage(f"{name!r} is a word of Python's own, so nothing could import {WRITE_SIDE}.{name}")


def _check_free(name: str, directory: Path) -> None:
    """End the command over the name of a domain that Python finds already."""
    find_code_in(str(directory.absolute()))
    for side in (WRITE_SIDE, READ_SIDE):
        if name in names_in(side):
            usage(f"there is a domain {name!r} already: Python finds {side}.{name}")


def _texts(name: str) -> Iterator[tuple[str, str]]:
    """The files of the domain: path and text of each."""
    for path, file in _template(files("cim_domain.cli") / TEMPLATE):
        yield path.replace(PLACEHOLDER, name), file.read_text("utf-8").replace(PLACEHOLDER, name)


def _template(folder: Traversable, inside: str = "") -> Iterator[tuple[str, Traversable]]:
    for one in sorted(folder.iterdir(), key=lambda each: each.name):
        path = f"{inside}{one.name}"
        if one.is_dir():
            yield from _template(one, f"{path}/")
        elif path.endswith(".py"):
            yield path, one


def _check_room(directory: Path, texts: Mapping[str, str]) -> None:
    """End the command where anything stands in the place of a file, or of a folder for one."""
    modules = [f"{side}.py" for side in (WRITE_SIDE, READ_SIDE)]  # each would hide the package
    taken = [file for file in (*modules, *texts) if _is_taken(directory / file)]
    taken += [
        str(folder)
        for folder in _folders(texts)
        if not (directory / folder).is_dir() and _is_taken(directory / folder)
    ]
    if taken:
        usage("\n".join([f"nothing is written: in {directory} there is already", *taken]))


def _folders(texts: Iterable[str]) -> list[Path]:
    """The folders of the files, those that are in others behind them."""
    return sorted({folder for file in texts for folder in Path(file).parents})


def _is_taken(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    """Write all files, or none."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undoing:
        for folder in [directory / one for one in _folders(texts)]:
            if not folder.exists():
                folder.mkdir()
                undoing.callback(folder.rmdir)
        for file, text in texts.items():
            with (directory / file).open("x", encoding="utf-8") as out:
                undoing.callback((directory / file).unlink)
                out.write(text)
        undoing.pop_all()


def _next_steps(name: str, directory: Path) -> list[str]:
    """What to do with it, as lines for a shell; the service runs until it is ended."""
    enter = [] if directory == Path() else [f"cd {shlex.quote(str(directory))}"]
    return [
        *enter,
        f"python -m pytest tests/test_{name}.py",
        f"cim-domain serve {name}",
        f"cim-domain send {name}.cmd.item.add {ITEM}",
        f'cim-domain query {name}.query.item.get \'{{"number": "1"}}\' --min-sequence 1',
    ]


def _told(directory: Path, texts: Mapping[str, str], steps: list[str]) -> Text:
    *before, serve, send, query = steps
    lines = [
        *(f"wrote {directory / file}" for file in texts),
        "",
        "Try it (the test needs pytest):",
        *(f"  {line}" for line in [*before, serve]),
        "",
        "and in another shell:",
        *(f"  {line}" for line in (send, query)),
    ]
    return Text("\n".join(map(escaped, lines)))
