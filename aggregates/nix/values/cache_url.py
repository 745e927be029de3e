"""Binary caches that store paths are copied to.

Nix takes settings from a store's query, among them the file of a signing key, so there is none:
whoever copies writes the query.
"""

import re
from typing import Annotated

from aggregates.nix.values.refusal import refused, url_validator
from aggregates.nix.values.url import (
    check_local_path,
    check_remote,
    check_url_path,
    refuse_unbounded,
)

_KIND = "cache_url"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_cache_url(text: str) -> str:
    """Give back `text` if it is ``file:///path``, ``https://host[/path]`` or ``s3://bucket[/path]``.

    At most 4096 characters; no user, password, query or fragment. Raises a `ValueError`.
    """
    refuse_unbounded(_KIND, text)
    if "?" in text or "#" in text:
        raise refused(_KIND, "has a query or a fragment; expected none")
    scheme, _, rest = text.partition(":")
    if scheme == "file" and rest.startswith("///"):
        check_local_path(_KIND, rest[2:])
    elif scheme == "https":
        check_remote(_KIND, rest)
    elif scheme == "s3" and rest.startswith("//"):
        _check_bucket(rest[2:])
    else:
        raise refused(
            _KIND, "is not a cache; expected file:///path, https://host/path or s3://bucket/path"
        )
    return text


def _check_bucket(rest: str) -> None:
    bucket, slash, path = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise refused(
            _KIND,
            "has no valid bucket; expected 3 to 63 lower case letters, digits, '-' or '.', without "
            "user and password",
        )
    if slash:
        check_url_path(_KIND, slash + path)


CacheUrl = Annotated[str, url_validator(_KIND, check_cache_url)]
