"""What a state depends on, as a short text: another text, and a stored state is not to be trusted.

That is the source of every module of the domain that leads from stored bytes to a state: those of
the aggregate, its events, their upcasters and bases, and whatever modules these import or mention,
and so on; of packages that are installed from elsewhere, the modules that those import themselves.
What is found by a name made at run time is not seen, and files are not: whoever changes one of
these so that states change removes the snapshots, or gives the aggregate a `snapshot_version`.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec, module_from_spec, resolve_name
from pathlib import PurePath
from types import ModuleType
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from cim_domain.model.aggregate import AggregateModel

_KIT = __name__.partition(".")[0]
_ELSEWHERE = {"site-packages", "dist-packages"}
_LAYERS = 10

_without_source: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""What stands for the source of a class that has none, while this process runs."""


def fingerprint(model: AggregateModel) -> str:
    """32 hexadecimal digits, the same in every process that runs the same code.

    Code that has no source, as what was typed in, is the same only while it runs.
    """
    version = model.cls.snapshot_version
    if version is not None:
        return _digest([model.name, repr(version)])
    parts: list[str] = []
    for name, source in sorted(_sources(model).items()):
        here = _without_source.setdefault(model.cls, str(uuid4())) if source is None else source
        parts += [name, here]
    return _digest(parts)


def _sources(model: AggregateModel) -> dict[str, str | None]:
    """The source of each module that is reached, by name."""
    found: dict[str, str | None] = {}
    own = {model.cls.__module__.partition(".")[0]}
    waiting = list(_beginnings(model))
    while waiting:
        module = waiting.pop()
        name = module.__name__
        top = name.partition(".")[0]
        if name in found or top == _KIT or top in sys.stdlib_module_names - own:
            continue
        ours = top in own or not _ELSEWHERE.intersection(PurePath(_file(module)).parts)
        source = _source(module, compiled=ours)
        if ours:
            found[name] = source
            waiting += [*_mentioned(module), *_imported(module, source)]
        elif source is not None:
            found[name] = source
    return found


def _beginnings(model: AggregateModel) -> Iterator[ModuleType]:
    yield from _modules_of(model.cls)
    for event, handler in model.events.items():
        yield from _modules_of(event)
        yield from _modules_of(handler.function)
        for upcaster in event.upcasters.values():
            yield from _modules_of(upcaster)


def _mentioned(module: ModuleType) -> Iterator[ModuleType]:
    """Where what has a name in a module comes from."""
    for value in tuple(vars(module).values()):
        yield from _modules_of(value)


def _modules_of(value: Any) -> Iterator[ModuleType]:
    """The module that something is, or is from; of what is wrapped, those of all layers."""
    if isinstance(value, ModuleType):
        yield value
    names: list[Any] = [one.__module__ for one in value.__mro__] if isinstance(value, type) else []
    # Some things answer to any name, and some to none.
    with suppress(Exception):
        for _ in range(_LAYERS):
            names += [value.__class__.__module__, getattr(value, "__module__", None)]
            value = getattr(value, "__wrapped__", None) or getattr(value, "func", None)
            if value is None:
                break
    yield from _loaded(names)


def _imported(module: ModuleType, source: str | None) -> Iterator[ModuleType]:
    """What a module imports, wherever in it that stands; also what it takes only constants of."""
    for node in _imports(source or ""):
        if isinstance(node, ast.Import):
            for one in node.names:
                parts = one.name.split(".")
                yield from _loaded([".".join(parts[:end]) for end in range(1, len(parts) + 1)])
        else:
            package = module.__package__ or ""
            dots = "." * node.level
            name = resolve_name(dots + (node.module or ""), package) if dots else node.module or ""
            yield from _loaded([name, *(f"{name}.{one.name}" for one in node.names)])


@lru_cache(maxsize=1024)
def _imports(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    try:
        nodes = tuple(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        # Of what is compiled there are bytes alone.
        return ()
    return tuple(one for one in nodes if isinstance(one, (ast.Import, ast.ImportFrom)))


def _loaded(names: Iterable[Any]) -> Iterator[ModuleType]:
    for name in names:
        if isinstance(name, str):
            module = sys.modules.get(name) or _found(name)
            if isinstance(module, ModuleType):
                yield module


def _found(name: str) -> ModuleType | None:
    """A module that is not loaded yet, as when it is imported within a function, without loading
    it; None where it is none of the domain's.
    """
    top = name.partition(".")[0]
    if top == _KIT or top in sys.stdlib_module_names:
        return None
    # There may be none of this name, or one that cannot be loaded: then nothing depends on it.
    with suppress(Exception):
        package = find_spec(top)
        if package and not _ELSEWHERE.intersection(PurePath(package.origin or "").parts):
            spec = find_spec(name)
            return module_from_spec(spec) if spec else None
    return None


def _source(module: ModuleType, *, compiled: bool) -> str | None:
    """The text of a module; of one that is compiled, if wanted, its bytes; None without either."""
    loader = getattr(module.__spec__, "loader", None) or getattr(module, "__loader__", None)
    name = getattr(loader, "name", module.__name__)
    with suppress(AttributeError, ImportError, OSError, SyntaxError, ValueError):
        source: str | None = loader.get_source(name)  # type: ignore[union-attr]
        if source is None and compiled:
            source = loader.get_data(_file(module)).hex()  # type: ignore[union-attr]
        return source
    return None


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or ""


def _digest(parts: list[str]) -> str:
    text = "\0".join(parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
