"""Looking for events that the code at hand cannot read. Nothing is changed."""

import asyncio

from cim_domain.cli.doctor.findings import Finding
from cim_domain.errors import RequestError
from cim_domain.inspection.unknown_events import LogExamination
from cim_domain.model.domain import Domain
from cim_domain.store.port import EventStore

NAME = "events"

PATIENCE = 30.0
"""Seconds for a long log."""


async def log_contents(log: EventStore, code: Domain) -> list[Finding]:
    """What the log holds that the code does not know, cannot read, or does not find any more."""
    try:
        async with asyncio.timeout(PATIENCE):
            found = await LogExamination(code, log).look()
    except TimeoutError:
        text = f"were not looked at to the end in {PATIENCE:g} s"
        return [Finding(NAME, "warn", text, "ask a running service: its health has `events`")]
    except RequestError as error:
        return [Finding(NAME, "fail", error.message, "see the server's log")]
    ignored = [
        Finding(
            NAME,
            "ok",
            f"of {name} the code ignores what was stored as {', '.join(fields)}",
            "if it was renamed, give the event a new version and an upcaster",
        )
        for name, fields in sorted(found.ignored.items())
    ]
    if said := (*found.problems.values(), *found.hints.values()):
        parts = [sentence.partition(": ") for sentence in said]
        warnings = [Finding(NAME, "warn", f"the log holds {text}", more) for text, _, more in parts]
        return [*warnings, *ignored]
    looked = f"{found.head} are of types that the code has"
    if found.since > 1:
        looked += f"; those from {found.since} on can be read"
    return [Finding(NAME, "ok", looked), *ignored]
