"""Reading what a command is about: a subject in full, or short with the domain beside it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from uuid import UUID

import orjson

from cim_domain.cli.exit_codes import usage
from cim_domain.cli.reading.domain import read_domain_name
from cim_domain.errors import ModelError
from cim_domain.model.subjects import Subjects

Kind = Literal["cmd", "submit", "query"]

_COMMANDS: Mapping[str, str] = {
    "cmd": "send",
    "submit": "submit",
    "query": "query",
    "event": "events",
}

_ALSO: Mapping[Kind, str] = {"submit": "cmd"}
"""Another kind of subject that says the same: the command is one, however it is sent."""

_LARGEST = 64 * 1024 * 1024
"""Bytes: no server can be told to take larger messages."""


def read_subject(text: str, kind: Kind, domain: str | None, prefix: str) -> tuple[Subjects, str]:
    """The domain's subjects and the message's type.

    `text` is ``nix.cmd.flake.create``, with a prefix in front or, where it has none, with the
    configured one; or ``flake.create``, and then `domain` says whose: a name, or a place in code.
    Ends the command over anything else.
    """
    if domain is not None:
        domain = read_domain_name(domain)
    tokens = text.split(".")
    if len(tokens) == 2:
        if domain is None:
            usage(f"{text!r} names no domain: write DOMAIN.{kind}.{text}, or add --domain DOMAIN")
        return _subjects(domain, prefix), text
    if len(tokens) < 4:
        usage(f"{text!r} is no subject: expected DOMAIN.{kind}.AGGREGATE.ACTION")
    *before, name, found, aggregate, action = tokens
    if found not in {kind, _ALSO.get(kind)}:
        if found in _COMMANDS:
            usage(f"{text!r} is for `cim-domain {_COMMANDS[found]}`, and here is DOMAIN.{kind}")
        usage(f"{text!r} is no subject: expected DOMAIN.{kind}.AGGREGATE.ACTION")
    if domain not in {None, name}:
        usage(f"{text!r} is of the domain {name!r}, and --domain says {domain!r}")
    return _subjects(name, ".".join(before) or prefix), f"{aggregate}.{action}"


def read_payload(text: str) -> bytes:
    """The JSON that is given: as it is, ``-`` for standard input, ``@FILE`` for a file's.

    Ends the command where it is no JSON object, and for a file that cannot be read.
    """
    if text == "-":
        data, place = sys.stdin.buffer.read(_LARGEST + 1), "standard input"
    elif text.startswith("@"):
        data, place = _content(Path(text[1:])), text[1:]
    else:
        data, place = text.encode(errors="surrogateescape"), "the argument"
    if len(data) > _LARGEST:
        usage(f"{place} has more than {_LARGEST} bytes, which no server takes")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        usage(f"{place} is no JSON: {error}")
    if not isinstance(value, dict):
        usage(f'{place} is JSON, but no object: expected {{"field": value, ...}}')
    return data


def read_meta(given: Sequence[str] | None) -> dict[str, str]:
    """Each ``NAME=VALUE``. Ends the command over anything else, and over a name twice."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            usage(f"--meta {text!r}: expected NAME=VALUE, and each name once")
        found[name] = value
    return found


def id_text(given: UUID | None) -> str | None:
    """An id as it goes into a header, if one is given."""
    return None if given is None else str(given)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except OSError as error:
        usage(f"{path} cannot be read: {error.strerror}")


def _subjects(domain: str, prefix: str) -> Subjects:
    try:
        return Subjects(domain, prefix)
    except ModelError as error:
        usage(str(error))
