"""Service discovery as NATS services do it: ``$SRV.PING``, ``$SRV.INFO`` and ``$SRV.STATS``.

nats-py's own services answer one request at a time for each endpoint; these statistics come from
responders, which work side by side.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.service import (
    EndpointInfo,
    EndpointStats,
    ServiceInfo,
    ServicePing,
    ServiceStats,
    ServiceVerb,
    control_subject,
)

from cim_domain.nats.connection.link import Link
from cim_domain.nats.services.reply_subjects import may_reply
from cim_domain.nats.services.responder import QUEUE, Responder


class Discovery:
    """Makes a service known. `version` must be a semantic version in full.

    `guarded` is as for a `Responder`.
    """

    def __init__(
        self,
        link: Link,
        *,
        name: str,
        instance: str,
        version: str,
        description: str,
        responders: Sequence[Responder],
        guarded: str = "",
    ) -> None:
        self._link = link
        self._name = name
        self._instance = instance
        self._version = version
        self._description = description
        self._responders = responders
        self._guarded = guarded
        self._started = datetime.now(UTC)
        self._subscriptions: list[Subscription] = []

    async def start(self) -> Self:
        """Answer from now on."""
        answers: dict[ServiceVerb, Callable[[], dict[str, Any]]] = {
            ServiceVerb.PING: self._ping,
            ServiceVerb.INFO: self._info,
            ServiceVerb.STATS: self._stats,
        }
        for verb, answer in answers.items():
            for name, instance in (
                (None, None),
                (self._name, None),
                (self._name, self._instance),
            ):
                subject = control_subject(verb, name, instance)
                self._subscriptions.append(
                    await self._link.client.subscribe(subject, cb=self._responding(answer))
                )
        return self

    async def stop(self) -> None:
        """Answer no longer."""
        if self._link.connected:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
        self._subscriptions.clear()

    def _responding(self, answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Any]:
        async def respond(message: Msg) -> None:
            if message.reply and may_reply(message.reply, self._guarded):
                await self._link.client.publish(message.reply, orjson.dumps(answer()))

        return respond

    def _ping(self) -> dict[str, Any]:
        return ServicePing(id=self._instance, name=self._name, version=self._version).to_dict()

    def _info(self) -> dict[str, Any]:
        return ServiceInfo(
            id=self._instance,
            name=self._name,
            version=self._version,
            description=self._description,
            endpoints=[
                EndpointInfo(
                    name=responder.name,
                    subject=responder.subject,
                    queue_group=QUEUE,
                    metadata={},
                )
                for responder in self._responders
                if responder.listening
            ],
        ).to_dict()

    def _stats(self) -> dict[str, Any]:
        return ServiceStats(
            id=self._instance,
            name=self._name,
            version=self._version,
            started=self._started,
            endpoints=[_stats_of(responder) for responder in self._responders],
        ).to_dict()


def _stats_of(responder: Responder) -> EndpointStats:
    statistics = responder.statistics
    return EndpointStats(
        name=responder.name,
        subject=responder.subject,
        queue_group=QUEUE,
        num_requests=statistics.requests,
        num_errors=statistics.errors,
        processing_time=statistics.processing_time,
        average_processing_time=statistics.processing_time // max(1, statistics.requests),
        last_error=statistics.last_error,
    )
