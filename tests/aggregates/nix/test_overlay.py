"""What can be done to an overlay, and what the rules refuse."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from aggregates.nix.overlay import (
    CreateOverlay,
    DeleteOverlay,
    Overlay,
    OverlayContent,
    OverlayCreated,
    OverlayDeleted,
    OverlayUpdated,
    UpdateOverlay,
)
from cim_domain import Command
from cim_domain.testing.scenario import Scenario

NAME = "web"
CONTENT: dict[str, Any] = {"overrides": {"a": [1, None]}, "additions": {"b": "c"}}


def create(**content: Any) -> CreateOverlay:
    return CreateOverlay.from_wire(orjson.dumps({"name": NAME, "overlay": content}))


def update(**content: Any) -> UpdateOverlay:
    return UpdateOverlay.from_wire(orjson.dumps({"name": NAME, "overlay": content}))


def was_created(**content: Any) -> OverlayCreated:
    return OverlayCreated(name=NAME, overlay=OverlayContent(**content))


def was_updated(**content: Any) -> OverlayUpdated:
    return OverlayUpdated(name=NAME, overlay=OverlayContent(**content))


absent = Scenario(Overlay)
present = absent.given(was_created(**CONTENT))
deleted = present.given(OverlayDeleted(name=NAME))


@pytest.mark.parametrize("before", [absent, deleted], ids=["absent", "deleted"])
def test_an_overlay_is_created_also_after_it_was_deleted(before: Scenario[Overlay]) -> None:
    before.when(create(**CONTENT)).then(was_created(**CONTENT))


def test_what_is_left_out_is_empty() -> None:
    absent.when(create()).then(was_created(overrides={}, additions={}))


def test_an_overlay_that_exists_is_not_created_again() -> None:
    rejection = present.when(create(**CONTENT)).then_rejected("overlay.exists")
    assert "overlay.update" in rejection.message


@pytest.mark.parametrize("before", [absent, deleted], ids=["absent", "deleted"])
@pytest.mark.parametrize(
    "command", [update(**CONTENT), DeleteOverlay(name=NAME)], ids=["update", "delete"]
)
def test_nothing_can_be_done_to_an_overlay_that_does_not_exist(
    before: Scenario[Overlay], command: Command
) -> None:
    rejection = before.when(command).then_rejected("overlay.unknown")
    assert "overlay.create" in rejection.message


def test_an_overlay_is_updated() -> None:
    present.when(update(**{**CONTENT, "overrides": {}})).then(
        was_updated(**{**CONTENT, "overrides": {}})
    )


def test_updating_to_the_same_content_records_nothing() -> None:
    present.when(update(**CONTENT)).then_nothing()
    updated = present.given(update(additions={"x": 1, "y": 2}))
    updated.when(update(additions={"y": 2, "x": 1})).then_nothing()


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None])
def test_values_that_nix_tells_apart_are_other_content(other: object) -> None:
    before = present.given(update(additions={"x": 1}))
    before.when(update(additions={"x": other})).then(was_updated(additions={"x": other}))


def test_an_overlay_is_deleted() -> None:
    assert present.when(DeleteOverlay(name=NAME)).then(OverlayDeleted(name=NAME)).state == Overlay()


def test_an_event_ignores_fields_of_the_content_that_it_does_not_know() -> None:
    event = OverlayCreated.from_log(
        b'{"name":"web","overlay":{"overrides":{},"later":1},"by":"x"}', 1
    )
    assert event == was_created()


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("overrides", [], ("overlay", "overrides")),
        ("overrides", {"a": "\0"}, ("overlay", "overrides")),
        ("additions", {"a\0": 1}, ("overlay", "additions")),
        ("additions", None, ("overlay", "additions")),
        ("later", 1, ("overlay", "later")),
    ],
)
@pytest.mark.parametrize("send", [create, update])
def test_content_that_is_not_valid_is_refused_at_the_field(
    send: Any, field: str, value: object, place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        send(**{field: value})
    assert [error["loc"] for error in refusal.value.errors()] == [place]


def test_an_overlays_content_must_be_there() -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateOverlay.from_wire(b'{"name":"web"}')
    assert [error["loc"] for error in refusal.value.errors()] == [("overlay",)]
