"""What can be done to a module, and what the rules refuse."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from aggregates.nix.module import (
    CreateModule,
    DeleteModule,
    Module,
    ModuleContent,
    ModuleCreated,
    ModuleDeleted,
    ModuleUpdated,
    UpdateModule,
)
from cim_domain import Command
from cim_domain.testing.scenario import Scenario

NAME = "web"
CONTENT: dict[str, Any] = {
    "options": {"a": [1, None]},
    "config": {"b": "c"},
    "imports": ["./disk.nix"],
}


def create(**content: Any) -> CreateModule:
    return CreateModule.from_wire(orjson.dumps({"name": NAME, "module": content}))


def update(**content: Any) -> UpdateModule:
    return UpdateModule.from_wire(orjson.dumps({"name": NAME, "module": content}))


def was_created(**content: Any) -> ModuleCreated:
    return ModuleCreated(name=NAME, module=ModuleContent(**content))


def was_updated(**content: Any) -> ModuleUpdated:
    return ModuleUpdated(name=NAME, module=ModuleContent(**content))


absent = Scenario(Module)
present = absent.given(was_created(**CONTENT))
deleted = present.given(ModuleDeleted(name=NAME))


@pytest.mark.parametrize("before", [absent, deleted], ids=["absent", "deleted"])
def test_a_module_is_created_also_after_it_was_deleted(before: Scenario[Module]) -> None:
    before.when(create(**CONTENT)).then(was_created(**CONTENT))


def test_what_is_left_out_is_empty() -> None:
    absent.when(create()).then(was_created(options={}, config={}, imports=()))


def test_a_module_that_exists_is_not_created_again() -> None:
    rejection = present.when(create(**CONTENT)).then_rejected("module.exists")
    assert "module.update" in rejection.message


@pytest.mark.parametrize("before", [absent, deleted], ids=["absent", "deleted"])
@pytest.mark.parametrize(
    "command", [update(**CONTENT), DeleteModule(name=NAME)], ids=["update", "delete"]
)
def test_nothing_can_be_done_to_a_module_that_does_not_exist(
    before: Scenario[Module], command: Command
) -> None:
    rejection = before.when(command).then_rejected("module.unknown")
    assert "module.create" in rejection.message


def test_a_module_is_updated() -> None:
    present.when(update(**{**CONTENT, "options": {}})).then(
        was_updated(**{**CONTENT, "options": {}})
    )


def test_updating_to_the_same_content_records_nothing() -> None:
    present.when(update(**CONTENT)).then_nothing()
    updated = present.given(update(config={"x": 1, "y": 2}))
    updated.when(update(config={"y": 2, "x": 1})).then_nothing()


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None])
def test_values_that_nix_tells_apart_are_other_content(other: object) -> None:
    before = present.given(update(config={"x": 1}))
    before.when(update(config={"x": other})).then(was_updated(config={"x": other}))


def test_a_module_is_deleted() -> None:
    assert present.when(DeleteModule(name=NAME)).then(ModuleDeleted(name=NAME)).state == Module()


def test_an_event_ignores_fields_of_the_content_that_it_does_not_know() -> None:
    event = ModuleCreated.from_log(b'{"name":"web","module":{"options":{},"later":1},"by":"x"}', 1)
    assert event == was_created()


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("options", [], ("module", "options")),
        ("options", {"a": "\0"}, ("module", "options")),
        ("config", {"a\0": 1}, ("module", "config")),
        ("config", None, ("module", "config")),
        ("imports", [""], ("module", "imports", 0)),
        ("imports", "./disk.nix", ("module", "imports")),
        ("later", 1, ("module", "later")),
    ],
)
@pytest.mark.parametrize("send", [create, update])
def test_content_that_is_not_valid_is_refused_at_the_field(
    send: Any, field: str, value: object, place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        send(**{field: value})
    assert [error["loc"] for error in refusal.value.errors()] == [place]


def test_a_modules_content_must_be_there() -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateModule.from_wire(b'{"name":"web"}')
    assert [error["loc"] for error in refusal.value.errors()] == [("module",)]
