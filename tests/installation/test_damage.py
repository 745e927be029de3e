"""An environment is used as it is only when it is what its stamp says."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.installation.conftest import Installing


def remove_a_file(environment: Path) -> None:
    next(environment.rglob("engine.py")).unlink()


def truncate_a_file(environment: Path) -> None:
    next(environment.rglob("engine.py")).write_text("")


def uninstall(environment: Path) -> None:
    shutil.rmtree(next(environment.rglob("engine-1.dist-info")))


def take_another_version(environment: Path) -> None:
    info = next(environment.rglob("engine-1.dist-info"))
    info.rename(info.with_name("engine-2.dist-info"))


def lose_the_python(environment: Path) -> None:
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("no-python-any-more")


def lose_the_settings(environment: Path) -> None:
    (environment / "pyvenv.cfg").unlink()


def lose_the_stamp(environment: Path) -> None:
    (environment / "installed.json").unlink()


def cut_the_stamp(environment: Path) -> None:
    stamp = environment / "installed.json"
    stamp.write_text(stamp.read_text()[:100])


def empty(environment: Path) -> None:
    shutil.rmtree(environment)
    environment.mkdir()


def alter_the_stamp(**changes: object) -> Callable[[Path], None]:
    def alter(environment: Path) -> None:
        stamp = environment / "installed.json"
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), **changes}))

    return alter


DAMAGES = [
    (remove_a_file, "engine.py is missing"),
    (truncate_a_file, "engine.py has changed"),
    (uninstall, "engine-1.dist-info/"),
    (take_another_version, "engine-1.dist-info/"),
    (lose_the_python, "bin/python is missing"),
    (lose_the_settings, "pyvenv.cfg is missing"),
    (lose_the_stamp, "it is not complete"),
    (cut_the_stamp, "it is not complete"),
    (empty, "it is not complete"),
    (alter_the_stamp(python="3.10.1 (main)"), "it is of another Python, 3.10.1"),
    (alter_the_stamp(root="elsewhere"), "it was made in another folder"),
    (alter_the_stamp(locks={"dev": "before"}), "requirements/dev.txt has changed"),
    (alter_the_stamp(locks={"former": "before"}), "requirements/former.txt has changed"),
]


@pytest.fixture(scope="module")
def program(complete: Installing) -> ModuleType:
    """What installs that project, as a module."""
    path = complete.root / "requirements" / "install.py"
    spec = importlib.util.spec_from_file_location("install", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flaw(program: ModuleType, environment: Path) -> str | None:
    return program.Environment(environment, mutex=-1).found()[1]


def test_a_complete_environment_has_no_flaw(complete: Installing, program: ModuleType):
    assert flaw(program, complete.root / ".venv") is None


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_damage_is_seen(
    complete: Installing, program: ModuleType, tmp_path: Path, damage, reason: str
):
    environment = tmp_path / "environment"
    shutil.copytree(complete.root / ".venv", environment, symlinks=True)
    damage(environment)
    assert reason in flaw(program, environment)
