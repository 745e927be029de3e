"""The wheel and the sdist, in an environment of their own outside of this clone, at work."""

import json
import subprocess
import sys
import tarfile
import threading
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from tests.docs.documents import ROOT
from tests.installation.conftest import SECONDS, clean_environment

PACKAGES = ("cim_domain", "aggregates", "projections")
FLAKE = json.dumps({"path": "/srv/web"})


@frozen
class Built:
    """The two files that a release consists of: the second is made of the first."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    build("sdist", ROOT, folder)
    [sdist] = folder.glob("*.tar.gz")
    unpack = [sys.executable, "-m", "tarfile", "--extract", sdist, folder / "source"]
    subprocess.run(unpack, env=clean_environment(), check=True, capture_output=True)
    [source] = (folder / "source").iterdir()
    build("wheel", source, folder)
    [wheel] = folder.glob("*.whl")
    return Built(sdist, wheel)


def build(target: str, source: Path, into: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into],
        cwd=source, env=clean_environment(), check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def installed(built: Built, tmp_path: Path) -> Path:
    """The `bin` of an environment with the wheel installed. Dependencies are this Python's own."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    [packages] = environment.glob("lib/python*/site-packages")
    # What is named there comes last, and its own .pth files do nothing: one names this clone.
    (packages / "dependencies.pth").write_text(
        "\n".join(p for p in sys.path if "site-packages" in p)
    )
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install",
            "--no-index", "--no-deps", "--ignore-installed", built.wheel,
        ],
        env=clean_environment(), check=True, capture_output=True,
    )  # fmt: skip
    return environment / "bin"


def test_it_serves_answers_and_stops(installed: Path, tmp_path: Path):
    environment = clean_environment(HOME=str(tmp_path), NATS_DATA_DIRECTORY=str(tmp_path / "data"))

    def run(*command: str) -> str:
        ran = subprocess.run(
            [installed / command[0], *command[1:]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    modules = ("cim_domain", "aggregates.nix", "projections.nix")
    code = f"import {', '.join(modules)}; print({'.__file__, '.join(modules)}.__file__)"
    for file in run("python", "-c", code).split():
        assert Path(file).is_relative_to(installed.parent)
    with serving(installed / "cim-domain", tmp_path, environment) as service:
        sent = run("cim-domain", "send", "nix.cmd.flake.create", FLAKE, "--json")
        assert json.loads(sent)["status"] == "accepted"
        query = ("query", "nix.query.flake.get", FLAKE, "--min-sequence", "1")
        assert json.loads(run("cim-domain", *query))["path"] == "/srv/web"
        run("cim-domain", "doctor", "nix")
        service.terminate()
        assert service.wait(SECONDS) == 0


@contextmanager
def serving(
    program: Path, directory: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A service of `nix` with a server of its own, from when it answers to the block's end."""
    with subprocess.Popen(
        [program, "serve", "nix", "--port", "0"],
        cwd=directory, env=environment, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        log: list[str] = []
        for line in process.stderr:
            log.append(line)
            if " is ready " in line:
                break
        else:
            pytest.fail("".join(log))
        reader = threading.Thread(target=log.extend, args=[process.stderr])
        reader.start()
        try:
            yield process
        finally:
            process.terminate()
            reader.join()


def test_the_sdist_has_the_tests_the_docs_and_all_to_work_on_it(built: Built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("tests", "docs", "examples", "benchmarks", "requirements", *PACKAGES)
    sources = {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".md", ".txt", ".conf", ".typed"}
    }
    files = {"pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert sources | files <= names
    assert not [
        name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/"))
    ]


def test_the_wheel_is_the_same_when_it_is_made_of_the_clone(built: Built, tmp_path: Path):
    build("wheel", ROOT, tmp_path)
    [wheel] = tmp_path.iterdir()
    assert contents(wheel) == contents(built.wheel)


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.CRC for file in archive.infolist()}


def test_the_wheel_says_which_python_it_is_for(built: Built):
    with zipfile.ZipFile(built.wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert "Requires-Python: >=3.11\n" in metadata
    for supported in ("3.11", "3.12", "3.13"):
        assert f"Classifier: Programming Language :: Python :: {supported}\n" in metadata
