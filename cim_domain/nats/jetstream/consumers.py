"""Durable consumers: made when missing, changed when safe, and made again where they were.

A consumer that is deleted while it is in use takes along how far it was. It is made again from
behind what it was last known to have acknowledged: a few messages come twice, none is left out.
"""

import logging
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from cim_domain.backoff import Backoff
from cim_domain.errors import ConfigurationError
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import Requests
from cim_domain.nats.jetstream.api import (
    CONSUMER_NOT_FOUND,
    NANOSECONDS,
    STREAM_NOT_FOUND,
    ApiError,
    call,
)
from cim_domain.nats.jetstream.streams import UNAVAILABLE

logger = logging.getLogger("cim_domain.nats")

_OTHERS_WERE_QUICKER = frozenset({10012, 10148, 10149, CONSUMER_NOT_FOUND})
_ATTEMPTS = 3
_BEGINNING = ("deliver_policy", "opt_start_seq", "opt_start_time")
_NOT_ALONGSIDE = ("filter_subject", "filter_subjects", "deliver_subject", "deliver_group")

HANDLES = "cim-domain.handles"
"""The name under which a consumer's metadata hold what the code handles."""


@frozen(kw_only=True)
class Retries:
    """How often a message is tried, and how long apart. `ack_wait` is in seconds.

    A message that is not acknowledged for so long, because its handler's process died, is
    delivered again. Each instance counts the attempts that it has seen fail; those that no
    process has lived to see the end of are counted beside the stream, see `UnendedAttempts`.
    """

    attempts: int = 5
    between: Backoff = field(factory=lambda: Backoff(first_delay=0.5, ceiling=60))
    ack_wait: float = 30.0

    @property
    def uncounted_deliveries(self) -> int:
        """So many deliveries cost nothing beside; of later ones it is noted that they are begun.

        A message comes again for many reasons, and a count of deliveries does not tell them apart.
        One that ends its process each time shows in attempts that were begun and never ended:
        after `attempts` of those that are noted, it is not begun any more.
        """
        return 2 * self.attempts


@frozen(kw_only=True)
class ConsumerDefinition:
    """A durable consumer: which messages, from where on. `name` is shared by all instances."""

    stream: str
    name: str
    filter_subject: str | None = None
    history: bool = False
    """Whether it begins with what the stream holds already, when it is first made."""
    handles: frozenset[str] = frozenset()
    """What the code handles of what it is delivered, in words without blanks.

    Where that is said, the consumer keeps what every version of the code has said that shared it,
    and passes what any of them asked for: the filter grows, and never shrinks.
    """

    def config(self, retries: Retries) -> dict[str, Any]:
        """The configuration in JetStream's own words."""
        config: dict[str, Any] = {
            "name": self.name,
            "durable_name": self.name,
            "deliver_policy": "all" if self.history else "new",
            "ack_policy": "explicit",
            "ack_wait": int(retries.ack_wait * NANOSECONDS),
            # The attempts are counted here, where the reason of the last failure is known.
            "max_deliver": -1,
            "max_ack_pending": 10_000,
            "replay_policy": "instant",
        }
        if self.filter_subject:
            config["filter_subject"] = self.filter_subject
        if self.handles:
            config["metadata"] = {HANDLES: " ".join(sorted(self.handles))}
        return config

    def config_beside(self, retries: Retries, actual: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a consumer that exists, which other versions of the code may share."""
        config = self.config(retries)
        if self.handles:
            noted = self.handles | handled_by(actual)
            config["metadata"] = {
                **(actual.get("metadata") or {}),
                HANDLES: " ".join(sorted(noted)),
            }
            config["filter_subject"] = _covering(self.filter_subject, actual.get("filter_subject"))
        return {name: value for name, value in config.items() if value is not None}


def handled_by(config: Mapping[str, Any]) -> frozenset[str]:
    """What the versions of the code handle that have shared a consumer."""
    return frozenset((config.get("metadata") or {}).get(HANDLES, "").split())


def _covering(one: str | None, other: str | None) -> str | None:
    """The filter that passes whatever one of two passes; None: all."""
    if one is None or other is None or one.count(".") != other.count("."):
        return None
    pairs = zip(one.split("."), other.split("."), strict=True)
    return ".".join(mine if mine == theirs else "*" for mine, theirs in pairs)


@frozen(kw_only=True)
class ConsumerState:
    """How a consumer fares, for all instances that share it; numbers of messages."""

    pending: int
    """Waiting to be delivered for the first time."""
    in_flight: int
    """Delivered, and not yet acknowledged."""
    retrying: int
    """Those in flight that were delivered more than once."""
    passed: int
    """All up to this sequence of the stream are acknowledged, or were there before it began."""


async def consumers_of(requests: Requests, stream: str) -> list[dict[str, Any]]:
    """What the server tells of each durable consumer of a stream; of none where it is not there.

    Raises `ApiError` and `NoAnswer`.
    """
    found: list[dict[str, Any]] = []
    offset, total = 0, 1
    while offset < total:
        try:
            answer = await call(requests, f"CONSUMER.LIST.{stream}", {"offset": offset})
        except ApiError as error:
            if error.error_code == STREAM_NOT_FOUND:
                return []
            raise
        page = answer.get("consumers") or []
        found += page
        offset, total = offset + len(page), int(answer["total"]) if page else 0
    return [one for one in found if one["config"].get("durable_name")]


class Consumer:
    """A durable consumer on the server."""

    def __init__(self, link: Link, definition: ConsumerDefinition, retries: Retries) -> None:
        self._requests = link.requests
        self._stream = definition.stream
        self._name = definition.name
        self._definition = definition
        self._retries = retries
        self._acknowledged: int | None = None
        """All up to this sequence were acknowledged; None: it has not been made or met yet."""

    async def ensure(self) -> bool:
        """Have it exist as defined. One that exists keeps its place, wherever it began.

        Says whether it has begun now, at the beginning that is defined. Raises
        `ConfigurationError` where the server refuses it, `NoAnswer`, and `ApiError` where the
        server cannot now.
        """
        begins = False
        for attempt in range(_ATTEMPTS):
            actual = await self._config()
            if actual is not None and not self._differences(actual):
                return begins
            try:
                if actual is None:
                    wanted = self._definition.config(self._retries)
                    beginning = await self._beginning()
                    await self._create("create", {**wanted, **beginning})
                    begins = not beginning
                else:
                    kept = {key: actual[key] for key in actual if key not in _NOT_ALONGSIDE}
                    begun = {key: actual[key] for key in _BEGINNING if key in actual}
                    await self._create("update", {**kept, **self._wanted(actual), **begun})
            except ApiError as error:
                if error.status_code == UNAVAILABLE:
                    raise
                if error.error_code not in _OTHERS_WERE_QUICKER or attempt == _ATTEMPTS - 1:
                    raise self._refused(error, actual) from error
        await self.state()
        return begins

    async def state(self) -> ConsumerState:
        """How it fares now. Raises `ApiError` and `NoAnswer`."""
        info = await self._info()
        return ConsumerState(
            pending=int(info["num_pending"]),
            in_flight=int(info["num_ack_pending"]),
            retrying=int(info["num_redelivered"]),
            passed=int(info["ack_floor"]["stream_seq"]),
        )

    async def handled(self) -> frozenset[str]:
        """What the versions of the code handle that share it, or have. Raises as `state` does."""
        return handled_by((await self._info())["config"])

    def _wanted(self, actual: Mapping[str, Any]) -> dict[str, Any]:
        return self._definition.config_beside(self._retries, actual)

    async def _info(self) -> dict[str, Any]:
        info = await call(self._requests, f"CONSUMER.INFO.{self._stream}.{self._name}")
        self._acknowledged = int(info["ack_floor"]["stream_seq"])
        return info

    async def _config(self) -> dict[str, Any] | None:
        try:
            config: dict[str, Any] = (await self._info())["config"]
        except ApiError as error:
            if error.error_code == CONSUMER_NOT_FOUND:
                return None
            if error.status_code == UNAVAILABLE:
                raise
            raise self._refused(error, None) from error
        return config

    async def _create(self, action: str, config: Mapping[str, Any]) -> None:
        tokens = [self._stream, self._name, config.get("filter_subject")]
        await call(
            self._requests,
            f"CONSUMER.CREATE.{'.'.join(token for token in tokens if token)}",
            {"stream_name": self._stream, "config": config, "action": action},
        )

    async def _beginning(self) -> dict[str, Any]:
        """Where it begins instead, if it has been there before."""
        if self._acknowledged is None:
            return {}
        stream = await call(self._requests, f"STREAM.INFO.{self._stream}")
        if stream["config"]["retention"] == "workqueue":
            # What was acknowledged is no longer there, and no other beginning is allowed.
            return {"deliver_policy": "all"}
        if stream["state"]["last_seq"] < self._acknowledged:
            raise ConfigurationError(
                f"the consumer {self._name} is gone and the stream {self._stream} is not the one it"
                " was on: start the service anew"
            )
        logger.warning(
            "the consumer %s is gone; it is made again from behind message %d",
            self._name, self._acknowledged,
        )  # fmt: skip
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._acknowledged + 1}

    def _differences(self, actual: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What an existing one has otherwise: ``{setting: (wanted, actual)}``."""
        wanted = {**dict.fromkeys(_NOT_ALONGSIDE), **self._wanted(actual)}
        return {
            setting: (value, actual.get(setting))
            for setting, value in wanted.items()
            if setting not in _BEGINNING and (value or None) != (actual.get(setting) or None)
        }

    def _refused(self, error: ApiError, actual: Mapping[str, Any] | None) -> ConfigurationError:
        if actual is None:
            return ConfigurationError(
                f"there can be no consumer {self._name} on the stream {self._stream}:"
                f" {error.description}"
            )
        listed = "; ".join(
            f"{name} is {found!r}, needed is {wanted!r}"
            for name, (wanted, found) in self._differences(actual).items()
        )
        return ConfigurationError(
            f"the consumer {self._name} on the stream {self._stream} does not fit and the server"
            f" refuses to change it ({error.description}): {listed}"
        )
