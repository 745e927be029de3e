"""Joining those who answer when there is something to answer with, unless nobody else does.

A new instance of a service shares the requests with the others as soon as it listens. While it can
only say that it is not ready, they are better left to the others; where there are none, saying that
is better than silence.
"""

import asyncio
import logging
from collections.abc import Callable

import orjson
from attrs import define, field
from nats.aio.msg import Msg
from nats.micro.service import ServiceVerb, control_subject

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.connect import round_trip
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.services.responder import Responder

logger = logging.getLogger("cim_domain.nats")

LOOK_EVERY = 0.5
"""Seconds between looks whether it is time; so long nobody may answer when the others have gone."""

OTHERS_ANSWER = 0.5
"""Seconds that others have to say that they are there."""


@define(eq=False)
class Joining:
    """A responder that begins later than the service. `service` and `instance` are its own names.

    `missing` says what is still missing; None: it can answer.
    """

    _link: Link
    _responder: Responder
    _service: str
    _instance: str
    _missing: Callable[[], str | None]
    _waiting: asyncio.Task[None] | None = field(default=None, init=False)

    async def start(self) -> "Joining":
        """Begin at once where that is right, or as soon as it is."""
        if not await self._joined():
            logger.info(
                "%s are left to other instances for now: %s", self._responder.name, self._missing()
            )
            self._waiting = asyncio.create_task(self._join())
        return self

    async def stop(self) -> None:
        """As `Responder.stop`."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
        await self._responder.stop()

    async def _join(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                if await self._joined():
                    await round_trip(self._link.client)
                    logger.info("%s are answered here, too, from now on", self._responder.name)
                    return
            except Unavailable as error:
                logger.debug("%s are not yet answered: %s", self._responder.name, error.message)
            except Exception:
                logger.exception("%s could not be begun", self._responder.name)

    async def _joined(self) -> bool:
        if self._missing() is not None and await self._others_answer():
            return False
        if not self._responder.listening:
            await self._responder.start()
        return True

    async def _others_answer(self) -> bool:
        """Whether another instance has such an endpoint; where none may be asked, there is none."""
        subject = control_subject(ServiceVerb.INFO, self._service, None)
        try:
            await self._link.requests.many(subject, b"", self._is_other, timeout=OTHERS_ANSWER)
        except NoAnswer as error:
            if error.code == "disconnected":
                raise
            return False
        return True

    def _is_other(self, message: Msg) -> bool:
        try:
            told = orjson.loads(message.data)
            # By the subject: another installation may well have a service of that name.
            there = {one["subject"] for one in told["endpoints"]}
            return told["id"] != self._instance and self._responder.subject in there
        except (ValueError, TypeError, KeyError):
            return False
