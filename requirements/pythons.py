"""Prints the path of each further Python of this machine that pyproject.toml names.

They are looked for by name on the PATH, and where pyenv keeps them. What does not run is passed
over: pyenv leaves names on the PATH that answer only once a version is chosen.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASSIFIER = "Programming Language :: Python :: "


def versions() -> Iterator[str]:
    """As in 3.12: the supported ones but this."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for classifier in project["classifiers"]:
        version = classifier.removeprefix(CLASSIFIER)
        if version != classifier and "." in version and version != version_of(sys.executable):
            yield version


def find(version: str) -> Path | None:
    """The first interpreter of that version that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep)]
    for folder in (*folders, *sorted(pyenv.glob("versions/*/bin"))):
        interpreter = folder / f"python{version}"
        if interpreter.exists() and version_of(str(interpreter)) == version:
            return interpreter
    return None


def version_of(interpreter: str) -> str:
    """As in 3.12; empty where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    return ran.stdout.strip()


if __name__ == "__main__":
    for wanted in versions():
        if found := find(wanted):
            print(found)
