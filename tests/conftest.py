"""What all tests share: one server a process, and names of one's own on it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.testing.server import server_in_thread


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so where a machine that has everything has skipped a test."""
    skipped = len(terminalreporter.stats.get("skipped", []))
    if os.environ.get("FORBID_SKIPS") and skipped:
        terminalreporter.write_line(f"{skipped} skipped, where none may be", red=True)


def pytest_configure() -> None:
    """Have children end on Ctrl-C: a shell that runs this in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail then."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped") if reporter else None
    if os.environ.get("FORBID_SKIPS") and skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A server with JetStream for all tests of this process: do not stop it, do not configure it.

    Subjects and streams are the test's own only when their names come from `subjects`.
    """
    with server_in_thread() as url:
        yield url


@pytest.fixture
async def link(nats_url: str) -> AsyncIterator[Link]:
    """A connection to the shared server."""
    link = await Link.open(load_settings(), name="test", url=nats_url)
    yield link
    await link.close()


@pytest.fixture
def subjects() -> Subjects:
    """Of the domain `nix`, under a prefix that no other test has."""
    return Subjects("nix", prefix=f"t{uuid4().hex[:12]}")
