"""Finding a domain's code: by its name, or by where it stands in somebody's own modules.

`aggregates` and `projections` are namespace packages: every directory of that name where Python
looks is a part of them, so that the domains of several distributions live side by side.
"""

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from cim_domain.errors import LoadError, ModelError
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.naming import near
from cim_domain.model.source_location import raised_at, short_path

WRITE_SIDE = "aggregates"
READ_SIDE = "projections"

_NO_PART = {"__main__", "__pycache__", "conftest", "scripts", "tests"}
"""Modules of these names run or test a domain; they are no part of it, as test modules are not."""

T = TypeVar("T")


def modules_of(side: str, name: str, mistakes: Mistakes) -> tuple[ModuleType, ...]:
    """The module or package ``{side}.{name}`` and all below it; none where it does not exist.

    Only that it does not exist is forgiven: whatever cannot be imported, for any reason, is among
    the mistakes. Raises `LoadError` for what another file hides.
    """
    if not _exists(side):
        return ()
    parent = _imported(side)
    whole = f"{side}.{name}"
    if not hasattr(parent, "__path__") or not _exists(whole):
        _require_nothing_hidden(parent, name)
        return ()
    return tuple(_with_all_below(whole, mistakes))


def names_in(side: str) -> tuple[str, ...]:
    """The names of the modules and packages in ``side``, those of all its directories."""
    return _names(pkgutil.extend_path([], side))


def object_at(path: str, kind: type[T]) -> T:
    """The `kind` at ``package.module:attribute``, or what the function there makes.

    Raises `LoadError`, and `ModelError` where the code there does.
    """
    found = _value_at(path)
    if isinstance(found, kind):
        return found
    if not callable(found):
        raise _no_such_kind(f"{path} is {_described(found)}", kind)
    made = _called(path, found, kind)
    if not isinstance(made, kind):
        if inspect.iscoroutine(made):
            made.close()
        raise _no_such_kind(f"{path} makes {_described(made)}", kind)
    return made


def _value_at(path: str) -> Any:
    module_name, _, attributes = path.partition(":")
    parts = (*module_name.split("."), *attributes.split("."))
    if not all(part.isidentifier() for part in parts):
        raise LoadError(
            f"{path!r} says no place in code: expected MODULE:ATTRIBUTE, such as"
            " acme.inventory.domain:inventory",
            code="invalid_path",
        )
    found: Any = _module(module_name)
    told = f"the module {module_name!r} ({_place(found)})"
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise LoadError(
                f"{told} has no {attribute!r}{near(attribute, dir(found))}",
                code="attribute_not_found",
            ) from None
        except Exception as error:  # what a module or class computes is somebody's code
            raise LoadError(
                f"{path} cannot be read: {_told(error)}", code="import_failed"
            ) from error
        told = f"{attribute!r} of {told}"
    return found


def _module(name: str) -> ModuleType:
    """The module, its packages imported one after another, so that the missing one is known."""
    first, *rest = name.split(".")
    if not _exists(first):
        raise LoadError(
            f"there is no module {name!r}: {first!r} is not where Python finds modules (the working"
            f" directory is one such place){near(first, _names(sys.path))}",
            code="module_not_found",
        )
    module = _imported(first)
    for part in rest:
        if not hasattr(module, "__path__"):
            raise LoadError(
                f"there is no module {name!r}: {module.__name__!r} ({_place(module)}) is no"
                " package, and has no modules in it",
                code="module_not_found",
            )
        inner = f"{module.__name__}.{part}"
        if not _exists(inner):
            raise LoadError(
                f"there is no module {name!r}: the package {module.__name__!r} ({_place(module)})"
                f" has no {part!r}{near(part, _names(module.__path__))}",
                code="module_not_found",
            )
        module = _imported(inner)
    return module


def _called(path: str, function: Callable[..., Any], kind: type) -> Any:
    if inspect.iscoroutinefunction(function):
        raise _no_such_kind(f"{path} is async", kind)
    with suppress(ValueError):  # some that are written in C do not say what they take
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise _no_such_kind(
                f"{path} cannot be called without arguments: {error}", kind
            ) from None
    try:
        return function()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise LoadError(f"{path} failed: {_told(error)}", code="factory_failed") from error


def _exists(name: str) -> bool:
    """Whether Python finds a module, of which all packages are imported. Nothing is run."""
    try:
        return find_spec(name) is not None
    except ValueError:  # __main__, and modules that somebody made by hand
        return False


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"{name} cannot be imported: {_told(error)}", code="import_failed"
        ) from error


def _with_all_below(name: str, mistakes: Mistakes) -> Iterator[ModuleType]:
    with mistakes.gathered():
        module = _imported(name)
        yield module
        for inner in _names(getattr(module, "__path__", ())):
            yield from _with_all_below(f"{name}.{inner}", mistakes)


def _names(path: Iterable[str]) -> tuple[str, ...]:
    """What can be imported from these directories, packages without an `__init__.py` included."""
    places = [place or "." for place in path]
    found = [one for one in pkgutil.iter_modules(places) if one.ispkg or not _is_test(one.name)]
    names = {one.name for one in found}
    for place in map(Path, places):
        with suppress(OSError):  # no directory, or one that is closed to us
            names.update(one.name for one in place.iterdir() if one.is_dir())
    return tuple(sorted(name for name in names - _NO_PART if name.isidentifier()))


def _is_test(name: str) -> bool:
    return name.startswith("test_") or name.endswith("_test")


def _require_nothing_hidden(package: ModuleType, name: str) -> None:
    """Raise `LoadError` where Python stops at one file, and what is looked for stands elsewhere."""
    side = package.__name__
    file = getattr(package, "__file__", None)
    seen = {str(place) for place in getattr(package, "__path__", ())}
    portions: list[str] = pkgutil.extend_path([], side)
    for place in portions:
        if place not in seen and name in _names([place]):
            raise LoadError(
                f"{short_path(str(file))} hides the {name!r} in {short_path(place)}: Python"
                f" looks no further for {side!r}. Delete or rename it: a namespace package, as"
                f" {side!r} is, needs no such file",
                code="domain_hidden",
            )


def _no_such_kind(problem: str, kind: type) -> LoadError:
    name = kind.__name__
    return LoadError(
        f"{problem}; expected a {name}, or a function without arguments that makes one",
        code=f"not_a_{name.lower()}",
    )


def _described(value: object) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__!r}"
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _told(error: BaseException) -> str:
    said = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{said}{raised_at(error)}"


def _place(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return short_path(file or next(iter(getattr(module, "__path__", ())), "built in"))
