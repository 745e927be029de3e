"""What the kit needs of a server, checked before anything is done with it."""

from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import ApiError, call

OLDEST = (2, 15, 0)
"""Earlier servers lack features, or check batches over several aggregates wrongly."""

JETSTREAM_NOT_ENABLED = 10076
JETSTREAM_NOT_ENABLED_FOR_ACCOUNT = 10039


async def require_server(link: Link) -> None:
    """Raise `ConfigurationError` for a server too old, or without JetStream for this account."""
    version = link.client.connected_server_version
    if (version.major, version.minor, version.patch) < OLDEST:
        raise ConfigurationError(
            f"nats-server {version.major}.{version.minor}.{version.patch} is too old:"
            f" {'.'.join(map(str, OLDEST))} or later is needed"
        )
    await require_jetstream(link)


async def require_jetstream(link: Link) -> None:
    """Raise `ConfigurationError` where JetStream is not enabled, `Unavailable` where it is away."""
    try:
        await call(link.requests, "INFO")
    except ApiError as error:
        if error.error_code in {JETSTREAM_NOT_ENABLED, JETSTREAM_NOT_ENABLED_FOR_ACCOUNT}:
            raise ConfigurationError(
                "JetStream is not enabled for this account: start nats-server with -js, or add"
                " jetstream to its configuration"
            ) from error
        raise Unavailable(f"JetStream cannot work now: {error.description}") from error
    except NoAnswer as error:
        if error.code == "no_responders":
            raise ConfigurationError(
                "the server has no JetStream: start nats-server with -js, or add a jetstream block"
                " to its configuration"
            ) from error
        raise
