"""What a shell may put in the place of what is half written: domains, subjects, types, names.

A shell waits for it at every key, and shows nothing but what it gives: whatever stands in the way
is no completion. What is loaded here is loaded when somebody asks.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import typer

Complete = Callable[[typer.Context, str], list[str]]


def domains(_: typer.Context, incomplete: str) -> list[str]:
    """The names of the domains that are found by name."""
    return _beginning(incomplete, _domain_names())


def aggregates(ctx: typer.Context, incomplete: str) -> list[str]:
    """The aggregates of the domain that was said before."""
    return _beginning(incomplete, getattr(_domain(ctx.params.get("domain")), "aggregates", ()))


def subjects(*kinds: str) -> Complete:
    """Subjects of these kinds, the first of them where there is a choice; or types, of a domain
    that was said beside them.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        if said := ctx.params.get("domain"):
            return _beginning(incomplete, _types(_domain(said), kinds[0]))
        name, dot, rest = incomplete.partition(".")
        if not dot:
            return [f"{one}.{kinds[0]}." for one in _beginning(name, _domain_names())]
        kind = next((one for one in kinds if rest.startswith(f"{one}.")), kinds[0])
        types = _types(_domain(name), kind)
        return _beginning(incomplete, (f"{name}.{kind}.{one}" for one in types))

    return complete


def _types(domain: Any, kind: str) -> Iterable[str]:
    if domain is None:
        return ()
    found: Iterable[str] = domain.queries if kind == "query" else domain.commands
    return found


def _domain_names() -> tuple[str, ...]:
    from cim_domain.cli.places import find_code_in  # noqa: PLC0415
    from cim_domain.model.discovery import WRITE_SIDE, names_in  # noqa: PLC0415

    with suppress(Exception):
        find_code_in(os.getcwd())  # noqa: PTH109 - a string is what goes there
        return names_in(WRITE_SIDE)
    return ()


def _domain(said: Any) -> Any:
    from cim_domain.cli.reading.domain import read_domain  # noqa: PLC0415

    with suppress(Exception, SystemExit):
        return read_domain(said)
    return None


def _beginning(incomplete: str, found: Iterable[str]) -> list[str]:
    return sorted(one for one in found if one.startswith(incomplete))
