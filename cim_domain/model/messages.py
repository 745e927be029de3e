"""Commands, events and queries: frozen pydantic models that are declared with their type.

    class CreateFlake(Command, type="flake.create"):
        path: str

A type is ``aggregate.action`` in lower snake case. Together with the domain's name it gives the
subject, so neither is ever written twice. A class without a type is a base for others: it may hold
the fields they share and is never sent.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from cim_domain.errors import ModelError
from cim_domain.model.failures import model_code
from cim_domain.model.mistakes import (
    begin,
    is_whole,
    keep_names,
    names,
    note,
    only_known,
    optional_text,
    whole,
)
from cim_domain.model.source_location import where

TYPE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
"""What the type of a message is."""

_KEYWORDS = {
    "message_type": "type=",
    "aliases": "aliases=",
    "schema_version": "version=",
    "former_types": "formerly=",
}

Json = dict[str, Any]
Upcaster = Callable[[Json], Json]


class Message(BaseModel):
    """What commands, events and queries have in common: a type, and fields that never change."""

    # JSON has no NaN: it would be stored as null, and never be read again.
    # A field with an alias goes by it in JSON, and by its name, too, in Python.
    model_config = ConfigDict(
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    message_type: ClassVar[str] = ""
    _own_keywords: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, type: str | None = None, **kwargs: Any) -> None:  # noqa: A002
        begin(cls)
        known = ("type", *cls._own_keywords)
        super().__init_subclass__(**only_known(cls, kwargs, known))
        base = next(one for one in cls.__mro__ if one.__module__ == __name__)
        keep_names(cls, base, _KEYWORDS)
        said = optional_text(cls, "type", type)
        if said is not None and not TYPE.fullmatch(said):
            note(cls, f"type {said!r} is not of the form aggregate.action, lower snake case")
            said = None
        cls.message_type = said or ""

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """Read the JSON of a message as a client sent it: nothing is coerced.

        Raises pydantic's `ValidationError`.
        """
        # As `model_validate_json`, which every message would pay for with a call more.
        with model_code:
            message: Self = cls.__pydantic_validator__.validate_json(data, strict=True)
            return message

    def to_wire(self) -> bytes:
        """Write the message's own fields as JSON."""
        return self.__pydantic_serializer__.to_json(self)


class Command(Message):
    """Something a client wants done; the aggregate that its type names decides about it."""

    model_config = ConfigDict(extra="forbid")


class Query(Message):
    """A question that a projection answers from its views.

    `aliases` are further types under which clients may ask the same.
    """

    model_config = ConfigDict(extra="forbid")

    aliases: ClassVar[tuple[str, ...]] = ()

    _own_keywords: ClassVar[tuple[str, ...]] = ("aliases",)

    def __init_subclass__(cls, *, aliases: str | tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.aliases = names(cls, "aliases", aliases)
        for alias in cls.aliases:
            if not TYPE.fullmatch(alias):
                note(cls, f"alias {alias!r} is not of the form aggregate.action")


class Event(Message):
    """Something that happened. Fields that the code does not know are ignored when it is read.

    `version` counts the shapes it has had; `upcasts` says how an older one becomes the next.
    `formerly` are further types under which the log may hold it, from before it was renamed: what
    was stored under one of these is read as this class, in the version that it was stored in.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: ClassVar[int] = 1
    upcasters: ClassVar[dict[int, Upcaster]] = {}
    former_types: ClassVar[tuple[str, ...]] = ()

    _own_keywords: ClassVar[tuple[str, ...]] = ("version", "formerly")

    def __init_subclass__(
        cls, *, version: int = 1, formerly: str | tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.schema_version = whole(cls, "version", version)
        cls.upcasters = {}
        cls.former_types = names(cls, "formerly", formerly)
        for former in cls.former_types:
            if not TYPE.fullmatch(former):
                note(cls, f"formerly {former!r} is not of the form aggregate.action")
            elif former == cls.message_type:
                note(cls, f"formerly {former!r} is the type that it has now")
        if cls.former_types and not cls.message_type:
            note(cls, "formerly= is for an event that has a type of its own: type='...'")

    @classmethod
    def stored_types(cls) -> tuple[str, ...]:
        """The types under which the log may hold it: its own, and those it had."""
        return (cls.message_type, *cls.former_types)

    @classmethod
    def from_log(cls, data: bytes, version: int) -> Self:
        """Read the JSON of an event as it was stored, by this version of the class or an older one.

        Raises pydantic's `ValidationError`, `ValueError` for no JSON, and what an upcaster raises.
        """
        with model_code:
            if version == cls.schema_version:
                event: Self = cls.__pydantic_validator__.validate_json(data)
                return event
            # Not by orjson, for which integers end at 64 bits: those of stored events need not.
            upcast: Json = from_json(data)
            for step in range(version, cls.schema_version):
                upcast = cls.upcasters[step](upcast)
            # As JSON again, so that fields take what they take of the newest version: strict ones,
            # too.
            return cls.model_validate_json(to_json(upcast))


def upcasts(event: type[Event], version: int) -> Callable[[Upcaster], Upcaster]:
    """Mark the function that turns the JSON object of `event` at `version` into the next version's.

        @upcasts(FlakeCreated, 1)
        def _every_flake_was_for_rust(old: Json) -> Json:
            return {**old, "template": "rust"}

    That the chain has no gap is checked when the domain is put together.
    """

    def register(upcaster: Upcaster) -> Upcaster:
        given: object = event
        if not (isinstance(given, type) and issubclass(given, Event)):
            raise ModelError(f"{where(upcaster)}: @upcasts is for an event's class, not {event!r}")
        if not is_whole(version, 1):
            note(event, f"an upcaster from version {version!r}, which is no whole number from 1 on")
        elif version in event.upcasters:
            note(event, f"two upcasters for version {version}")
        else:
            event.upcasters[version] = upcaster
        return upcaster

    return register
