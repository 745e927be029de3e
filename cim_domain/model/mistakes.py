"""Mistakes in a model: noted where they are made, and told all at once.

A class statement that raised would be the only mistake told in that run. So what is wrong with it
is noted on the class, and told when the domain is put together, with all the rest.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, get_origin

from cim_domain.errors import LoadError, ModelError
from cim_domain.model.naming import near, snake_case
from cim_domain.model.source_location import where

NOTED = "__cim_mistakes__"

_KIT = "cim_domain.model."

_PYDANTICS = {"model_config"}
"""What a class may well set: it is how pydantic is told."""


_PROTECTED = ("model_dump", "model_validate")
"""Of these names pydantic refuses whatever has a value, before anything could be undone."""


class Mistakes:
    """Sentences, each once, in the order in which they were found."""

    def __init__(self) -> None:
        self.unread: set[type] = set()
        """Classes of which a method could not be read: what seems to be missing may be that."""
        self._taken = 0
        self._found: dict[str, None] = {}
        self._code: str | None = None

    def __len__(self) -> int:
        """How many were taken in, those that were known before included."""
        return self._taken

    def add(self, sentence: str) -> None:
        """Take in one mistake."""
        self._taken += 1
        self._found[sentence] = None

    def take(self, error: ModelError) -> None:
        """Take in all that an error tells."""
        for sentence in error.mistakes:
            self.add(sentence)
        if isinstance(error, LoadError):
            self._code = self._code or error.code

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take in what is raised inside, and go on."""
        try:
            yield
        except ModelError as error:
            self.take(error)

    def take_noted(self, cls: type) -> None:
        """Take in what is noted on a class and on its bases."""
        for base in cls.__mro__:
            for problem in noted(base):
                self.add(f"{where(base)}: {problem}")

    @contextmanager
    def reading(self, cls: type) -> Iterator[None]:
        """The same, with a note of the class in `unread` where there was a mistake."""
        before = len(self)
        with self.gathered():
            yield
        if len(self) > before:
            self.unread.add(cls)

    def refuse(self) -> None:
        """Raise `ModelError` where there is any; `LoadError` where some code does not run."""
        if self._code is not None:
            raise LoadError(*self._found, code=self._code)
        if self._found:
            raise ModelError(*self._found)


def begin(cls: type) -> bool:
    """Prepare a class for notes. False where that is done: attrs makes a slotted class twice."""
    if NOTED in cls.__dict__:
        return False
    setattr(cls, NOTED, [])
    return True


def note(cls: type, problem: str) -> None:
    """Note on a class what is wrong with it, to be told behind its name and place."""
    if NOTED not in cls.__dict__:
        setattr(cls, NOTED, [])
    problems: list[str] = cls.__dict__[NOTED]
    if problem not in problems:
        problems.append(problem)


def noted(cls: type) -> list[str]:
    """What is noted on the class itself."""
    problems: list[str] = cls.__dict__.get(NOTED, [])
    return problems


def is_whole(value: object, least: int) -> bool:
    """Whether a value is an integer, and no less. True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def whole(cls: type, what: str, value: object, least: int = 1) -> int:
    """The value of a class keyword that counts; noted and `least` where it does not."""
    if isinstance(value, int) and is_whole(value, least):
        return value
    note(cls, f"{what} {value!r} is not {least} or more, as a whole number")
    return least


def chosen_name(cls: type, name: object) -> str:
    """The name in a class keyword; without one, the class's own in lower snake case."""
    said = optional_text(cls, "name", name)
    return snake_case(cls.__name__) if said is None else said


def optional_text(cls: type, what: str, value: object) -> str | None:
    """The value of a class keyword that is text or left out; noted where it is neither."""
    if value is None or isinstance(value, str):
        return value
    note(cls, f"{what} {value!r} is not text")
    return None


def names(cls: type, what: str, value: object) -> tuple[str, ...]:
    """The names in a class keyword, one alone or several; noted where they are none."""
    if value is None:
        return ()
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, tuple | list) or not all(isinstance(one, str) for one in several):
        note(cls, f"{what}={value!r} is neither a name nor a tuple of names")
        return ()
    twice = [one for place, one in enumerate(several) if one in several[:place]]
    if twice:
        note(cls, f"{what} names {twice[0]!r} twice")
    return tuple(dict.fromkeys(several))


def only_known(cls: type, given: Mapping[str, Any], known: Iterable[str]) -> Mapping[str, Any]:
    """The class keywords that a further base may want; noted where there is none that could."""
    if not given or _somebody_else_takes_them(cls):
        return given
    for name in given:
        note(cls, f"{name}= is no keyword of its class statement{near(name, known)}")
    return {}


def _somebody_else_takes_them(cls: type) -> bool:
    """Whether a base that comes after the kit's has keywords of its own."""
    kits = [place for place, base in enumerate(cls.__mro__) if base.__module__.startswith(_KIT)]
    others = cls.__mro__[kits[-1] + 1 : -1]
    return any(
        "__init_subclass__" in base.__dict__ and base.__module__ != "typing" for base in others
    )


def keep_names(cls: type, base: type, instead: Mapping[str, str]) -> None:
    """Note what a class calls by a name that is taken by its `base`, and have it undone.

    `instead` says which keyword of the class statement is the way to say it. Raises `ModelError`
    for what cannot be undone.
    """
    if cls.__module__.startswith(_KIT):
        return
    own = dict(cls.__dict__)
    annotations: dict[str, Any] = own.get("__annotations__", {})
    for name in [one for one in annotations if _is_taken(one, base)]:
        if name in _PYDANTICS and _is_class_variable(annotations[name]):
            continue
        problem = _taken(name, base, instead, "field")
        if name in own and name.startswith(_PROTECTED):
            raise ModelError(f"{where(cls)}: {problem}")
        note(cls, problem)
        # What reads the class next, pydantic or attrs, is to find what it finds in the base.
        del annotations[name]
        if name in own:
            annotations[name] = ClassVar[Any]
            _restore(cls, name, base)
    for name in own:
        if name not in annotations and name in _own_names(base):
            note(cls, _taken(name, base, instead, "attribute"))
            _restore(cls, name, base)


def _restore(cls: type, name: str, base: type) -> None:
    if name in cls.__dict__:
        setattr(cls, name, inspect.getattr_static(base, name, None))


def _taken(name: str, base: type, instead: Mapping[str, str], kind: str) -> str:
    owner = next(one for one in base.__mro__ if name in one.__dict__ or name in _annotated(one))
    whose = "pydantic's" if owner.__module__.startswith("pydantic") else "the kit's"
    hint = (
        f"say {instead[name]} in the class statement, or use another name"
        if name in instead
        else "use another name"
    )
    return f"the {kind} {name!r} takes the place of {whose} own {owner.__name__}.{name}: {hint}"


def _is_taken(name: str, base: type) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return False
    return hasattr(base, name) or any(name in _annotated(one) for one in base.__mro__)


def _annotated(cls: type) -> Mapping[str, Any]:
    return inspect.get_annotations(cls)


def _own_names(base: type) -> set[str]:
    """What the kit itself, not pydantic, declares on a base."""
    return {
        name
        for one in base.__mro__
        if one.__module__.startswith(_KIT)
        for name in one.__dict__
        if not name.startswith("_") and name not in _PYDANTICS and not name.startswith("model_")
    }


def _is_class_variable(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else str(get_origin(annotation) or annotation)
    return "ClassVar" in text
