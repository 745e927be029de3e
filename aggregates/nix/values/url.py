"""The parts of a URL, checked. No message shows any of them: a URL may hold what is secret."""

import re
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

from aggregates.nix.values.hostname import is_host
from aggregates.nix.values.paths import check_path
from aggregates.nix.values.refusal import refused
from aggregates.nix.values.text import refuse_control_characters

MAX_URL_CHARACTERS = 4096

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SERVER = re.compile(r"(?:(?P<name>[^:\[\]]+)|\[(?P<ipv6>[^\[\]]*)\])(?::(?P<port>.*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65_535
_URL_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")
_LITERAL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]+")
_QUERY_NAME = re.compile("[A-Za-z]+")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9._~!$'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+")


def refuse_unbounded(kind: str, text: str) -> None:
    """Refuse what no URL may be, whatever its form: empty, too long, many lines, an option."""
    if not text:
        raise refused(kind, "is empty")
    if len(text) > MAX_URL_CHARACTERS:
        raise refused(kind, f"is longer than {MAX_URL_CHARACTERS} characters")
    refuse_control_characters(kind, text)
    if text.startswith("-"):
        raise refused(kind, "begins with '-' and would be taken for an option")


def check_remote(kind: str, rest: str, *, user_allowed: bool = False) -> str:
    """Check ``//host[:port][/path]`` and give back the path, empty if there is none.

    With `user_allowed` (ssh) a user may stand before the host, never a password.
    """
    if not rest.startswith("//"):
        raise refused(kind, "has no host; expected '//' and a host after the scheme")
    authority, slash, path = rest[2:].partition("/")
    user, at, server = authority.rpartition("@")
    if at and not (user_allowed and _USER.fullmatch(user)):
        raise refused(
            kind,
            "has a user or password before its host; expected none, since a URL is stored and "
            "shown: credentials belong in the configuration of the service",
        )
    check_host(kind, server)
    if slash:
        check_url_path(kind, slash + path)
    return slash + path


def check_host(kind: str, server: str) -> None:
    """Refuse what is not a host name or an address, with a port or without."""
    found = _SERVER.fullmatch(server)
    if not found or not (is_host(found["name"]) if found["name"] else _is_ipv6(found["ipv6"])):
        raise refused(kind, "has no valid host; expected a host name or an IP address")
    port = found["port"]
    if port is not None and not (_PORT.fullmatch(port) and int(port) <= _MAX_PORT):
        raise refused(kind, f"has no valid port; expected a number from 1 to {_MAX_PORT}")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def check_url_path(kind: str, path: str) -> None:
    """Refuse a path that is not written as URLs are, or that leads elsewhere once decoded."""
    if not _URL_PATH.fullmatch(path):
        raise refused(kind, "has a character in its path that a URL must percent-encode")
    if any(segment in (".", "..") for segment in percent_decoded(kind, path).split("/")):
        raise refused(kind, "has a '.' or '..' segment in its path")


def check_local_path(kind: str, path: str) -> None:
    """Refuse a path on this machine that is not canonical, or that not every Nix reads alike.

    Some versions decode ``%20`` and some do not: neither it nor what would need it is allowed.
    """
    check_path(path, kind)
    if not _LITERAL_PATH.fullmatch(path):
        raise refused(
            kind,
            "has a character in its path that stands for itself in no URL (a space, '%', a letter "
            "beyond ASCII, ...)",
        )


def percent_decoded(kind: str, text: str) -> str:
    """`text` with its percent-encodings read as UTF-8, without control characters."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError:
        raise refused(kind, "has a percent-encoding that is not UTF-8") from None
    refuse_control_characters(kind, decoded)
    return decoded


def split_query(query: str) -> tuple[tuple[str, str], ...]:
    """The names and values of ``a=1&b=2`` as they are written."""
    parameters = (parameter.partition("=") for parameter in query.split("&"))
    return tuple((name, value) for name, _, value in parameters)


def refuse_malformed_parameter(kind: str, name: str, value: str) -> None:
    """Refuse a parameter that does not stand in a query as ``name=value``."""
    if not (_QUERY_NAME.fullmatch(name) and _QUERY_VALUE.fullmatch(value)):
        raise refused(kind, "has a malformed query; expected name=value, joined by '&'")
