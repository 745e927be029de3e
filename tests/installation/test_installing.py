"""What `make` calls to install: the locked files, whatever else there is by now, or nothing."""

import ensurepip
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.installation.conftest import COMPLETE, SECONDS, Installing, clean_environment


@pytest.fixture(params=["the pip that Python brings", "the pip of the lock"])
def python(request: pytest.FixtureRequest) -> Path:
    if request.param == "the pip of the lock":
        return Path(sys.executable)
    bundled: Path = request.getfixturevalue("bundled_pip")
    said = subprocess.run(
        [bundled, "-m", "pip", "--version"],
        env=clean_environment(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.startswith(f"pip {ensurepip.version()} ")
    return bundled


def test_newer_releases_change_nothing(project: Installing, python: Path):
    ran = project.install(python=python)
    assert ran.err == ""
    assert ran.steps == [
        f"making .venv with Python {sys.version.split()[0]}",
        "installing requirements/build.txt: 1 packages",
        "installing requirements/dev.txt: 3 packages",
        "installing the project itself",
        ".venv is complete",
    ]
    assert project.versions() == COMPLETE


def test_what_the_lock_lacks_is_named(project: Installing):
    lock = project.root / "requirements" / "dev.txt"
    lock.write_text(lock.read_text().replace(project.locked["engine"], ""))
    ran = project.install()
    assert ran.code == 1
    assert "plugin 1 requires engine, which is not installed" in ran.err
    assert ".venv is complete" not in ran.out


def test_a_file_that_is_not_the_locked_one_is_refused(project: Installing):
    wheel = project.index / "engine-1-py3-none-any.whl"
    wheel.write_bytes((project.index / "engine-2-py3-none-any.whl").read_bytes())
    ran = project.install()
    assert ran.code == 1
    assert "DO NOT MATCH THE HASHES" in ran.err


def test_another_lock_adds_to_what_is_there(complete: Installing):
    assert complete.versions().keys() == COMPLETE.keys() - {"plugin"}
    assert complete.install("dev").steps == [
        "installing requirements/dev.txt: 3 packages",
        "installing the project itself",
        ".venv is complete",
    ]
    assert complete.versions() == COMPLETE


def test_a_change_of_the_project_has_the_project_installed_again(complete: Installing):
    assert complete.install("run").out == ""
    with (complete.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert complete.install("run").steps == [
        "installing the project itself",
        ".venv is complete",
    ]


def test_an_installation_that_is_killed_is_done_anew(project: Installing):
    for last in ("making .venv", "installing requirements/dev.txt"):
        with project.start() as process:
            for line in process.stdout:
                if line.startswith(last):
                    break
            os.killpg(process.pid, signal.SIGKILL)

    gate = project.root / "gate"
    os.mkfifo(gate)
    with project.start() as killed, gate.open("w") as building:
        killed.kill()
        gate.unlink()
        with project.start() as following:
            # The pip of the killed one is still at work.
            assert following.stdout.readline() == "waiting for another installation\n"
            building.close()
            out, _ = following.communicate(timeout=SECONDS)
    assert out.startswith("removing .venv: it is not complete")
    assert project.versions() == COMPLETE


def test_a_copy_is_made_anew_even_by_its_own_python(complete: Installing, tmp_path: Path):
    copy = evolve(complete, root=tmp_path / "copy")
    shutil.copytree(complete.root, copy.root, symlinks=True)
    with copy.start(python=copy.root / ".venv" / "bin" / "python") as process:
        said = [process.stdout.readline() for _ in range(3)]
        os.killpg(process.pid, signal.SIGKILL)
    assert said == [
        "removing .venv: it was made in another folder\n",
        f"making .venv with Python {sys.version.split()[0]}\n",
        "installing requirements/build.txt: 1 packages\n",
    ]
