"""Finding the handlers of a class: methods that carry a verb, told apart by their annotations.

A handler's message is the parameter after `self` (for `@projects`: the second after it). One more
parameter, when there is one, is given the metadata (for `@answers`: the views).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import frozen

from cim_domain.errors import ModelError
from cim_domain.model.messages import Message
from cim_domain.model.metadata import Metadata
from cim_domain.model.source_location import where

_VERB = "__cim_verb__"
_ASYNC = {"answers", "reacts"}
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

C = TypeVar("C")
M = TypeVar("M", bound=Message)


def mark(function: Any, verb: str) -> None:
    """Note on a function which verb it carries. Raises `ModelError` for anything but a method."""
    if not inspect.isfunction(function):
        name = where(getattr(function, "__func__", function))
        raise ModelError(f"{name}: @{verb} is for plain methods, not a {type(function).__name__}")
    setattr(function, _VERB, verb)


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


def handlers(cls: type, verb: str, arity: Sequence[int]) -> Iterator[Handler]:
    """Every method of `cls`, inherited ones too, that carries `verb`.

    Raises `ModelError` for one whose number of parameters after `self` is not in `arity`, whose
    annotations cannot be read, and that is async where the verb is not, or the other way round.
    """
    for name, function in inspect.getmembers(cls, inspect.isfunction):
        if getattr(function, _VERB, None) != verb:
            continue
        place = f"{where(function)}, @{verb}"
        try:
            hints = get_type_hints(function, localns={"Self": cls})
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
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
        yield Handler(
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


def one_for_each(cls: type, verb: str, base: type[M]) -> dict[type[M], Handler]:
    """The handlers that take one message of `base`, and perhaps its metadata, by message class.

    Raises `ModelError` where two methods take the same message.
    """
    found: dict[type[M], Handler] = {}
    for handler in handlers(cls, verb, arity=(1, 2)):
        if len(handler.parameters) > 1 and handler.parameters[1] is not Metadata:
            raise ModelError(f"{handler.place}: the last parameter must be annotated with Metadata")
        for message in handler.classes(0, base):
            if message in found:
                raise ModelError(
                    f"{where(cls)}: two @{verb} methods for {message.__name__}:"
                    f" {found[message].name} and {handler.name}"
                )
            found[message] = handler
    return found


def parts(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation itself; None is left out."""
    if get_origin(annotation) in {Union, UnionType}:
        for member in get_args(annotation):
            yield from parts(member)
    elif annotation is not type(None) and annotation is not None:
        yield annotation


def mentioned(annotation: Any, base: type[C]) -> Iterator[type[C]]:
    """Every subclass of `base` anywhere in an annotation, as in ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, base):
            yield annotation
    else:
        for member in get_args(annotation):
            yield from mentioned(member, base)
