"""Puts what a lock names, and this project, into a virtual environment: `make` asks it each time.

    python requirements/install.py dev [--into .venv]

Nothing is resolved: pip takes the very files that the lock has hashes of. When all is done a stamp
is written: the locks, the Python, and every file with its size. An environment that is not as its
stamp says, or has none since a run was interrupted, is made anew.

Needs nothing but the standard library, and pip.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
PROJECT = ROOT / "pyproject.toml"

BUILD = "build"
"""The lock that is installed first: packages that come as source are built with what it names."""

LOOK = 0.5
"""Seconds from one look at how far pip is to the next."""

REPORT = 5.0
"""Seconds from one line about it to the next, where there is no terminal."""

COLLECTED = "\nInstalling collected packages: "
"""What pip says, once, when everything is fetched."""


@dataclass
class Stamp:
    """What an environment was when it was complete."""

    python: str = sys.version
    root: str = str(ROOT)
    locks: dict[str, str] = field(default_factory=dict)
    """Digests, by the locks' names."""
    project: str = ""
    """The digest of pyproject.toml."""
    files: dict[str, int] = field(default_factory=dict)
    """Sizes in bytes, by path inside of the environment."""

    def flaw(self, directory: Path) -> str | None:
        """Why nothing can be built upon what is in `directory`, if so."""
        if self.python != sys.version:
            return f"it is of another Python, {self.python.split()[0]}"
        if self.root != str(ROOT):
            return "it was made in another folder"
        for name, digest in self.locks.items():
            if digest != digest_of(LOCKS / f"{name}.txt"):
                return f"requirements/{name}.txt has changed"
        for path, size in self.files.items():
            try:
                found = os.stat(directory / path).st_size  # noqa: PTH116 - thousands, each time
            except OSError:
                return f"{path} is missing"
            if found != size:
                return f"{path} has changed"
        return None


class Environment:
    """A virtual environment and its stamp."""

    def __init__(self, directory: Path, mutex: int) -> None:
        """Of one that nobody else changes while the file descriptor `mutex` is open."""
        self.directory = directory
        self.python = directory / "bin" / "python"
        base = {"base": str(directory), "platbase": str(directory)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", vars=base))
        self._stamp = directory / "installed.json"
        self._mutex = mutex

    def install(self, lock: str) -> None:
        """Have it hold what the lock names, and the project. Quick when it does."""
        stamp, flaw = self.found()
        missing = [name for name in (BUILD, lock) if name not in stamp.locks]
        project = digest_of(PROJECT)
        if not (flaw or missing) and stamp.project == project:
            return
        self._stamp.unlink(missing_ok=True)
        if flaw:
            self._make(flaw)
        for name in missing:
            self._install_lock(name)
            stamp.locks[name] = digest_of(LOCKS / f"{name}.txt")
        say("installing the project itself")
        self._pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        self._pip("check")
        stamp.project = project
        stamp.files = self._files()
        self._stamp.write_text(json.dumps(asdict(stamp)))
        say(f"{self.directory.name} is complete")

    def found(self) -> tuple[Stamp, str | None]:
        """What can be built upon, and why that is nothing, if so."""
        try:
            stamp = Stamp(**json.loads(self._stamp.read_text()))
        except (OSError, ValueError, TypeError):
            return Stamp(), "it is not complete"
        flaw = stamp.flaw(self.directory)
        return (Stamp(), flaw) if flaw else (stamp, None)

    def _make(self, flaw: str) -> None:
        name = self.directory.name
        if self.directory.exists():
            say(f"removing {name}: {flaw}")
            shutil.rmtree(self.directory)
        say(f"making {name} with Python {sys.version.split()[0]}")
        if not has("pip") and not has("ensurepip"):
            sys.exit(f"{sys.executable} has no pip: install pip for it, then run this again")
        venv.create(self.directory, symlinks=True, with_pip=not has("pip"))

    def _install_lock(self, name: str) -> None:
        lock = LOCKS / f"{name}.txt"
        locked = sum(line[:1].isalnum() for line in lock.read_text().splitlines())
        say(f"installing requirements/{name}.txt: {locked} packages")
        before = self._count_packages()

        def progress(log: str) -> str:
            fetching, collected, rest = log.partition(COLLECTED)
            if not collected:
                seen = ("Collecting ", "Requirement already satisfied: ", "Ignoring ")
                done = sum(line.startswith(seen) for line in fetching.splitlines())
                return f"fetched {done} of {locked}"
            number = rest.partition("\n")[0].count(",") + 1
            return f"installed {self._count_packages() - before} of {number}"

        self._pip(
            "install", "--no-deps", "--require-hashes", "--no-build-isolation",
            "--requirement", str(lock),
            progress=progress,
        )  # fmt: skip

    def _count_packages(self) -> int:
        return sum(1 for _ in self.packages.glob("*.dist-info"))

    def _pip(self, *arguments: str, progress: Callable[[str], str] | None = None) -> None:
        """Run pip for it. Exits with all that pip said when that fails."""
        python = str(self.python)
        pip = [sys.executable, "-m", "pip", "--python", python]
        if not has("pip"):
            pip = [python, "-m", "pip"]
        shown = Line()
        with tempfile.TemporaryFile() as log:
            with subprocess.Popen(
                [*pip, "--disable-pip-version-check", "--no-input", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A pip that outlives this process keeps others from the environment, too.
                pass_fds=(self._mutex,),
            ) as process:
                while running(process):
                    if progress:
                        shown.show(progress(text_of(log.fileno())))
            shown.end()
            if process.returncode:
                sys.exit(f"{text_of(log.fileno())}\npip {arguments[0]} has failed")

    def _files(self) -> dict[str, int]:
        return {
            str(file.relative_to(self.directory)): file.stat().st_size
            for file in self.directory.rglob("*")
            if file.suffix != ".pyc" and file.is_file()
        }


class Line:
    """Tells how far it is: in one line of a terminal, elsewhere in a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._text = ""
        self._due = time.monotonic() + REPORT

    def show(self, text: str) -> None:
        """Tell it, unless it is known or too early."""
        if text == self._text:
            return
        if self._terminal:
            print(f"\r  {text:<{len(self._text)}}", end="", flush=True)
        elif time.monotonic() >= self._due:
            say(f"  {text}")
            self._due = time.monotonic() + REPORT
        else:
            return
        self._text = text

    def end(self) -> None:
        """Leave the line."""
        if self._terminal and self._text:
            say("")


def running(process: subprocess.Popen[bytes]) -> bool:
    """Whether it still runs after a moment."""
    try:
        process.wait(LOOK)
    except subprocess.TimeoutExpired:
        return True
    return False


def text_of(file: int) -> str:
    """What is in a file that another process is writing at the descriptor's own position."""
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def digest_of(file: Path) -> str:
    """Of the content; empty where there is no file."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def has(module: str) -> bool:
    """Whether this Python has it."""
    return importlib.util.find_spec(module) is not None


def say(text: str) -> None:
    """Print it now, also into a pipe."""
    print(text, flush=True)


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description="Install a lock and this project.")
    parser.add_argument("lock", choices=sorted(lock.stem for lock in LOCKS.glob("*.txt")))
    parser.add_argument("--into", default=".venv", help="the environment's folder; %(default)s")
    arguments = parser.parse_args()
    directory = ROOT / arguments.into
    if directory.exists() and directory.samefile(sys.prefix):
        # It may have to remove this very Python: the one that it was made of does that.
        original = str(Path(sys.executable).resolve())
        os.execv(original, [original, *sys.orig_argv[1:]])
    with Path(__file__).open() as mutex:
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another installation")
            fcntl.flock(mutex, fcntl.LOCK_EX)
        Environment(directory, mutex.fileno()).install(arguments.lock)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
