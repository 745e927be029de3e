"""What queries ask about the fields of views, checked by type.

    field(OrderView.placed_on) >= date(2025, 1, 1)
    field(OrderView.status).one_of([Status.OPEN, Status.SENT])
    field(OrderView.number).starts_with("2025-")
    field(OrderView.sent_on).is_none()
    field(OrderView.placed_on).descending()

To a type checker `OrderView.placed_on` is a date, and so must be what it is compared with. When the
code runs it is a `FieldOfView`: it knows its view and its name.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, dataclass_transform

import pydantic
from attrs import frozen

from cim_domain.errors import ModelError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)

T = TypeVar("T")

_making: ContextVar[bool] = ContextVar("making", default=False)


@contextmanager
def _class_statement() -> Iterator[None]:
    """While a class is made, pydantic is to find no fields on its bases but its own way."""
    token = _making.set(True)
    try:
        yield
    finally:
        _making.reset(token)


@frozen
class FieldOfView:
    """A field, as the class of its view has it: `OrderView.placed_on`."""

    view: type
    name: str


@dataclass_transform(kw_only_default=True, field_specifiers=(pydantic.Field, pydantic.PrivateAttr))
class ViewClass(ModelMetaclass):
    """The class of the classes of views: theirs are the fields that `field` takes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A class of views."""
        with _class_statement():
            return super().__new__(cls, *args, **kwargs)

    # A type checker goes by the annotation of the field, which this must not hide.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if not _making.get() and name in self.__dict__.get("__pydantic_fields__", ()):
                return FieldOfView(self, name)
            return super().__getattr__(name)


class Operator(StrEnum):
    """What a condition says about a field."""

    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    ONE_OF = "one_of"
    STARTS_WITH = "starts_with"


RANGES = (Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST)


@frozen(eq=False)
class Condition:
    """What a field must hold."""

    view: type
    field: str
    operator: Operator
    value: Any

    def __bool__(self) -> NoReturn:
        """Raises `ModelError`: `and`, `or`, `not`, `in` and ``a < b < c`` would drop conditions."""
        raise ModelError(
            f"{self.view.__name__}.{self.field} {self.operator}: a condition is neither true nor"
            " false; those that must all hold are listed: [field(...) >= a, field(...) < b]"
        )


@frozen(eq=False)
class Ordering:
    """A field by which views come, and in which direction."""

    view: type
    field: str
    turned: bool
    """From the largest down."""


@frozen(eq=False)
class Field(Generic[T]):
    """An indexed field in a query; `field` makes it.

    A range never holds where the field is None; ``!=`` holds there, as in Python.
    """

    view: type
    name: str

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, value: T) -> Condition:  # type: ignore[override]
        """The field has this value, which may be None."""
        return self._condition(Operator.EQUAL, value)

    def __ne__(self, value: T) -> Condition:  # type: ignore[override]
        """The field has another value, or none."""
        return self._condition(Operator.UNEQUAL, value)

    def __lt__(self, value: T) -> Condition:
        """The field is less."""
        return self._condition(Operator.LESS, value)

    def __le__(self, value: T) -> Condition:
        """The field is that or less."""
        return self._condition(Operator.AT_MOST, value)

    def __gt__(self, value: T) -> Condition:
        """The field is more."""
        return self._condition(Operator.MORE, value)

    def __ge__(self, value: T) -> Condition:
        """The field is that or more."""
        return self._condition(Operator.AT_LEAST, value)

    def one_of(self, values: Iterable[T]) -> Condition:
        """The field has one of these values; None may be among them."""
        return self._condition(Operator.ONE_OF, tuple(values))

    def starts_with(self, text: str) -> Condition:
        """The field, a text, begins so: case counts."""
        return self._condition(Operator.STARTS_WITH, text)

    def is_none(self) -> Condition:
        """The field is None."""
        return self._condition(Operator.EQUAL, None)

    def is_not_none(self) -> Condition:
        """The field has a value."""
        return self._condition(Operator.UNEQUAL, None)

    def ascending(self) -> Ordering:
        """Views come by this field, None first."""
        return Ordering(self.view, self.name, turned=False)

    def descending(self) -> Ordering:
        """Views come by this field from the largest down, None last."""
        return Ordering(self.view, self.name, turned=True)

    def _condition(self, operator: Operator, value: Any) -> Condition:
        return Condition(self.view, self.name, operator, value)


def field(of: T) -> Field[T]:
    """A field of a view, by its class: `field(OrderView.placed_on)`. Raises `ModelError`."""
    if not isinstance(of, FieldOfView):
        raise ModelError(
            f"field() takes a field of a view by its class, such as OrderView.placed_on, not a"
            f" {type(of).__name__}"
        )
    return Field(of.view, of.name)
