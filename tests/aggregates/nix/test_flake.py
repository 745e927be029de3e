"""What can be done to a flake, and what the rules refuse."""

import orjson
import pytest
from pydantic import ValidationError

from aggregates.nix.flake import (
    AddFlakeInput,
    CreateFlake,
    Flake,
    FlakeCreated,
    FlakeInput,
    FlakeInputAdded,
    FlakeInputRemoved,
    FlakeUpdated,
    RemoveFlakeInput,
    UpdateFlake,
)
from aggregates.nix.values import FlakeTemplate
from cim_domain import Command
from cim_domain.testing.scenario import Scenario

PATH = "/srv/web"
NIXPKGS = "github:NixOS/nixpkgs/nixos-24.05"
UTILS = "github:numtide/flake-utils"

absent = Scenario(Flake)
created = absent.given(FlakeCreated(path=PATH))
with_nixpkgs = created.given(FlakeInputAdded(path=PATH, name="nixpkgs", url=NIXPKGS))
following = with_nixpkgs.given(
    FlakeInputAdded(path=PATH, name="utils", url=UTILS, follows={"nixpkgs": "nixpkgs"})
)


def add(name: str, url: str, **follows: str) -> AddFlakeInput:
    return AddFlakeInput(path=PATH, name=name, url=url, follows=follows)


def test_a_flake_is_created() -> None:
    absent.when(CreateFlake(path=PATH)).then(FlakeCreated(path=PATH, description="", template=None))


def test_a_flake_is_created_with_description_and_template() -> None:
    command = CreateFlake(path=PATH, description="A shop.\nOurs.", template=FlakeTemplate.RUST)
    absent.when(command).then(
        FlakeCreated(path=PATH, description="A shop.\nOurs.", template=FlakeTemplate.RUST)
    )


def test_a_flake_that_exists_is_not_created_again() -> None:
    rejection = created.when(CreateFlake(path=PATH)).then_rejected("flake.exists")
    assert "flake.update" in rejection.message


@pytest.mark.parametrize(
    "command",
    [UpdateFlake(path=PATH), add("nixpkgs", NIXPKGS), RemoveFlakeInput(path=PATH, name="nixpkgs")],
    ids=lambda command: command.message_type,
)
def test_nothing_can_be_done_to_a_flake_that_does_not_exist(command: Command) -> None:
    rejection = absent.when(command).then_rejected("flake.unknown")
    assert "flake.create" in rejection.message


def test_every_update_is_recorded_since_it_locks_anew() -> None:
    updated = FlakeUpdated(path=PATH)
    once = created.when(UpdateFlake(path=PATH)).then(updated)
    once.when(UpdateFlake(path=PATH)).then(updated)


def test_an_input_is_added() -> None:
    after = created.when(add("nixpkgs", NIXPKGS)).then(
        FlakeInputAdded(path=PATH, name="nixpkgs", url=NIXPKGS, follows={})
    )
    assert after.state.inputs == {"nixpkgs": FlakeInput(NIXPKGS, {})}


def test_an_input_may_follow_an_input_that_is_there() -> None:
    with_nixpkgs.when(add("utils", UTILS, nixpkgs="nixpkgs")).then(
        FlakeInputAdded(path=PATH, name="utils", url=UTILS, follows={"nixpkgs": "nixpkgs"})
    )


def test_adding_the_same_input_again_records_nothing() -> None:
    with_nixpkgs.when(add("nixpkgs", NIXPKGS)).then_nothing()
    following.when(add("utils", UTILS, nixpkgs="nixpkgs")).then_nothing()


def test_adding_a_name_with_another_url_is_rejected() -> None:
    rejection = with_nixpkgs.when(add("nixpkgs", UTILS)).then_rejected("flake.input_exists")
    assert "remove it first" in rejection.message


@pytest.mark.parametrize("follows", [{}, {"systems": "nixpkgs"}, {"nixpkgs": "absent"}])
def test_adding_a_name_with_other_follows_is_rejected(follows: dict[str, str]) -> None:
    following.when(add("utils", UTILS, **follows)).then_rejected("flake.input_exists")


def test_a_follows_that_names_no_input_of_the_flake_is_rejected() -> None:
    command = add("utils", UTILS, nixpkgs="nixpkgs", b="systems", a="hosts")
    rejection = with_nixpkgs.when(command).then_rejected("flake.follows_unknown")
    assert rejection.details == {"unknown": ["hosts", "systems"]}
    assert "add that first" in rejection.message


def test_an_input_cannot_follow_itself() -> None:
    with_nixpkgs.when(add("utils", UTILS, nixpkgs="utils")).then_rejected("flake.follows_unknown")


def test_an_input_is_removed_and_the_event_tells_its_url() -> None:
    after = with_nixpkgs.when(RemoveFlakeInput(path=PATH, name="nixpkgs")).then(
        FlakeInputRemoved(path=PATH, name="nixpkgs", url=NIXPKGS)
    )
    assert after.state == created.state


def test_an_input_that_is_not_there_cannot_be_removed() -> None:
    created.when(RemoveFlakeInput(path=PATH, name="nixpkgs")).then_rejected("flake.input_unknown")


def test_an_input_that_others_follow_cannot_be_removed_before_them() -> None:
    remove_nixpkgs = RemoveFlakeInput(path=PATH, name="nixpkgs")
    rejection = following.when(remove_nixpkgs).then_rejected("flake.input_followed")
    assert rejection.details == {"followers": ["utils"]}
    following.given(RemoveFlakeInput(path=PATH, name="utils"), remove_nixpkgs)


def test_a_removed_input_may_be_added_with_another_url() -> None:
    removed = with_nixpkgs.given(RemoveFlakeInput(path=PATH, name="nixpkgs"))
    removed.when(add("nixpkgs", UTILS)).then(
        FlakeInputAdded(path=PATH, name="nixpkgs", url=UTILS, follows={})
    )


def test_a_client_may_leave_out_what_has_a_default() -> None:
    assert CreateFlake.from_wire(b'{"path":"/srv/web"}') == CreateFlake(path=PATH)
    sent = orjson.dumps({"path": PATH, "name": "nixpkgs", "url": NIXPKGS})
    assert AddFlakeInput.from_wire(sent) == add("nixpkgs", NIXPKGS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("path",), "srv/web"),
        (("description",), "a\0b"),
        (("template",), "cobol"),
        (("owner",), "me"),
    ],
)
def test_a_create_that_is_not_valid_is_refused_at_the_field(
    field: tuple[str, ...], value: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateFlake.from_wire(orjson.dumps({"path": PATH, field[0]: value}))
    assert [error["loc"] for error in refusal.value.errors()] == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "-x"}, ("name",)),
        ({"url": "--option"}, ("url",)),
        ({"follows": {"nixpkgs": "a b"}}, ("follows", "nixpkgs")),
        ({"follows": {"a b": "nixpkgs"}}, ("follows", "a b", "[key]")),
    ],
)
def test_an_input_that_is_not_valid_is_refused_at_the_field(
    change: dict[str, object], field: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        AddFlakeInput.from_wire(
            orjson.dumps({"path": PATH, "name": "nixpkgs", "url": NIXPKGS} | change)
        )
    assert [error["loc"] for error in refusal.value.errors()] == [field]
