"""The domain as a whole: its messages are the contract's, and its code keeps to what it may use."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aggregates.nix
from aggregates.nix.config import Config
from aggregates.nix.flake import CreateFlake, Flake
from aggregates.nix.module import Module
from aggregates.nix.overlay import Overlay
from aggregates.nix.package import BuildPackage, Package
from cim_domain import Domain

CONTRACT: dict[str, tuple[str, str, set[str]]] = {
    "flake.create": ("path description template", "flake.created", set()),
    "flake.update": ("path", "flake.updated", set()),
    "flake.add_input": ("path name url follows", "flake.input_added", set()),
    "flake.remove_input": ("path name", "flake.input_removed", {"url"}),
    "package.build": (
        "flake_ref attribute output_path",
        "package.build_requested",
        {"build_id", "number"},
    ),
    "package.complete_build": (
        "flake_ref attribute build_id drv_path outputs duration_s closure_bytes",
        "package.built",
        {"number"},
    ),
    "package.fail_build": (
        "flake_ref attribute build_id kind message log_tail",
        "package.build_failed",
        {"number"},
    ),
    "package.cache": ("flake_ref attribute cache_url", "package.cached", {"store_paths"}),
    "module.create": ("name module", "module.created", set()),
    "module.update": ("name module", "module.updated", set()),
    "module.delete": ("name", "module.deleted", set()),
    "overlay.create": ("name overlay", "overlay.created", set()),
    "overlay.update": ("name overlay", "overlay.updated", set()),
    "overlay.delete": ("name", "overlay.deleted", set()),
    "config.create": ("name configuration", "config.created", set()),
    "config.update": ("name configuration", "config.updated", set()),
    "config.activate": ("name activation_type", "config.activated", {"generation"}),
    "config.rollback": ("name to_generation", "config.rolled_back", {"from_generation"}),
}
"""Of each command: its fields, its event, and the event's fields besides the command's."""

nix = Domain("nix", aggregates=[Flake, Package, Module, Overlay, Config])


def test_there_are_the_contracts_messages_and_no_others() -> None:
    assert set(nix.commands) == set(CONTRACT)
    assert set(nix.events) == {event for _, event, _ in CONTRACT.values()}


@pytest.mark.parametrize("command", CONTRACT)
def test_commands_and_events_have_the_contracts_fields(command: str) -> None:
    fields, event, besides = CONTRACT[command]
    assert set(nix.commands[command].model_fields) == set(fields.split())
    assert set(nix.events[event].model_fields) == {*fields.split(), *besides}


def test_aggregates_have_the_contracts_keys() -> None:
    assert {name: model.key for name, model in nix.aggregates.items()} == {
        "flake": ("path",),
        "package": ("flake_ref", "attribute"),
        "module": ("name",),
        "overlay": ("name",),
        "config": ("name",),
    }


def test_the_key_and_the_organization_say_which_aggregate_is_meant() -> None:
    hello = BuildPackage(flake_ref="github:a/a", attribute="hello")
    again = BuildPackage(flake_ref="github:a/a", attribute="hello", output_path="/srv/result")
    other = BuildPackage(flake_ref="github:a/a", attribute="other")
    assert nix.id_for(hello) == nix.id_for(again) != nix.id_for(other)
    assert nix.id_for(hello) != nix.id_for(hello, "acme")


def test_the_domain_is_found_by_its_name() -> None:
    found = Domain.find("nix")
    assert set(found.aggregates) == set(nix.aggregates)
    assert found.commands == nix.commands


def test_every_command_has_a_schema_that_clients_can_read() -> None:
    schemas = {name: command.model_json_schema() for name, command in nix.commands.items()}
    assert schemas["flake.create"]["required"] == ["path"]
    assert all(not schema["additionalProperties"] for schema in schemas.values())


@pytest.mark.parametrize("spelling", ["/srv/web/", "/srv//web", "/srv/./web", "srv/web"])
def test_a_flake_is_not_known_under_two_spellings_of_its_path(spelling: str) -> None:
    with pytest.raises(ValueError, match="path"):
        CreateFlake(path=spelling)


FORBIDDEN = {
    *("asyncio", "datetime", "http", "io", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading"),
    *("time", "urllib.request"),
}
LIBRARIES = {"attrs", "pydantic", "pydantic_core"}
SOURCES = sorted(Path(aggregates.nix.__path__[0]).rglob("*.py"))


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield str(node.module)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_write_side_uses_the_vocabulary_and_nothing_that_varies(source: Path) -> None:
    for name in imported(source):
        top = name.partition(".")[0]
        allowed = (
            name == "cim_domain"
            or name.startswith("aggregates.nix")
            or top in LIBRARIES
            or (top in sys.stdlib_module_names and not {top, name} & FORBIDDEN)
        )
        assert allowed, f"{source.name} imports {name}"
    assert "uuid4" not in source.read_text()
