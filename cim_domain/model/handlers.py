"""Finding the handlers of a class: methods that carry a verb, told apart by their annotations.

A handler's message is the parameter after `self` (for `@projects`: the second after it). One more
parameter, when there is one, is given the metadata (for `@answers`: the views).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from attrs import frozen

from cim_domain.errors import ModelError
from cim_domain.model.fields.types import parts
from cim_domain.model.messages import Message
from cim_domain.model.metadata import Metadata
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.source_location import where

_VERB = "__cim_verb__"
_MARKED = "__cim_marked__"
_UNFIT = "__cim_unfit__"
_DEEP = 4
"""So many calls lie at most between the body of a class and what looks for it here."""

_ASYNC = {"answers", "reacts"}
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

C = TypeVar("C")
M = TypeVar("M", bound=Message)


def mark(method: Any, verb: str) -> None:
    """Note on a method which verb it carries, and in its class that it is there.

    What is no method is noted in the class, too: raises `ModelError` only where there is none.
    """
    function = method if inspect.isfunction(method) else _function(method)
    name = getattr(function, "__name__", "")
    body = _class_body(getattr(function, "__qualname__", ""), name)
    if not inspect.isfunction(method):
        problem = f"@{verb} is for plain methods, not a {type(method).__name__}"
        if body is None:
            raise ModelError(f"{where(function)}: {problem}")
        body.setdefault(_UNFIT, []).append(f"{where(function)}: {problem}")
        return
    setattr(method, _VERB, verb)
    if body is not None:
        body.setdefault(_MARKED, []).append(method)
        if name in body or name in body.get("__annotations__", ()):
            body.setdefault(_UNFIT, []).append(_twice(method, body.get(name)))


def _class_body(qualname: str, name: str) -> Any:
    """The namespace of the class statement that the function stands in, while that is run.

    What stands there twice under one name is seen nowhere else: the class has the second alone.
    """
    frame = inspect.currentframe()
    for _ in range(_DEEP):
        frame = frame and frame.f_back
        if frame and f"{frame.f_locals.get('__qualname__')}.{name}" == qualname:
            return frame.f_locals
    return None


def misplaced(cls: type, verbs: Sequence[str], mistakes: Mistakes) -> None:
    """Take in what is marked in a class, or in its bases, and is not called all the same."""
    with mistakes.reading(cls):
        _find_misplaced(cls, verbs, mistakes)


def _find_misplaced(cls: type, verbs: Sequence[str], mistakes: Mistakes) -> None:
    before = len(mistakes)
    for base in cls.__mro__:
        for problem in base.__dict__.get(_UNFIT, ()):
            mistakes.add(problem)
        for function in base.__dict__.get(_MARKED, ()):
            now = base.__dict__.get(function.__name__)
            if now is not function and inspect.unwrap(_function(now)) is not function:
                mistakes.add(_twice(now, function))
    if len(mistakes) > before:
        return
    for base in cls.__mro__:
        for function in base.__dict__.get(_MARKED, ()):
            now = inspect.getattr_static(cls, function.__name__)
            verb = getattr(function, _VERB)
            if inspect.isfunction(now) and not hasattr(now, _VERB):
                mistakes.add(
                    f"{where(now)}: it takes the place of {where(function)}, and lacks its @{verb}"
                )
            elif verb not in verbs:
                mistakes.add(
                    f"{where(function)}: @{verb} has no meaning in {where(cls)}, where methods"
                    f" are marked with {' or '.join(f'@{one}' for one in verbs)}"
                )


def _function(value: Any) -> Any:
    """The function in a static method, a class method or a property."""
    return getattr(value, "__func__", None) or getattr(value, "fget", None) or value


def _twice(later: Any, earlier: Any) -> str:
    function = later if inspect.isfunction(later) else earlier
    name = function.__name__
    first = f", {where(earlier)}" if inspect.isfunction(earlier) and earlier is not function else ""
    return (
        f"{where(function)}: its class has something else of the name {name!r}{first}, and the"
        " later takes the place of the earlier: give one of them another name"
    )


@frozen
class Handler:
    """One marked method: its name, its parameters' types after `self`, and what it returns."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Any, ...]
    returns: Any
    place: str

    def call(self, owner: object, message: Message, metadata: Metadata) -> Any:
        """Call a handler of one message, handing it the metadata if it asks for it."""
        if len(self.parameters) > 1:
            return self.function(owner, message, metadata)
        return self.function(owner, message)

    def classes(self, position: int, base: type[C]) -> tuple[type[C], ...]:
        """The classes that the parameter at `position` accepts: one, or each part of a union.

        Raises `ModelError` where one of them is not a subclass of `base`.
        """
        found = tuple(parts(self.parameters[position]))
        for part in found:
            if not (isinstance(part, type) and issubclass(part, base)):
                raise ModelError(
                    f"{self.place}: parameter {position + 1} must be annotated with"
                    f" a {base.__name__}, not {part!r}"
                )
        return found


def handlers(cls: type, verb: str, arity: Sequence[int], mistakes: Mistakes) -> list[Handler]:
    """Every method of `cls`, inherited ones too, that carries `verb`.

    A mistake is one whose number of parameters after `self` is not in `arity`, whose annotations
    cannot be read, and that is async where the verb is not, or the other way round.
    """
    found: list[Handler] = []
    for name, function in inspect.getmembers(cls, inspect.isfunction):
        if getattr(function, _VERB, None) == verb:
            with mistakes.reading(cls):
                found.append(_handler(cls, name, function, verb, arity))
    return found


def _handler(
    cls: type, name: str, function: Callable[..., Any], verb: str, arity: Sequence[int]
) -> Handler:
    place = f"{where(function)}, @{verb}"
    try:
        hints = get_type_hints(function, localns={"Self": cls})
    except Exception as error:  # an annotation is an expression: it may raise anything
        raise ModelError(f"{place}: cannot read the annotations: {error}") from error
    if inspect.iscoroutinefunction(function) is not (verb in _ASYNC):
        raise ModelError(f"{place}: it must {'' if verb in _ASYNC else 'not '}be async")
    names = _positional(function, place)
    missing = [parameter for parameter in names if parameter not in hints]
    if missing:
        raise ModelError(f"{place}: parameter {missing[0]!r} has no annotation")
    if len(names) not in arity:
        allowed = " or ".join(map(str, arity))
        raise ModelError(f"{place}: expected {allowed} parameters after self, got {len(names)}")
    return Handler(
        name=name,
        function=function,
        parameters=tuple(hints[parameter] for parameter in names),
        returns=hints.get("return"),
        place=place,
    )


def _positional(function: Callable[..., Any], place: str) -> list[str]:
    """The names of the parameters after `self`, all of which are given by position."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind not in _BY_POSITION:
            raise ModelError(f"{place}: parameter {parameter.name!r} cannot be given by position")
    return [parameter.name for parameter in parameters]


def one_for_each(cls: type, verb: str, base: type[M], mistakes: Mistakes) -> dict[type[M], Handler]:
    """The handlers that take one message of `base`, and perhaps its metadata, by message class.

    A mistake is also where two methods take the same message.
    """
    found: dict[type[M], Handler] = {}
    for handler in handlers(cls, verb, (1, 2), mistakes):
        with mistakes.reading(cls):
            if len(handler.parameters) > 1 and handler.parameters[1] is not Metadata:
                raise ModelError(
                    f"{handler.place}: the last parameter must be annotated with Metadata"
                )
            for message in handler.classes(0, base):
                if message in found:
                    mistakes.add(
                        f"{where(cls)}: two @{verb} methods for {message.__name__}:"
                        f" {found[message].name} and {handler.name}"
                    )
                found[message] = handler
    return found


def mentioned(annotation: Any, base: type[C]) -> Iterator[type[C]]:
    """Every subclass of `base` anywhere in an annotation, as in ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, base):
            yield annotation
    else:
        for member in get_args(annotation):
            yield from mentioned(member, base)
