"""Free JSON that clients hand in: what is kept as it is, and what is refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aggregates.nix.content import MAX_DEPTH, check_json_object
from aggregates.nix.module import CheckedModuleContent, CreateModule, ModuleContent, ModuleCreated

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
json_objects = st.dictionaries(
    texts,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


def nested(levels: int, innermost: object) -> Any:
    value = innermost
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@given(json_objects)
def test_what_json_can_say_is_kept_as_it_is_through_command_event_and_log(
    value: dict[str, Any],
) -> None:
    sent = CreateModule(name="web", module=CheckedModuleContent(options=value))
    command = CreateModule.from_wire(sent.to_wire())
    event = ModuleCreated(name=command.name, module=command.module)
    stored = ModuleCreated.from_log(event.to_wire(), 1)
    assert repr(stored.module.options) == repr(value)
    assert stored.module.digest() == sent.module.digest()


def test_an_event_holds_its_own_class_of_content_whatever_it_was_given() -> None:
    event = ModuleCreated(name="web", module=CheckedModuleContent(options={"a": 1}))
    assert type(event.module) is ModuleContent
    assert event.module.options == {"a": 1}


def test_content_does_not_change() -> None:
    content = ModuleContent(imports=("./disk.nix",))
    with pytest.raises(ValidationError, match="frozen"):
        content.imports = ()  # type: ignore[misc]


@pytest.mark.parametrize("innermost", [1, "x", None])
def test_json_may_be_64_levels_deep(innermost: object) -> None:
    value = {"a": nested(MAX_DEPTH - 1, innermost)}
    assert check_json_object(value) is value


@pytest.mark.parametrize("innermost", [{}, [], {"a": 1}])
def test_json_that_is_deeper_is_refused(innermost: object) -> None:
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        check_json_object({"a": nested(MAX_DEPTH - 1, innermost)})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("\0", r"U\+0000"),
        ("a\ud800", r"U\+D800"),
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (math.nan, "not finite"),
        (-math.inf, "not finite"),
        ((1,), "holds a tuple"),
        (b"x", "holds a bytes"),
        ({1: 2}, "a key that is no text"),
        ({"\0": 2}, r"U\+0000"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", [lambda bad: {"a": bad}, lambda bad: {"a": [{"b": [1, bad]}]}])
def test_what_could_not_be_kept_is_refused_wherever_it_stands(
    place: Any, value: object, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        check_json_object(place(value))


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"1e999", b'"\\u0000"', b"[" * 150])
def test_a_body_with_what_could_not_be_kept_is_refused(literal: bytes) -> None:
    body = b'{"name":"web","module":{"options":{"a":' + literal
    body += (b"]" * 150 if literal.startswith(b"[") else b"") + b"}}}"
    with pytest.raises(ValueError, match=r"module\.options"):
        CreateModule.from_wire(body)
