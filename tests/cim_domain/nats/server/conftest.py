"""Where an embedded server keeps its data, and what may be in its way."""

import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def taken_port() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
