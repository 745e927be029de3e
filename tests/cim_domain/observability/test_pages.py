"""The port for metrics and probes: what it answers, and whom it does not wait for."""

import asyncio
import contextlib
import socket
import threading
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from cim_domain.integrations import http_pages as pages_module
from cim_domain.integrations.http_pages import CONNECTIONS, Page, http_pages
from cim_domain.integrations.probes import Probes
from cim_domain.integrations.prometheus import PrometheusObserver
from cim_domain.nats.config.settings import load_settings
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from cim_domain.testing.process import service_process
from cim_domain.testing.server import frozen, throwaway_server
from tests.cim_domain.tallies import tally_domain

HOST = "127.0.0.1"


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = Request(f"http://{HOST}:{port}{path}", method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def broken() -> Page:
    raise RuntimeError


def test_there_are_these_pages_and_no_others() -> None:
    with http_pages(HOST, 0, {"/one": lambda: Page(b"first"), "/broken": broken}) as port:
        assert asked(port, "/one") == (200, "first")
        assert asked(port, "/one?more=1") == (200, "first")
        assert asked(port, "/one", "HEAD") == (200, "")
        assert asked(port, "/one", "POST")[0] == HTTPStatus.METHOD_NOT_ALLOWED
        assert asked(port, "/broken")[0] == HTTPStatus.INTERNAL_SERVER_ERROR
        for path in ("/", "/two", "/one/", "//one"):
            assert asked(port, path)[0] == HTTPStatus.NOT_FOUND


def test_idle_connections_hold_no_threads_and_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "SECONDS", 1.0)
    before = threading.active_count()
    with http_pages(HOST, 0, {"/one": lambda: Page(b"first")}) as port:
        idle = [socket.create_connection((HOST, port)) for _ in range(CONNECTIONS // 2)]
        idle[0].sendall(b"GET /one HTTP/1.1\r\nHost:")
        assert asked(port, "/one") == (200, "first")
        assert threading.active_count() == before + 1
        for one in idle:
            one.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(100) == b""
            one.close()


def test_whoever_does_not_read_is_cut_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "SECONDS", 1.0)
    large = Page(b"x" * 50_000_000)
    with http_pages(HOST, 0, {"/large": lambda: large, "/one": lambda: Page(b"first")}) as port:
        with socket.create_connection((HOST, port)) as slow:
            slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            assert asked(port, "/one") == (200, "first")
            slow.settimeout(10)
            received = 0
            # Read only when it is over.
            threading.Event().wait(2)
            try:
                while part := slow.recv(1 << 20):
                    received += len(part)
            except ConnectionResetError:
                pass
        assert received < len(large.body)


def test_beyond_so_many_connections_further_ones_are_closed_at_once() -> None:
    with http_pages(HOST, 0, {"/one": lambda: Page(b"first")}) as port:
        idle = [socket.create_connection((HOST, port)) for _ in range(CONNECTIONS)]
        with socket.create_connection((HOST, port)) as further:
            further.settimeout(10)
            assert further.recv(100) == b""
        for one in idle:
            one.close()


async def test_it_is_ready_while_it_serves_and_connected(tmp_path: Path) -> None:
    probes, metrics = Probes(), PrometheusObserver(tally_domain())
    with metrics.served(0, probes=probes) as port:
        assert (await asyncio.to_thread(asked, port, "/livez"))[0] == 200
        assert (await asyncio.to_thread(asked, port, "/readyz"))[0] == 503
        assert (await asyncio.to_thread(asked, port, "/metrics"))[0] == 200
        assert (await asyncio.to_thread(asked, port, "/anything"))[0] == 404
        async with throwaway_server() as server:
            nats = load_settings(url=server.url, data_directory=tmp_path, ping_interval=0.2)
            settings = load_service_settings(views="memory", store_patience=1)
            async with (
                Service(tally_domain(), nats, settings, observer=metrics) as service,
                probes.of(service.missing),
            ):
                assert await asyncio.to_thread(asked, port, "/readyz") == (200, "ok\n")
                with frozen(server):
                    async with asyncio.timeout(20):
                        while (await asyncio.to_thread(asked, port, "/readyz"))[0] == 200:  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                async with asyncio.timeout(20):
                    while (await asyncio.to_thread(asked, port, "/readyz"))[0] != 200:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(asked, port, "/readyz"))[0] == 503


async def test_a_loop_that_is_held_up_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cim_domain.integrations.probes.SILENCE", 0.2)
    probes = Probes()
    live = probes.pages["/livez"]
    async with probes.of(lambda: None):
        await asyncio.sleep(0)
        assert live().status == 200
        threading.Event().wait(0.5)
        assert live().status == 503


def test_serve_has_the_probes(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--metrics-port", "0")
    with service_process("nix", data_directory=tmp_path / "data", arguments=arguments) as one:
        said = next(line for line in one.log if "metrics are at" in line)
        port = int(said.split(f"{HOST}:")[1].split("/")[0])
        assert {path: asked(port, path)[0] for path in ("/livez", "/readyz", "/")} == {
            "/livez": 200,
            "/readyz": 200,
            "/": 404,
        }
