"""Projects to install, and ways to do it, all in folders of a test's own and without a network."""

import ensurepip
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import frozen

from tests.installation.wheels import write_project, write_wheel

SECONDS = 100

SETTINGS = ("PIP_", "NATS_", "CIM_DOMAIN_", "PYTHON", "VIRTUAL_ENV")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment, with nobody's settings for pip, Python or the kit in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, **more}


@frozen
class Ran:
    """How a program went."""

    code: int
    out: str
    err: str

    @property
    def steps(self) -> list[str]:
        """What it said it does, without how far it was meanwhile: that depends on the time."""
        return [line for line in self.out.splitlines() if not line.startswith("  ")]


@frozen
class Installing:
    """A small project with locks, and an index with newer releases of all that they name."""

    root: Path
    index: Path
    locked: Mapping[str, str]
    """The lines of the lock ``dev``, by package."""

    def start(
        self, lock: str = "dev", *, python: Path | str = sys.executable
    ) -> subprocess.Popen[str]:
        """Install as `make` does, in a process group of its own."""
        return subprocess.Popen(
            [python, self.root / "requirements" / "install.py", lock],
            env=clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.index)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def install(self, lock: str = "dev", *, python: Path | str = sys.executable) -> Ran:
        """Install as `make` does, and say how it went."""
        with self.start(lock, python=python) as process:
            out, err = process.communicate(timeout=SECONDS)
        return Ran(process.returncode, out, err)

    def versions(self) -> dict[str, str]:
        """What is installed, by the environment's own word."""
        code = (
            "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
        )
        said = subprocess.run(
            [self.root / ".venv" / "bin" / "python", "-c", code],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return dict(line.split() for line in said.stdout.splitlines())


COMPLETE = {"tool": "1", "plugin": "1", "engine": "1", "parser": "1", "project": "1"}
"""What is in an environment that has all that the lock ``dev`` names."""


def new_project(folder: Path) -> Installing:
    """It wants ``plugin``, that wants ``engine[more]``, and the extra wants ``parser``."""
    index = folder / "index"
    index.mkdir()
    tool = write_wheel(index, "tool", "1")
    locked = {
        "engine": write_wheel(index, "engine", "1", extra="parser"),
        "parser": write_wheel(index, "parser", "1"),
        "plugin": write_wheel(index, "plugin", "1", requires=["engine[more]>=1"]),
    }
    dev = "".join(locked.values())
    # As a project without requirements could be run: with a part of what developing needs.
    locks = {"build": tool, "run": dev.replace(locked["plugin"], ""), "dev": dev}
    write_project(folder / "project", locks)
    for name in ("tool", *locked):
        write_wheel(index, name, "2")
    return Installing(folder / "project", index, locked)


@pytest.fixture
def project(tmp_path: Path) -> Installing:
    """Nothing of it is installed yet."""
    return new_project(tmp_path)


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Installing:
    """One that has what running needs. Tests may add to it, and leave it complete."""
    project = new_project(tmp_path_factory.mktemp("complete"))
    assert project.install("run").code == 0
    return project


@pytest.fixture(scope="session")
def bundled_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the pip that it brings: what `ensurepip` would put there, in less time."""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR")
    bundled = Path(folder) if folder else Path(ensurepip.__file__).parent / "_bundled"
    directory = tmp_path_factory.mktemp("bundled")
    venv.create(directory, symlinks=True)
    [packages] = directory.glob("lib/python*/site-packages")
    [wheel] = bundled.glob(f"pip-{ensurepip.version()}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return directory / "bin" / "python"
