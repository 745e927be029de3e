"""The address of a NATS server, with what it may say about who connects.

A URL may hold a user, ``nats://user:password@host:4222``. That part is a secret: no printed form
of a `ServerUrl` shows it, and `redacted` takes it out of any text that is a URL.
"""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Secret

DEFAULT_PORT = 4222
SCHEMES = ("nats", "tls")

_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE | re.DOTALL)
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]")


def redacted(url: str) -> str:
    """The URL as it may be printed, ``nats://***@host:4222``; also of what is no proper URL."""
    return _USERINFO.sub(lambda match: f"{match[1] or ''}***@", url)


class ServerUrl(Secret[str]):
    """The URL of a server; `str` and `repr` show it redacted, `get_secret_value` shows it whole."""

    def _display(self) -> str:
        return redacted(self.get_secret_value())

    @property
    def address(self) -> str:
        """Scheme, host and port alone: ``nats://host:4222``."""
        parts = self._parts()
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def encrypted(self) -> bool:
        """Whether the connection must not be in clear text: the scheme is ``tls``."""
        return self._parts().scheme == "tls"

    @property
    def userinfo(self) -> tuple[str, str | None] | None:
        """User and password; a user alone is a token. None when the URL names nobody."""
        parts = self._parts()
        if not parts.username:
            return None
        password = parts.password
        return unquote(parts.username), None if password is None else unquote(password)

    def _parts(self) -> SplitResult:
        return urlsplit(self.get_secret_value())


def server_url(text: str) -> ServerUrl:
    """Read ``host``, ``host:port`` or a whole URL; ``nats://`` and port 4222 are what is left out.

    Raises `ValueError`, which quotes nothing: where a URL is malformed, a password can be anywhere.
    """
    if not text or _NOT_PLAIN.search(text):
        raise ValueError("is empty or has blanks in it; write nats://host:4222")
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError("has no proper host and port; write nats://host:4222") from None
    if parts.scheme not in SCHEMES:
        raise ValueError("has a scheme that is not spoken here; use nats:// or tls://")
    if not parts.hostname:
        raise ValueError("names no host; write nats://host:4222")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("has more than a host and a port; write nats://host:4222")
    before, at, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return ServerUrl(f"{parts.scheme}://{before}{at}{host}:{port}")
