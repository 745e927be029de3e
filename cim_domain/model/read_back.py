"""What JSON makes of a value: whether it gives back what was there, and if not, where.

What is stored will be read by other code than that which made it. So it is read once before it is
stored, and what would come back as something else is not stored at all.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cim_domain.model.failures import cause, model_code, problems
from cim_domain.model.messages import Event
from cim_domain.model.view import View

E = TypeVar("E", bound=Event)
V = TypeVar("V", bound=View)

_MISSING = object()


class Altered(ValueError):
    """JSON does not give back a value as it was: the `path` of the field, and the `problem`.

    Neither names a value.
    """

    def __init__(self, path: tuple[str, ...], problem: str) -> None:
        self.path = ".".join(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}" if self.path else problem)


def stored_event(event: E) -> tuple[bytes, E]:
    """The JSON of an event, and the event as it will be read from that. Raises `Altered`."""
    data = _written(event)
    try:
        stored = type(event).from_log(data, event.schema_version)
    except ValidationError as error:
        raise _unreadable(error) from error
    if not _is_same(event, stored):
        _compare(event, stored)
    return data, stored


def stored_view(view: View) -> bytes:
    """The JSON of a view that can be read from it as it is. Raises `Altered`."""
    data = _written(view)
    try:
        with model_code:
            stored = type(view).__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        raise _unreadable(error) from error
    if not _is_same(view, stored):
        _compare(view, stored)
    return data


def _written(value: BaseModel) -> bytes:
    try:
        # What does not fit its annotation is found when it is read, with its path.
        with model_code:
            return value.__pydantic_serializer__.to_json(value, warnings=False)
    except Exception as error:
        raise Altered((), f"it cannot be written as JSON: {cause(error)}") from error


def _unreadable(error: ValidationError) -> Altered:
    first = problems(error)[0]
    return Altered((first["path"],), f"its JSON cannot be read again: {first['message']}")


def _is_same(before: BaseModel, after: BaseModel) -> bool:
    """Whether all is as it was, as nearly always; pydantic takes many times as long to say so."""
    return (
        before.__dict__ == after.__dict__
        and before.__pydantic_private__ == after.__pydantic_private__
        and before.__pydantic_extra__ == after.__pydantic_extra__
    )


def _compare(before: BaseModel, after: BaseModel) -> None:
    """Raise `Altered` for the first difference. Two that are not a number are none."""
    for path, one, other in _differences(before, after, ()):
        problem = (
            "another value comes back from its JSON"
            if type(one) is type(other)
            else f"{_kind(other)} comes back from its JSON in the place of {_kind(one)}"
        )
        raise Altered(path, problem)


def _differences(
    before: Any, after: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if before == after or (_is_no_number(before) and _is_no_number(after)):
        return
    pairs = list(_parts(before, after))
    for name, one, other in pairs:
        yield from _differences(one, other, (*path, name))
    if not pairs:
        yield path, before, after


def _parts(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """What two of a kind consist of; nothing where that does not tell in what they differ."""
    if isinstance(before, BaseModel) and type(before) is type(after):
        mine, yours = _contents(before), _contents(after)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        mine, yours = dict(before), dict(after)
    elif isinstance(before, list | tuple) and type(before) is type(after):
        for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=_MISSING)):
            yield str(number), one, other
        return
    else:
        return
    for name in {**mine, **yours}:
        yield str(name), mine.get(name, _MISSING), yours.get(name, _MISSING)


def _contents(value: BaseModel) -> dict[str, Any]:
    # Private attributes are not stored, but whoever decided may count on them.
    private, extra = value.__pydantic_private__, value.__pydantic_extra__
    return {**value.__dict__, **(private or {}), **(extra or {})}


def _is_no_number(value: Any) -> bool:
    return bool(value != value)


def _kind(value: Any) -> str:
    return "nothing" if value is _MISSING else type(value).__name__
