"""Finding and keeping what came of commands that left no trace in the log, many at a time."""

import asyncio
from collections.abc import Mapping, Sequence

from cim_domain.deciding import NOTHING_KEPT, CommandRequest
from cim_domain.errors import RequestError
from cim_domain.history import Known
from cim_domain.metadata import Metadata
from cim_domain.outcome import Outcome
from cim_domain.refusals import Refusals


async def find_all(
    refusals: Refusals | None,
    known: Known,
    requests: Sequence[CommandRequest],
    found: Mapping[str, Outcome] = NOTHING_KEPT,
) -> Mapping[str, Outcome]:
    """What is kept of the commands, by their ids, beside what was `found` already.

    Raises as `Refusals.find` does.
    """
    if refusals is None:
        return NOTHING_KEPT
    asked = {
        one.metadata.message_id: one.metadata
        for one in requests
        if one.repeatable
        and refusals.may_have(one.metadata)
        and one.metadata.message_id not in found
        and not known.commands.get(one.metadata.message_id)
    }
    if not asked:
        return found
    kept = await asyncio.gather(*map(refusals.find, asked.values()))
    return {**found, **{id_: one for id_, one in zip(asked, kept, strict=True) if one}}


async def keep_all(
    refusals: Refusals, answers: Sequence[tuple[CommandRequest, Outcome]]
) -> dict[str, Outcome]:
    """Keep what commands are to be answered; what they are to be answered then, by their ids."""
    first: dict[str, tuple[Metadata, Outcome]] = {}
    for request, outcome in answers:
        first.setdefault(request.metadata.message_id, (request.metadata, outcome))
    kept = await asyncio.gather(*(_keep(refusals, *one) for one in first.values()))
    return dict(zip(first, kept, strict=True))


async def _keep(refusals: Refusals, command: Metadata, outcome: Outcome) -> Outcome:
    try:
        return await refusals.keep(command, outcome)
    except RequestError as error:
        # It had no effect, and could be answered all the same. But whoever is told that it was
        # rejected takes that for the last word, and it would be decided anew when it comes again.
        return Outcome.refused(error, command)
