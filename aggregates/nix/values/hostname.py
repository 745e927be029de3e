"""Host names after RFC 1123: labels of 1 to 63 letters, digits and inner hyphens, 253 in all."""

import re
from typing import Annotated

from pydantic import AfterValidator

from aggregates.nix.values.refusal import refused

MAX_HOSTNAME_CHARACTERS = 253

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def is_host(text: str) -> bool:
    """Whether `text` can be the host of a URL: a host name or an IPv4 address."""
    return len(text) <= MAX_HOSTNAME_CHARACTERS and _HOSTNAME.fullmatch(text) is not None


def check_hostname(text: str) -> str:
    """Give back `text` if it is a host name, and no address; raises a `ValueError`."""
    if is_host(text) and not _IPV4.fullmatch(text):
        return text
    raise refused(
        "hostname",
        "is not a host name (RFC 1123); expected labels of 1 to 63 letters, digits and '-' (not at "
        f"an end), joined by dots, at most {MAX_HOSTNAME_CHARACTERS} characters and no IP address",
    )


Hostname = Annotated[str, AfterValidator(check_hostname)]
