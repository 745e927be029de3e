"""Whatever is sent in whatever order, the invariants of each aggregate hold.

Commands that the rules refuse are sent as often as others. At the end of each history, its events
alone must lead to the same state, and the state must survive the JSON of a snapshot.
"""

from typing import Any, ClassVar
from unittest import TestCase

import orjson
from cattrs.preconf.orjson import make_converter
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aggregates.nix.config import (
    ActivateConfig,
    CheckedConfiguration,
    Config,
    ConfigActivated,
    ConfigRolledBack,
    CreateConfig,
    RollBackConfig,
    UpdateConfig,
)
from aggregates.nix.flake import AddFlakeInput, CreateFlake, Flake, RemoveFlakeInput, UpdateFlake
from aggregates.nix.module import (
    CheckedModuleContent,
    CreateModule,
    DeleteModule,
    Module,
    UpdateModule,
)
from aggregates.nix.overlay import (
    CheckedOverlayContent,
    CreateOverlay,
    DeleteOverlay,
    Overlay,
    UpdateOverlay,
)
from aggregates.nix.package import (
    BuildPackage,
    CachePackage,
    CompletePackageBuild,
    FailPackageBuild,
    Package,
    PackageBuildRequested,
    PackageBuilt,
    PackageCached,
)
from aggregates.nix.values import ActivationType
from cim_domain import Aggregate, Command, Event
from cim_domain.testing.scenario import Outcome, Scenario

SNAPSHOTS = make_converter()


class History(RuleBasedStateMachine):
    """One aggregate, what was sent to it, and the events that this led to."""

    aggregate: ClassVar[type[Aggregate]]

    def __init__(self) -> None:
        super().__init__()
        self.scenario: Scenario[Any] = Scenario(self.aggregate)
        self.events: list[Event] = []

    def send(self, command: Command) -> Outcome[Any]:
        outcome = self.scenario.when(command)
        if outcome.rejected is not None:
            assert outcome.rejected.code.startswith(f"{outcome.scenario.model.name}.")
            assert outcome.scenario.state == self.scenario.state
        self.events += outcome.events
        self.scenario = outcome.scenario
        return outcome

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def teardown(self) -> None:
        state = self.scenario.state
        assert Scenario(self.aggregate).given(*self.events).state == state
        snapshot = orjson.dumps(SNAPSHOTS.unstructure(state))
        assert SNAPSHOTS.structure(orjson.loads(snapshot), self.aggregate) == state


names = st.sampled_from(["a", "b", "c"])
urls = st.sampled_from(["github:a/a", "github:b/b"])


class FlakeHistory(History):
    aggregate = Flake

    @rule()
    def create(self) -> None:
        self.send(CreateFlake(path="/srv/web"))

    @rule()
    def update(self) -> None:
        self.send(UpdateFlake(path="/srv/web"))

    @rule(name=names, url=urls, follows=st.dictionaries(names, names, max_size=2))
    def add(self, name: str, url: str, follows: dict[str, str]) -> None:
        present = self.scenario.state.inputs
        outcome = self.send(AddFlakeInput(path="/srv/web", name=name, url=url, follows=follows))
        if name in present:
            assert outcome.events == ()

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.send(RemoveFlakeInput(path="/srv/web", name=name))

    @invariant()
    def follows_name_inputs_of_the_flake(self) -> None:
        inputs = self.scenario.state.inputs
        for one in inputs.values():
            assert set(one.follows.values()) <= set(inputs)

    @invariant()
    def only_what_exists_has_inputs(self) -> None:
        assert self.scenario.state.created or not self.scenario.state.inputs


STORE = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-"
KEY: dict[str, Any] = {"flake_ref": "github:a/a", "attribute": "hello"}
outputs = st.dictionaries(
    st.sampled_from(["out", "dev"]), st.sampled_from([STORE + "x", STORE + "y"]), min_size=1
)


class PackageHistory(History):
    aggregate = Package

    def some_build(self, back: int) -> str:
        builds = self.of(PackageBuildRequested)
        assume(len(builds) > back)
        return str(builds[-1 - back].build_id)

    @rule()
    def build(self) -> None:
        self.send(BuildPackage(**KEY))

    @rule(back=st.integers(0, 2), outputs=outputs)
    def complete(self, back: int, outputs: dict[str, str]) -> None:
        self.send(
            CompletePackageBuild(
                **KEY,
                build_id=self.some_build(back),
                drv_path=STORE + "x.drv",
                outputs=outputs,
                duration_s=1.0,
            )
        )

    @rule(back=st.integers(0, 2))
    def fail(self, back: int) -> None:
        self.send(
            FailPackageBuild(
                **KEY, build_id=self.some_build(back), kind="failed", message="no", log_tail=""
            )
        )

    @rule()
    def cache(self) -> None:
        for event in self.send(CachePackage(**KEY, cache_url="https://cache.example.org")).events:
            assert isinstance(event, PackageCached)
            assert set(event.store_paths) == set(self.of(PackageBuilt)[-1].outputs.values())

    @invariant()
    def builds_run_one_at_a_time_and_end_once(self) -> None:
        running = None
        for event in self.events:
            if isinstance(event, PackageBuildRequested):
                assert running is None
                running = event.build_id
            elif not isinstance(event, PackageCached):
                assert event.build_id == running  # type: ignore[attr-defined]
                running = None
        assert self.scenario.state.running == running

    @invariant()
    def builds_are_numbered_from_1_without_gaps(self) -> None:
        requested = self.of(PackageBuildRequested)
        assert [event.number for event in requested] == list(range(1, len(requested) + 1))
        assert len({event.build_id for event in requested}) == len(requested)


class ModuleHistory(History):
    aggregate = Module

    @rule(value=st.integers(0, 1))
    def create(self, value: int) -> None:
        content = CheckedModuleContent(options={"a": value})
        self.send(CreateModule(name="web", module=content))

    @rule(value=st.integers(0, 1))
    def update(self, value: int) -> None:
        content = CheckedModuleContent(options={"a": value})
        self.send(UpdateModule(name="web", module=content))
        assert self.send(UpdateModule(name="web", module=content)).events == ()

    @rule()
    def delete(self) -> None:
        self.send(DeleteModule(name="web"))
        self.send(DeleteModule(name="web")).then_rejected("module.unknown")


class OverlayHistory(History):
    aggregate = Overlay

    @rule(value=st.integers(0, 1))
    def create(self, value: int) -> None:
        content = CheckedOverlayContent(additions={"a": value})
        self.send(CreateOverlay(name="web", overlay=content))

    @rule(value=st.integers(0, 1))
    def update(self, value: int) -> None:
        content = CheckedOverlayContent(additions={"a": value})
        self.send(UpdateOverlay(name="web", overlay=content))
        assert self.send(UpdateOverlay(name="web", overlay=content)).events == ()

    @rule()
    def delete(self) -> None:
        self.send(DeleteOverlay(name="web"))
        self.send(DeleteOverlay(name="web")).then_rejected("overlay.unknown")


def configuration(hostname: str) -> CheckedConfiguration:
    return CheckedConfiguration(system="x86_64-linux", path="/srv/web", hostname=hostname)


class ConfigHistory(History):
    aggregate = Config

    @rule(hostname=names)
    def create(self, hostname: str) -> None:
        self.send(CreateConfig(name="web", configuration=configuration(hostname)))

    @rule(hostname=names)
    def update(self, hostname: str) -> None:
        self.send(UpdateConfig(name="web", configuration=configuration(hostname)))

    @rule(how=st.sampled_from(ActivationType))
    def activate(self, how: ActivationType) -> None:
        self.send(ActivateConfig(name="web", activation_type=how))

    @rule(generation=st.integers(1, 5))
    def roll_back_to(self, generation: int) -> None:
        outcome = self.send(RollBackConfig(name="web", to_generation=generation))
        if outcome.rejected is None:
            assert self.scenario.state.active == generation

    @rule()
    def roll_back_as_far_as_it_goes(self) -> None:
        while (outcome := self.send(RollBackConfig(name="web"))).rejected is None:
            (event,) = outcome.events
            assert isinstance(event, ConfigRolledBack)
            assert event.from_generation is None or event.to_generation < event.from_generation
        assert outcome.rejected.code in {"config.unknown", "config.no_previous_generation"}

    @invariant()
    def switches_give_the_generations_in_turn(self) -> None:
        activations = self.of(ConfigActivated)
        switches = [one for one in activations if one.activation_type is ActivationType.SWITCH]
        assert [one.generation for one in switches] == list(range(1, len(switches) + 1))
        assert all(one.generation is None for one in activations if one not in switches)

    @invariant()
    def what_is_active_is_what_was_switched_or_rolled_back_to_last(self) -> None:
        active = None
        for event in self.events:
            if isinstance(event, ConfigRolledBack):
                assert event.from_generation in {None, active}
                active = event.to_generation
            elif isinstance(event, ConfigActivated) and event.generation is not None:
                active = event.generation
        assert self.scenario.state.active == active


def with_settings(history: type[History]) -> type[TestCase]:
    case: type[TestCase] = history.TestCase
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=60, stateful_step_count=25, deadline=None
    )
    return case


TestFlakeHistory = with_settings(FlakeHistory)
TestPackageHistory = with_settings(PackageHistory)
TestModuleHistory = with_settings(ModuleHistory)
TestOverlayHistory = with_settings(OverlayHistory)
TestConfigHistory = with_settings(ConfigHistory)
