"""Which further Pythons the suite runs on."""

import subprocess
import sys
from pathlib import Path

from tests.docs.documents import ROOT
from tests.installation.conftest import clean_environment


def put(folder: Path, version: str, script: str) -> Path:
    program = folder / f"python{version}"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_those_that_run_are_found_and_no_others(tmp_path: Path):
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
    put(tmp_path / "shims", other, "exit 127")
    put(tmp_path / "liar", other, "echo 2.7")
    put(tmp_path / "bin", "3.8", "echo 3.8")
    works = put(tmp_path / "pyenv" / "versions" / f"{other}.1" / "bin", other, f"echo {other}")
    folders = [str(tmp_path / name) for name in ("shims", "liar", "bin", "missing")]
    said = subprocess.run(
        [sys.executable, ROOT / "requirements" / "pythons.py"],
        env=clean_environment(PATH=":".join(folders), PYENV_ROOT=str(tmp_path / "pyenv")),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert said == f"{works}\n"
