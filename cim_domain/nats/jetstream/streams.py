"""Stream definitions: made when missing, widened when safe, and refused when they do not fit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from cim_domain.errors import ConfigurationError
from cim_domain.nats.connection.requests import NoAnswer, Requests
from cim_domain.nats.jetstream.api import STREAM_NOT_FOUND, ApiError, call

NAME_IN_USE = 10058
UNAVAILABLE = 503


@frozen
class StreamDefinition:
    """A stream as somebody needs it: its name and its configuration in JetStream's own words."""

    name: str
    config: Mapping[str, Any]

    @property
    def wanted(self) -> dict[str, Any]:
        """The configuration to create the stream with."""
        return {"name": self.name, **self.config}

    def differences(self, actual: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What an existing stream has otherwise: ``{setting: (wanted, actual)}``."""
        return {
            setting: (wanted, actual.get(setting))
            for setting, wanted in self.config.items()
            if not _fits(setting, wanted, actual.get(setting))
        }


def _fits(setting: str, wanted: Any, actual: Any) -> bool:
    # An operator may have given the stream more replicas; a service with defaults leaves them.
    if setting == "num_replicas":
        return bool((actual or 1) >= wanted)
    return _same(wanted, actual)


def _same(wanted: Any, actual: Any) -> bool:
    # The server leaves out what is false, and adds to objects what it knows by default.
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(
            _same(value, actual.get(name)) for name, value in wanted.items()
        )
    return bool(wanted == actual) or (not wanted and not actual)


async def stream_config(requests: Requests, name: str) -> dict[str, Any] | None:
    """The configuration of a stream; None where there is none. Raises `ApiError`, `NoAnswer`."""
    try:
        info = await call(requests, f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.error_code == STREAM_NOT_FOUND:
            return None
        raise
    config: dict[str, Any] = info["config"]
    return config


async def ensure_stream(
    requests: Requests, definition: StreamDefinition, keep: Collection[str] = ()
) -> None:
    """Have the stream exist as defined, but for settings to `keep` as they were when it was made.

    One that differs is updated, which the server refuses for what cannot change. Raises
    `ConfigurationError` with the differences then, where the stream holds subjects that are not
    among those wanted, and where the server refuses to create it; `NoAnswer`, and `ApiError`
    where the server cannot now.
    """
    actual = await stream_config(requests, definition.name)
    if actual is None:
        try:
            await call(requests, f"STREAM.CREATE.{definition.name}", definition.wanted)
        except ApiError as error:
            if error.status_code == UNAVAILABLE:
                raise
            if error.error_code != NAME_IN_USE:
                raise ConfigurationError(
                    f"the stream {definition.name} could not be created: {error.description}"
                ) from error
            # Another instance was quicker; what it made is checked like any other.
            actual = await stream_config(requests, definition.name)
            if actual is None:
                raise NoAnswer(
                    f"the stream {definition.name} is being made, and not all servers know of it",
                    code="no_responders",
                ) from error
        else:
            return
    differences = definition.differences(actual)
    for setting in keep:
        differences.pop(setting, None)
    if not differences:
        return
    # Two prefixes and domains may lead to one name; the stream is the other one's then.
    if foreign := set(actual.get("subjects") or ()) - set(definition.config.get("subjects") or ()):
        raise holds_others(definition.name, sorted(foreign))
    try:
        await call(
            requests,
            f"STREAM.UPDATE.{definition.name}",
            {**actual, **{name: definition.config[name] for name in differences}},
        )
    except ApiError as error:
        if error.status_code == UNAVAILABLE:
            raise
        listed = "; ".join(
            f"{name} is {found!r}, needed is {wanted!r}"
            for name, (wanted, found) in differences.items()
        )
        raise ConfigurationError(
            f"the stream {definition.name} does not fit and the server refuses to change it"
            f" ({error.description}): {listed}"
        ) from error


def holds_others(stream: str, foreign: Sequence[str]) -> ConfigurationError:
    """The error for a stream that holds subjects which it should not."""
    return ConfigurationError(
        f"the stream {stream} holds other subjects: {', '.join(foreign)};"
        " use another prefix, or another account"
    )
