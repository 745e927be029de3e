"""How a connection proves who it is, and how it knows whom it talks to."""

import base64
import logging
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nats.errors

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.problems import shown
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.config.urls import ServerUrl

logger = logging.getLogger("cim_domain.nats")

_JWT = re.compile(rb"-----BEGIN NATS USER JWT-----\s+(\S+)\s")
_SEED = re.compile(rb"-----BEGIN USER NKEY SEED-----\s+(\S+)\s")


def identity_options(settings: NatsSettings, urls: Sequence[ServerUrl]) -> dict[str, Any]:
    """The options of nats-py that say who connects; empty when the settings name nobody.

    A user in one of the `urls` comes before what the settings say. Raises `ConfigurationError` for
    a file whose content is no key, and for URLs that name different users.
    """
    named = {url.userinfo for url in urls if url.userinfo}
    if len(named) > 1:
        raise ConfigurationError(f"{shown(['urls'])}: name different users; name one")
    # Taken out of the URL, because nats-py shows URLs whole, and because the servers of a cluster
    # that are learned of later come without.
    for user, password in named:
        return {"token": user} if password is None else {"user": user, "password": password}
    if settings.credentials_file:
        return _credentials_options(settings.credentials_file)
    if settings.nkey_seed_file:
        return _nkey_options(settings.nkey_seed_file)
    if settings.token:
        return {"token": settings.token.get_secret_value()}
    if settings.user and settings.password:
        return {"user": settings.user, "password": settings.password.get_secret_value()}
    return {}


def identity_settings(settings: NatsSettings) -> str:
    """The names of the settings that say who connects, for an error about them."""
    if settings.credentials_file:
        return shown(["credentials_file"])
    if settings.nkey_seed_file:
        return shown(["nkey_seed_file"])
    if settings.token:
        return shown(["token"])
    if settings.user:
        return f"{shown(['user'])} and {shown(['password'])}"
    return f"{shown(['urls'])}, {shown(['user'])} or another setting that says who connects"


def tls_context(settings: NatsSettings) -> ssl.SSLContext:
    """Verifies servers, by `tls_ca` or else the system's authorities; shows `tls_cert` if there.

    Raises `ConfigurationError` for files that hold no certificate or key, or no pair.
    """
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(
            f"{shown(['tls_ca'])}: {settings.tls_ca} holds no PEM certificate"
        ) from None
    if settings.tls_cert and settings.tls_key:
        try:
            # A key with a passphrase is refused: asking for one would wait at the terminal.
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        except (ssl.SSLError, OSError):
            raise ConfigurationError(
                f"{shown(['tls_cert'])}, {shown(['tls_key'])}: {settings.tls_cert} and "
                f"{settings.tls_key} are no PEM certificate with its key, without a passphrase"
            ) from None
    return context


class TlsFiles:
    """The TLS context of one connection, read anew for every attempt to connect.

    Certificates are renewed while a service runs, and the authority behind them may change. Raises
    as `tls_context` does, once: files that later are no good, as in the middle of a renewal, leave
    the context as it was.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._context = tls_context(settings)

    def context(self) -> ssl.SSLContext:
        """What the files hold now."""
        try:
            self._context = tls_context(self._settings)
        except ConfigurationError as error:
            logger.warning("%s; what was read before is used", error)
        return self._context


def _nkey_options(path: Path) -> dict[str, Any]:
    """The file itself, which `HardenedClient` has read at each connect."""
    # Here, so that nobody waits for a library of cryptography who has no key.
    import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        nkeys.from_seed(bytearray(path.read_bytes().strip()))
    except (nkeys.NkeysError, ValueError, OSError):
        raise ConfigurationError(
            f"{shown(['nkey_seed_file'])}: {path} holds no seed; its one line begins with SU"
        ) from None
    return {"nkeys_seed": str(path)}


def _credentials_options(path: Path) -> dict[str, Any]:
    """Callbacks that read the file at each connect, so that renewed credentials are taken up.

    Not nats-py's own: with a file that is cut short, those never return.
    """

    import nkeys  # noqa: PLC0415 - as above

    def jwt() -> bytes:
        return _part(_JWT, path)

    def signature(nonce: str) -> bytes:
        try:
            pair = nkeys.from_seed(bytearray(_part(_SEED, path)))
        except (nkeys.NkeysError, ValueError):
            raise nats.errors.InvalidUserCredentialsError from None
        return base64.b64encode(pair.sign(nonce.encode()))

    try:
        jwt()
        signature("probe")
    except (nats.errors.InvalidUserCredentialsError, OSError):
        raise ConfigurationError(
            f"{shown(['credentials_file'])}: {path} holds no user's JWT and seed; "
            "write it with: nsc generate creds"
        ) from None
    return {"user_jwt_cb": jwt, "signature_cb": signature}


def _part(pattern: re.Pattern[bytes], path: Path) -> bytes:
    found = pattern.search(path.read_bytes())
    if found is None:
        raise nats.errors.InvalidUserCredentialsError
    return found[1]
