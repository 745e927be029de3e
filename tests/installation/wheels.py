"""Tiny wheels, locks of them, and a project that wants them: what an index may hold, made here."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests.docs.documents import ROOT

BACKEND = '''\
"""Builds the project, for which it needs nothing. Waits at the pipe `gate`, if there is one."""
from pathlib import Path
from zipfile import ZipFile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    if Path("gate").exists():
        Path("gate").read_text()
    name = "project-1-py3-none-any.whl"
    metadata = Path("metadata").read_text()
    with ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("project.pth", str(Path.cwd()))
        wheel.writestr("project-1.dist-info/METADATA", metadata)
        wheel.writestr("project-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("project-1.dist-info/RECORD", "")
    return name
'''
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def metadata(name: str, version: str, requires: Iterable[str] = (), extra: str = "") -> str:
    """As in a wheel, for one whose `extra`, where it has one, is named ``more``."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    if extra:
        lines += ["Provides-Extra: more", f'Requires-Dist: {extra}; extra == "more"']
    return "\n".join(lines) + "\n"


def write_wheel(
    folder: Path, name: str, version: str, requires: Iterable[str] = (), extra: str = ""
) -> str:
    """Release it to an index that is a folder; the line of a lock that takes this very file."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata(name, version, requires, extra))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


def write_project(folder: Path, locks: dict[str, str]) -> None:
    """One with these locks, and with the program that installs the real ones."""
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements" / "install.py", folder / "requirements")
    for name, text in locks.items():
        (folder / "requirements" / f"{name}.txt").write_text(text)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "metadata").write_text(metadata("project", "1"))
