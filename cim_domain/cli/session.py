"""One run of a command: where the server is, what goes to standard output, how it ends."""

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from attrs import field, frozen

from cim_domain.cli.exit_codes import INTERRUPTED, REFUSED, USAGE, Refused, exit_code
from cim_domain.cli.log_setup import configure_logging
from cim_domain.cli.output import Output
from cim_domain.client import TIMEOUT, DomainClient
from cim_domain.errors import (
    CimError,
    ConfigurationError,
    Failed,
    LoadError,
    ModelError,
    RequestError,
    Unavailable,
)
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings, load_settings
from cim_domain.nats.config.sources import CONFIGURATION_VARIABLE
from cim_domain.nats.connection.link import Link
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventStore

RETRY = 1.0
"""Seconds for which a request that found no service is sent again: one may be starting."""


CONNECT = 2.0
"""Seconds in which a server must answer, unless configured or said otherwise."""


@frozen
class Session:
    """What the common options say."""

    url: str | None = None
    data_directory: Path | None = None
    config: Path | None = None
    timeout: float | None = None
    json: bool = field(default=False, kw_only=True)
    debug: bool = field(default=False, kw_only=True)
    stream: bool = field(default=False, kw_only=True)
    """Whether the output is JSON lines, to which an error does not belong."""
    output: Output = field(init=False, factory=Output)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work of a command on an event loop; whatever goes wrong becomes its exit code."""

        async def awaited() -> None:
            await work()

        self.guarded(lambda: asyncio.run(awaited()))

    def guarded(self, work: Callable[[], None]) -> None:
        """Do the work of a command; whatever goes wrong becomes its exit code."""
        configure_logging("debug" if self.debug else "critical")
        try:
            work()
        except typer.Exit:
            raise
        except Refused:
            raise typer.Exit(REFUSED) from None
        except CimError as error:
            self._end(error)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            self._end(ConfigurationError(f"{error.strerror or error}: {error.filename or ''}"))
        except Exception as error:  # noqa: BLE001 - a mistake here, or in the domain's own code
            self._end(Failed(f"{type(error).__name__}: {error}; --debug shows where"), error)

    def settings(self, **overrides: Any) -> NatsSettings:
        """Where NATS is. Raises `ConfigurationError`."""
        if self.config is not None:
            os.environ[CONFIGURATION_VARIABLE] = str(self.config)
        given = {"urls": self.url, "data_directory": self.data_directory, **overrides}
        if self.timeout is not None:
            given["connect_timeout"] = self.timeout
        return load_settings(**given)

    @asynccontextmanager
    async def link(self, settings: NatsSettings | None = None) -> AsyncIterator[Link]:
        """A connection: to the server that is named, or else the embedded one, where one runs."""
        settings = settings or self.settings()
        url = None
        if "connect_timeout" not in settings.model_fields_set:
            # A service may wait for its server; a person would rather know.
            settings = settings.model_copy(update={"connect_timeout": CONNECT})
        if "urls" not in settings.model_fields_set:
            # Here, so that nobody waits for it who says where the server is.
            from cim_domain.nats.server.embedded import find_url  # noqa: PLC0415

            url = find_url(settings.data_directory)
        try:
            link = await Link.open(settings, name="cim-domain-cli", url=url)
        except Unavailable as error:
            hint = "start one with `cim-domain serve DOMAIN`, or say with --url where one is"
            if error.code != "unavailable":
                raise
            raise Unavailable(f"{error.message}\n{hint}", code=error.code) from error
        try:
            yield link
        finally:
            await link.close()

    @asynccontextmanager
    async def client(self, subjects: Subjects | str) -> AsyncIterator[DomainClient]:
        """A client of a domain, given by its name or with the prefix of its subjects."""
        settings = self.settings()
        if isinstance(subjects, str):
            subjects = Subjects(subjects, settings.subject_prefix)
        async with self.link(settings) as link:
            yield DomainClient(link, subjects, timeout=self.timeout or TIMEOUT, retry=RETRY)

    @asynccontextmanager
    async def log(self, domain: str) -> AsyncIterator[EventStore]:
        """The log of a domain, read without its service."""
        settings = self.settings()
        async with self.link(settings) as link:
            yield JetStreamEvents(link, Subjects(domain, settings.subject_prefix))

    def _end(self, error: CimError, cause: Exception | None = None) -> NoReturn:
        if self.debug:
            traceback.print_exception(cause or error, file=sys.stderr)
        if self.json and not self.stream:
            self.output.document({"error": as_dict(error)})
        self.output.problem(str(error))
        raise typer.Exit(exit_code(error)) from None


def as_dict(error: CimError) -> dict[str, Any]:
    """An error for programs: ``{code, message, details}``."""
    if isinstance(error, RequestError):
        return error.as_dict()
    if isinstance(error, LoadError):
        code = error.code
    else:
        code = "usage" if exit_code(error) == USAGE else "failed"
    details = {"mistakes": list(error.mistakes)} if isinstance(error, ModelError) else {}
    return {"code": code, "message": str(error), "details": details}
