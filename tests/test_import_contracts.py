"""The contracts about imports see what they are about, namespace packages included."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("aggregates/nix/flake.py", "import projections.nix.flakes", "and the write side not the"),
        ("aggregates/nix/values/text.py", "import random", "Decisions are pure"),
        ("projections/nix/flakes.py", "import cim_domain.store.port", "modelling vocabulary alone"),
        ("cim_domain/identity.py", "import aggregates.nix.flake", "The kit knows no domain"),
        ("cim_domain/model/view.py", "import cim_domain.wire.codec", "The house"),
    ],
)
def test_an_import_that_is_not_allowed_breaks_its_contract(tmp_path: Path, file, line, broken):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("cim_domain", "aggregates", "projections"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    with (tmp_path / file).open("a") as source:
        source.write(f"{line}\n")
    ran = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    names = [line for line in ran.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(broken in name for name in names), ran.stdout
