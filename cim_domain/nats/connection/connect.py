"""Connections to NATS: bounded at the start, patient afterwards, private, and never in clear text
when encryption was asked for.

What `connect` returns is nats-py's client, made harder to break. Some of its ways to know: `flush`
is no barrier (`round_trip` is), messages too large end the connection (`limits.check_size`), and
requests under way when a connection is lost run into their timeout.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import nats.errors
from nats.aio.client import DEFAULT_PENDING_SIZE, Server

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.nats.config.problems import shown
from cim_domain.nats.config.reconnect import Reconnect
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.config.urls import ServerUrl, server_url
from cim_domain.nats.connection.authentication import TlsFiles, identity_options
from cim_domain.nats.connection.connect_failures import ConnectFailures
from cim_domain.nats.connection.events import (
    ConnectionChange,
    ConnectionEvent,
    EventListener,
    EventReporter,
)
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.limits import check_header, check_size, header_block_size

__all__ = [
    "ConnectionChange",
    "ConnectionEvent",
    "check_header",
    "check_size",
    "connect",
    "header_block_size",
    "round_trip",
]

UNANSWERED_PINGS = 2
_INBOX_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


async def connect(
    settings: NatsSettings,
    *,
    name: str,
    url: str | None = None,
    inbox_prefix: str | None = None,
    pending_size: int = DEFAULT_PENDING_SIZE,
    on_event: EventListener | None = None,
) -> HardenedClient:
    """Connect within `settings.connect_timeout` seconds; once connected, reconnect as configured.

    `url` (one or several with commas) and `inbox_prefix` (where replies arrive: a role's own one
    keeps others from reading them) take the place of the configured ones. `pending_size` is how
    many bytes may wait to be sent; 0 for connections that append, so that while disconnected a
    publish fails at once (`nats.errors.OutboundBufferLimitError`) instead of being sent long after
    its caller gave up. `on_event` is called in the event loop and must not block.

    Raises `Unavailable` with code ``unavailable`` (nobody answers), ``authorization`` (the server
    refuses who connects) or ``tls`` (no trust, no encryption); `ConfigurationError` for settings
    and files that cannot work.
    """
    _refuse_fast_mail_parser()
    inbox_prefix = inbox_prefix or settings.inbox_prefix
    if not _INBOX_PREFIX.fullmatch(inbox_prefix):
        raise ConfigurationError(f"the inbox prefix {inbox_prefix!r} is no subject")
    urls = _urls(settings, url)
    options = identity_options(settings, urls)
    encrypted = settings.encrypted or any(each.encrypted for each in urls)
    nc = HardenedClient()
    if encrypted:
        nc.tls_files = files = TlsFiles(settings)
        options["tls"] = files.context()
    events = EventReporter(nc, name, on_event)
    failures = ConnectFailures(settings, [each.address for each in urls])
    backoff = _Backoff(settings.reconnect)

    async def on_error(error: Exception) -> None:
        if not backoff.connected:
            failures.add(error, wants_certificate=nc.wants_certificate)
        await events.error(error)

    async def on_reconnected() -> None:
        backoff.reset()
        await events.reconnected()

    try:
        async with asyncio.timeout(settings.connect_timeout):
            await nc.connect(
                servers=[each.address for each in urls],
                name=name,
                error_cb=on_error,
                disconnected_cb=events.disconnected,
                reconnected_cb=on_reconnected,
                closed_cb=events.closed,
                lame_duck_mode_cb=events.lame_duck,
                # An attempt at one server leaves time for the others.
                connect_timeout=settings.connect_timeout / len(urls),  # type: ignore[arg-type]
                max_reconnect_attempts=settings.reconnect.attempts,
                reconnect_time_wait=settings.reconnect.first_delay,  # type: ignore[arg-type]
                reconnect_to_server_handler=backoff.next_server,
                ping_interval=settings.ping_interval,  # type: ignore[arg-type]
                max_outstanding_pings=UNANSWERED_PINGS,
                tls_handshake_first=settings.tls_handshake_first,
                inbox_prefix=inbox_prefix,
                pending_size=pending_size,
                **options,
            )
            await nc.check_answered()
            # What this connection may send is known behind a second answer only.
            await nc.flush()
    except (OSError, nats.errors.Error):
        await nc.close()
        raise failures.error() from None
    except BaseException:
        await nc.close()
        raise
    backoff.reset()
    await events.connected()
    return nc


async def round_trip(nc: HardenedClient, *, seconds: float = 5.0) -> None:
    """Return once the server has worked off every subscribe and publish made before the call.

    Raises `Unavailable` when the connection is away or is lost meanwhile: then nothing is known.
    """
    reconnects = nc.stats["reconnects"]
    try:
        async with asyncio.timeout(seconds):
            # A ping overtakes what is queued, so that the first may be answered too early. It is
            # answered after the queue was written, though, and the second follows the queue.
            await nc.flush()
            await nc.flush()
    except (OSError, nats.errors.Error) as error:
        raise Unavailable(f"NATS did not answer within {seconds:g} s: {error}") from error
    if not nc.is_connected or nc.stats["reconnects"] != reconnects:
        raise Unavailable("the connection to NATS was lost; try again when it is back")


class _Backoff:
    """Which server to try next, and when: all of them in turn, then a pause that grows."""

    def __init__(self, policy: Reconnect) -> None:
        self._policy = policy
        self._attempt = 0
        self.connected = False

    def reset(self) -> None:
        self._attempt = 0
        self.connected = True

    def next_server(
        self,
        servers: list[Server],
        server_info: dict[str, Any],  # noqa: ARG002 (nats-py's signature)
    ) -> tuple[Server | None, float]:
        round_number, turn = divmod(self._attempt, len(servers))
        self._attempt += 1
        # Only the first of a round waits: the other servers may well be there.
        chance = random.random()  # noqa: S311 (spreads clients, guards nothing)
        delay = self._policy.delay(round_number, chance) if turn == 0 else 0.0
        return servers[turn], delay


def _urls(settings: NatsSettings, url: str | None) -> Sequence[ServerUrl]:
    if url is None:
        return settings.urls
    try:
        return [server_url(part.strip()) for part in url.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"{shown(['urls'])}: {error}") from None


def _refuse_fast_mail_parser() -> None:
    if find_spec("fast_mail_parser"):
        raise ConfigurationError(
            "fast-mail-parser is installed: nats-py takes it up and then reads headers wrongly; "
            "uninstall it"
        )
