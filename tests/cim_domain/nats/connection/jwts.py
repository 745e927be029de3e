"""Keys and JWTs for servers in operator mode, as nsc would make them."""

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

import nkeys
from attrs import field, frozen

UNLIMITED: Mapping[str, Any] = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1
) | {"wildcards": True}
STORAGE: Mapping[str, Any] = dict.fromkeys(
    ("mem_storage", "disk_storage", "streams", "consumer"), -1
)


def seed(prefix: int) -> bytes:
    encoded: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return encoded


def public(of: bytes) -> str:
    key: bytes = nkeys.from_seed(bytearray(of)).public_key
    return key.decode().rstrip("=")


def jwt(
    signer: bytes, subject: str, registered: Mapping[str, Any] | None = None, **claims: Any
) -> str:
    """A NATS JWT (version 2), signed with the seed of an operator or account."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    pair = nkeys.from_seed(bytearray(signer))
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    body = {
        "jti": subject, "iat": 1, "iss": public(signer), "sub": subject, "name": "test",
        "nats": {"version": 2, **claims}, **(registered or {}),
    }  # fmt: skip
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{encoded(pair.sign(text.encode()))}"


def credentials(token: str, of: bytes) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{of.decode()}\n------END USER NKEY SEED------\n"
    )


class Issuer:
    """An operator with one account, which gives users credentials."""

    def __init__(self) -> None:
        self._account = seed(nkeys.PREFIX_BYTE_ACCOUNT)
        operator = seed(nkeys.PREFIX_BYTE_OPERATOR)
        account = jwt(operator, public(self._account), type="account", limits=UNLIMITED)
        self.config = (
            f"operator: {jwt(operator, public(operator), type='operator')}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {public(self._account)}: {account} }}"
        )

    def user(self, **registered: Any) -> str:
        mine = seed(nkeys.PREFIX_BYTE_USER)
        unlimited = {"subs": -1, "data": -1, "payload": -1}
        return credentials(
            jwt(self._account, public(mine), registered, type="user", **unlimited), mine
        )


@frozen
class Operator:
    """An operator with one account beside the system's, for servers with JetStream."""

    _own: bytes = field(factory=lambda: seed(nkeys.PREFIX_BYTE_OPERATOR), init=False)
    _account: bytes = field(factory=lambda: seed(nkeys.PREFIX_BYTE_ACCOUNT), init=False)
    _system: bytes = field(factory=lambda: seed(nkeys.PREFIX_BYTE_ACCOUNT), init=False)

    def config(self, **limits: int) -> str:
        """The server's configuration; `limits` are the account's, as its JWT names them."""
        account = {**UNLIMITED, **STORAGE, **limits}
        system, mine = public(self._system), public(self._account)
        return (
            f"operator: {jwt(self._own, public(self._own), type='operator')}\n"
            f"system_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n"
            f"{system}: {jwt(self._own, system, type='account', limits=UNLIMITED)}\n"
            f"{mine}: {jwt(self._own, mine, type='account', limits=account)}\n}}\n"
        )

    def user(self, payload: int = -1) -> str:
        """A file of credentials, of a user that may send so many bytes at once."""
        mine = seed(nkeys.PREFIX_BYTE_USER)
        claims = {"type": "user", "subs": -1, "data": -1, "payload": payload}
        return credentials(jwt(self._account, public(mine), **claims), mine)
