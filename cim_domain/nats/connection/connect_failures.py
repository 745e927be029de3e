"""Why a first connect failed: nobody there, not let in, or no trust; and what to do about each."""

import ssl
from collections.abc import Sequence
from typing import Literal

import nats.errors
from attrs import define, field

from cim_domain.errors import Unavailable
from cim_domain.nats.config.problems import shown
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.authentication import identity_settings

Code = Literal["unavailable", "authorization", "tls"]


@define
class ConnectFailures:
    """The failed attempts of one connect."""

    _settings: NatsSettings
    _addresses: Sequence[str]
    _errors: list[tuple[Code, Exception]] = field(init=False, factory=list)

    def add(self, error: Exception, *, wants_certificate: bool) -> None:
        """Note a failed attempt.

        Raises `Unavailable`, which ends the connect, once every server was tried and waiting
        cannot help: it refuses, or cannot be trusted. A server that is away may still come.
        """
        code = _code(error, wants_certificate=wants_certificate)
        self._errors.append((code, error))
        if code != "unavailable" and len(self._errors) >= len(self._addresses):
            raise self.error()

    def error(self) -> Unavailable:
        """What to raise; a refusal says more than a server that is away."""
        for code in ("authorization", "tls"):
            for found, error in self._errors:
                if found == code:
                    return self._refusal(found, error)
        return self._away()

    def _refusal(self, code: Code, error: Exception) -> Unavailable:
        where = ", ".join(self._addresses)
        if code == "authorization":
            return Unavailable(
                f"authorization failed at {where}: {_text(error)}; "
                f"check {identity_settings(self._settings)}",
                code=code,
            )
        return Unavailable(f"TLS failed at {where}: {self._tls_problem(error)}", code=code)

    def _tls_problem(self, error: Exception) -> str:
        if isinstance(error, nats.errors.SecureConnWantedError):
            return f"the server does not encrypt; switch TLS on there, or use nats:// in {_URLS}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the server's certificate is not trusted: {error.verify_message}; "
                f"set {shown(['tls_ca'])} to its authority, or use a name the certificate has"
            )
        if self._settings.tls_cert is None:
            return (
                f"the server wants a certificate; set {_CERTIFICATE}; it hung up ({_text(error)})"
            )
        return f"the server did not take the certificate; check {_CERTIFICATE} ({_text(error)})"

    def _away(self) -> Unavailable:
        last = f" ({_text(self._errors[-1][1])})" if self._errors else ""
        return Unavailable(
            f"no NATS server answers at {', '.join(self._addresses)} within "
            f"{self._settings.connect_timeout:g} s{last}; start one, or correct {_URLS}"
        )


_URLS = shown(["urls"])
_CERTIFICATE = f"{shown(['tls_cert'])} and {shown(['tls_key'])}"


def _code(error: Exception, *, wants_certificate: bool) -> Code:
    if isinstance(error, ssl.SSLError | nats.errors.SecureConnWantedError):
        return "tls"
    # TLS 1.3 ends a handshake before the server has looked at the client's certificate, so that a
    # refusal is a connection that breaks off.
    if wants_certificate and isinstance(error, ConnectionError | nats.errors.UnexpectedEOF):
        return "tls"
    # The protocol has no codes: what the server says when it refuses is this text.
    text = str(error).lower()
    if "authorization violation" in text or "authentication" in text:
        return "authorization"
    return "unavailable"


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
