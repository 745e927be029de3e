"""Wheels that bring domains are installed and removed beside the kit's own, in any order.

Real wheels, the real pip, an environment of its own, and no network.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import frozen

from tests.docs.documents import ROOT

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1"

[tool.hatch.build.targets.wheel]
packages = {packages}
"""

FIND = "from cim_domain import Domain; print(*Domain.find({name!r}).queries)"
READ = (
    "from cim_domain.cli.reading.domain import read_domain; print(*read_domain({name!r}).queries)"
)


@frozen
class Environment:
    """One of its own. Dependencies are those of the Python that runs the tests."""

    directory: Path
    elsewhere: Path

    def pip(self, *arguments: str | Path) -> None:
        """Install or remove something."""
        ran(sys.executable, "-m", "pip", "--python", self.python, *arguments, at=self.elsewhere)

    def install(self, wheel: Path) -> None:
        """Install a wheel, and nothing beside it."""
        self.pip("install", "--no-index", "--no-deps", "--no-compile", "--ignore-installed", wheel)

    def remove(self, wheel: Path) -> None:
        """Remove what a wheel has brought."""
        self.pip("uninstall", "--yes", wheel.name.partition("-")[0])

    def run(self, code: str) -> str:
        """Run code outside of every clone."""
        return ran(self.python, "-c", code, at=self.elsewhere)

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def packages(self) -> Path:
        [found] = self.directory.glob("lib/python*/site-packages")
        return found


def ran(*command: str | Path, at: Path) -> str:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "NATS_", "CIM_DOMAIN_", "PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        command, cwd=at, env={**clean, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, into: Path) -> Path:
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", into)
    ran(*command, at=source)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's wheel."""
    return built(ROOT, tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a domain `shop`, as `cim-domain new` writes it."""
    folder = tmp_path_factory.mktemp("theirs")
    ran(sys.executable, "-m", "cim_domain.cli", "new", "shop", at=folder)
    packages = ["aggregates", "projections"]
    (folder / "pyproject.toml").write_text(PROJECT.format(name="shop", packages=packages))
    return built(folder, folder / "dist")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Without the kit."""
    (tmp_path / "elsewhere").mkdir()
    one = Environment(tmp_path / "environment", tmp_path / "elsewhere")
    venv.create(one.directory, symlinks=True)
    # What is named there comes last, and its own .pth files do nothing: one names this clone.
    places = "\n".join(place for place in sys.path if "site-packages" in place)
    (one.packages / "dependencies.pth").write_text(places)
    return one


def require_both(environment: Environment, code: str = FIND) -> None:
    assert "flake.get" in environment.run(code.format(name="nix")).split()
    assert environment.run(code.format(name="shop")).split() == ["item.get", "item.list"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["ours first", "theirs first"])
def test_wheels_with_domains_come_and_go_beside_one_another(
    environment: Environment, ours: Path, theirs: Path, order: Sequence[int]
):
    for which in order:
        environment.install((ours, theirs)[which])
    require_both(environment)

    environment.remove(theirs)
    assert not (environment.packages / "aggregates" / "shop").exists()
    assert "flake.get" in environment.run(FIND.format(name="nix"))
    environment.install(theirs)
    require_both(environment)

    environment.remove(ours)
    assert environment.run("import aggregates.shop, projections.shop") == ""
    assert not (environment.packages / "aggregates" / "nix").exists()
    environment.install(ours)
    require_both(environment)


def test_a_wheel_with_a_package_of_the_old_kind_hides_nothing_from_the_command_line(
    environment: Environment, ours: Path, theirs: Path, tmp_path: Path
):
    """It stands further down the path than ours, and Python takes it for the whole package."""
    other = tmp_path / "other"
    (other / "aggregates").mkdir(parents=True)
    (other / "aggregates" / "__init__.py").touch()
    (other / "pyproject.toml").write_text(PROJECT.format(name="other", packages=["aggregates"]))
    environment.install(ours)
    environment.install(theirs)
    # In a directory of its own, as distributions of a system and of a user are.
    target = tmp_path / "further"
    environment.pip(
        "install", "--no-index", "--no-deps", "--target", target, built(other, other / "dist")
    )
    (environment.packages / "further.pth").write_text(str(target))
    require_both(environment, READ)

    hidden = "import sys; from cim_domain import Domain\ntry: Domain.find('nix')\n"
    said = environment.run(hidden + "except Exception as error: print(error)")
    assert f"{target}/aggregates/__init__.py hides the 'nix' in " in said


def test_the_wheel_has_what_new_writes_and_nothing_of_the_top_of_a_namespace(
    environment: Environment, ours: Path
):
    environment.install(ours)
    for side in ("aggregates", "projections"):
        assert [one.name for one in (environment.packages / side).iterdir()] == ["nix"]
    told = ran(
        environment.directory / "bin" / "cim-domain", "new", "shop", at=environment.elsewhere
    )
    assert "wrote aggregates/shop/item.py" in told
    assert environment.run(READ.format(name="shop")).split() == ["item.get", "item.list"]
