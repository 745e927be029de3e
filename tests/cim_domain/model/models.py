"""Modules of models, made from text: each as a user writes it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from uuid import uuid4

from cim_domain import Aggregate, Domain, Process, Projection

HEADER = """\
import abc
import datetime as dt
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, ClassVar, Literal, NewType, Self
from uuid import UUID
from attrs import Factory, evolve, field, frozen
from cim_domain import *
from cim_domain import Metadata
"""

SOUND = """
class Open(Command, type="door.open"):
    name: str

class Opened(Event, type="door.opened"):
    name: str

@frozen
class Door(Aggregate, key="name"):
    open: bool = False

    @decides
    def decide_open(self, command: Open) -> Opened:
        return Opened(name=command.name)

    @evolves
    def was_opened(self, event: Opened) -> Self:
        return evolve(self, open=True)
"""

READ = """
class DoorView(View, name="door_view", indexed=("name",)):
    name: str

class GetDoor(Query, type="door.get", aliases=("gate.get",)):
    name: str

class Doors(Projection):
    @projects
    def opened(self, view: DoorView | None, event: Opened) -> DoorView:
        return DoorView(name=event.name)

    @answers
    async def get(self, query: GetDoor, views: Views) -> DoorView | None:
        return await views.first(DoorView, name=query.name)

class Doorman(Process):
    @reacts
    async def opened(self, event: Opened) -> Open | None:
        return None
"""

Load = Callable[[str], ModuleType]


def load_model(directory: Path, code: str, first: str = "") -> ModuleType:
    """A module of the code, behind what every model imports; its `first` line stands before."""
    name = f"doors_{uuid4().hex}"
    file = directory / f"{name}.py"
    file.write_text(first + HEADER + code)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def compose(module: ModuleType) -> Domain:
    """The domain of all that a module defines."""
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    return Domain(
        "house",
        aggregates=[one for one in own if issubclass(one, Aggregate)],
        projections=[one() for one in own if issubclass(one, Projection)],
        processes=[one() for one in own if issubclass(one, Process)],
    )


def without(text: str, part: str, instead: str = "") -> str:
    """The text with something else in the place of a part that is there."""
    assert part in text, part
    return text.replace(part, instead)
