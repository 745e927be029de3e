"""Configurations: their content, activation, generations, and the way back."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from aggregates.nix.config import (
    ActivateConfig,
    Config,
    ConfigActivated,
    ConfigCreated,
    ConfigRolledBack,
    ConfigStatus,
    ConfigUpdated,
    Configuration,
    CreateConfig,
    RollBackConfig,
    UpdateConfig,
)
from aggregates.nix.values import ActivationType
from cim_domain import Command
from cim_domain.testing.scenario import Scenario

NAME = "web"
CONTENT: dict[str, Any] = {"system": "x86_64-linux", "path": "/srv/web", "hostname": "web-1"}
OTHER: dict[str, Any] = CONTENT | {"modules": ["nginx"]}

SWITCH = ActivateConfig(name=NAME, activation_type=ActivationType.SWITCH)
BOOT = ActivateConfig(name=NAME, activation_type=ActivationType.BOOT)
TEST = ActivateConfig(name=NAME, activation_type=ActivationType.TEST)


def create(content: dict[str, Any]) -> CreateConfig:
    return CreateConfig.from_wire(orjson.dumps({"name": NAME, "configuration": content}))


def update(content: dict[str, Any]) -> UpdateConfig:
    return UpdateConfig.from_wire(orjson.dumps({"name": NAME, "configuration": content}))


def back(to: int | None = None) -> RollBackConfig:
    return RollBackConfig(name=NAME, to_generation=to)


def was_updated(content: dict[str, Any]) -> ConfigUpdated:
    return ConfigUpdated(name=NAME, configuration=Configuration(**content))


def activated(how: ActivationType, generation: int | None) -> ConfigActivated:
    return ConfigActivated(name=NAME, activation_type=how, generation=generation)


def rolled_back(start: int | None, end: int) -> ConfigRolledBack:
    return ConfigRolledBack(name=NAME, from_generation=start, to_generation=end)


absent = Scenario(Config)
created = absent.given(create(CONTENT))
switched = created.given(SWITCH)
switched_thrice = switched.given(SWITCH, SWITCH)


def test_a_configuration_is_created_and_lists_that_are_left_out_are_empty() -> None:
    configuration = Configuration(
        system="x86_64-linux",
        path="/srv/web",
        hostname="web-1",
        modules=(),
        overlays=(),
        packages=(),
        specialisations=(),
    )
    after = absent.when(create(CONTENT)).then(ConfigCreated(name=NAME, configuration=configuration))
    assert after.state.status is ConfigStatus.CREATED


def test_a_configuration_is_created_with_all_it_can_have() -> None:
    content = CONTENT | {
        "modules": ["nginx", "users"],
        "overlays": ["patched"],
        "packages": ["git", "python311Packages.requests"],
        "specialisations": ["debug"],
    }
    absent.when(create(content)).then(
        ConfigCreated(name=NAME, configuration=Configuration(**content))
    )


def test_a_configuration_that_exists_is_not_created_again() -> None:
    rejection = created.when(create(CONTENT)).then_rejected("config.exists")
    assert "config.update" in rejection.message


@pytest.mark.parametrize(
    "command", [update(CONTENT), SWITCH, BOOT, TEST, back(), back(1)], ids=lambda it: repr(it)[:60]
)
def test_nothing_can_be_done_to_a_configuration_that_does_not_exist(command: Command) -> None:
    rejection = absent.when(command).then_rejected("config.unknown")
    assert "config.create" in rejection.message


def test_a_configuration_is_updated() -> None:
    created.when(update(OTHER)).then(was_updated(OTHER))


def test_updating_to_the_same_content_records_nothing() -> None:
    created.when(update(CONTENT)).then_nothing()
    created.given(update(OTHER)).when(update(OTHER)).then_nothing()


def test_an_update_before_the_first_activation_leaves_it_created() -> None:
    assert created.given(update(OTHER)).state.status is ConfigStatus.CREATED


@pytest.mark.parametrize("activate", [SWITCH, BOOT, TEST], ids=["switch", "boot", "test"])
def test_an_update_leaves_it_modified_until_it_is_activated_again(activate: Command) -> None:
    before = created.given(activate)
    modified = before.given(update(OTHER))
    assert modified.state.status is ConfigStatus.MODIFIED
    assert modified.given(update(CONTENT)).state.status is ConfigStatus.MODIFIED
    assert modified.given(activate).state.status is before.state.status


def test_a_switch_gives_the_generations_in_turn_from_1() -> None:
    first = created.when(SWITCH).then(activated(ActivationType.SWITCH, 1))
    second = first.when(SWITCH).then(activated(ActivationType.SWITCH, 2))
    assert second.state.status is ConfigStatus.ACTIVATED
    assert second.state.active == 2


@pytest.mark.parametrize(
    ("command", "how", "status"),
    [
        (BOOT, ActivationType.BOOT, ConfigStatus.BOOT_READY),
        (TEST, ActivationType.TEST, ConfigStatus.TESTING),
    ],
)
def test_boot_and_test_give_no_generation(
    command: Command, how: ActivationType, status: ConfigStatus
) -> None:
    after = switched.when(command).then(activated(how, None))
    assert after.state.status is status
    assert after.state.active == 1
    after.when(SWITCH).then(activated(ActivationType.SWITCH, 2))


def test_a_rollback_goes_to_the_generation_before_and_the_next_one_further_back() -> None:
    second = switched_thrice.when(back()).then(rolled_back(3, 2))
    assert second.state.status is ConfigStatus.ACTIVATED
    first = second.when(back()).then(rolled_back(2, 1))
    first.when(back()).then_rejected("config.no_previous_generation")


def test_a_rollback_goes_to_the_generation_that_is_named() -> None:
    switched_thrice.when(back(1)).then(rolled_back(3, 1))


def test_a_rollback_may_go_forward_to_a_generation_that_is_named() -> None:
    switched_thrice.given(back(1)).when(back(3)).then(rolled_back(1, 3))


def test_a_switch_after_a_rollback_gives_a_new_generation_and_comes_back_to_the_old() -> None:
    fourth = switched_thrice.given(back(1)).when(SWITCH).then(activated(ActivationType.SWITCH, 4))
    fourth.when(back()).then(rolled_back(4, 1))


@pytest.mark.parametrize("target", [4, 2**63 - 1])
def test_a_generation_that_there_never_was_is_unknown(target: int) -> None:
    rejection = switched_thrice.when(back(target)).then_rejected("config.generation_unknown")
    assert rejection.details == {"generation": target, "latest": 3}
    assert "from 1 to 3" in rejection.message


@pytest.mark.parametrize("before", [created, created.given(TEST), created.given(BOOT)])
def test_before_the_first_switch_every_generation_is_unknown(before: Scenario[Config]) -> None:
    rejection = before.when(back(1)).then_rejected("config.generation_unknown")
    assert "switch" in rejection.message


@pytest.mark.parametrize(
    "before", [created, created.given(TEST), created.given(BOOT), switched, switched.given(BOOT)]
)
def test_without_a_generation_before_the_present_one_there_is_nothing_to_go_back_to(
    before: Scenario[Config],
) -> None:
    before.when(back()).then_rejected("config.no_previous_generation")


def test_a_rollback_from_testing_returns_to_what_was_active_before_the_test() -> None:
    after = switched_thrice.given(TEST, TEST).when(back()).then(rolled_back(None, 3))
    assert after.state.status is ConfigStatus.ACTIVATED
    after.when(back()).then(rolled_back(3, 2))


def test_a_rollback_from_testing_may_name_another_generation() -> None:
    switched_thrice.given(TEST).when(back(1)).then(rolled_back(None, 1))
    switched_thrice.given(TEST).when(back(3)).then(rolled_back(None, 3))


def test_a_boot_during_a_test_does_not_end_the_test() -> None:
    switched_thrice.given(TEST, BOOT).when(back()).then(rolled_back(None, 3))


def test_a_switch_ends_a_test_and_the_way_back_leads_past_it() -> None:
    switched.given(TEST, SWITCH).when(back()).then(rolled_back(2, 1))


def test_a_rollback_to_the_active_generation_records_nothing() -> None:
    switched_thrice.when(back(3)).then_nothing()
    switched_thrice.given(back(1)).when(back(1)).then_nothing()
    switched_thrice.given(update(OTHER)).when(back(3)).then_nothing()


def test_a_rollback_takes_a_pending_boot_back() -> None:
    after = switched_thrice.given(BOOT).when(back(3)).then(rolled_back(3, 3))
    assert after.state.status is ConfigStatus.ACTIVATED
    after.when(back(3)).then_nothing()


def test_a_rollback_leaves_a_modified_configuration_modified() -> None:
    after = switched_thrice.given(update(OTHER)).when(back()).then(rolled_back(3, 2))
    assert after.state.status is ConfigStatus.MODIFIED


def test_a_rollback_is_sent_without_a_target_or_with_null() -> None:
    assert RollBackConfig.from_wire(b'{"name":"web"}') == back()
    assert RollBackConfig.from_wire(b'{"name":"web","to_generation":null}') == back()


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("system", "x86_64-linus", ("configuration", "system")),
        ("path", "srv/web", ("configuration", "path")),
        ("hostname", "web_1", ("configuration", "hostname")),
        ("modules", ["-m"], ("configuration", "modules", 0)),
        ("overlays", ["a", ""], ("configuration", "overlays", 1)),
        ("packages", ["--option"], ("configuration", "packages", 0)),
        ("specialisations", ["a\0"], ("configuration", "specialisations", 0)),
        ("packages", None, ("configuration", "packages")),
        ("kernel", "6.6", ("configuration", "kernel")),
    ],
)
@pytest.mark.parametrize("send", [create, update])
def test_content_that_is_not_valid_is_refused_at_the_field(
    send: Any, field: str, value: object, place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        send(CONTENT | {field: value})
    assert [error["loc"] for error in refusal.value.errors()] == [place]


@pytest.mark.parametrize("field", ["system", "path", "hostname"])
def test_system_path_and_hostname_must_be_there(field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        create({name: value for name, value in CONTENT.items() if name != field})
    assert [error["loc"] for error in refusal.value.errors()] == [("configuration", field)]


@pytest.mark.parametrize("generation", ["0", "-1", '"1"', "1.0", "true"])
def test_a_generation_is_a_number_from_1(generation: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RollBackConfig.from_wire(f'{{"name":"web","to_generation":{generation}}}'.encode())
    assert [error["loc"] for error in refusal.value.errors()] == [("to_generation",)]


def test_an_activation_is_a_switch_a_boot_or_a_test() -> None:
    assert ActivateConfig.from_wire(b'{"name":"web","activation_type":"switch"}') == SWITCH
    with pytest.raises(ValidationError) as refusal:
        ActivateConfig.from_wire(b'{"name":"web","activation_type":"dry-run"}')
    assert [error["loc"] for error in refusal.value.errors()] == [("activation_type",)]
