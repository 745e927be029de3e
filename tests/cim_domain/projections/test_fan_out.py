"""A method that is called for several views on one event learns for which."""

import pytest

from cim_domain import Domain, Event, Metadata, ModelError, Projection, View, projects
from cim_domain.dead_letters import MemoryDeadLetters
from cim_domain.model.subjects import Subjects
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import event, new_id
from cim_domain.views.memory.database import MemoryViews
from tests.cim_domain.tallies import Added, Tally


class LetterView(View, name="letter"):
    letter: str
    sequence: int = 0


def spelling(sequence_first: bool) -> type[Projection]:
    if sequence_first:

        class Letters(Projection, name="letters"):
            @projects(key=lambda event, _: tuple(event.name))
            def added(
                self, view: LetterView | None, event: Added, metadata: Metadata, key: str
            ) -> LetterView:
                return LetterView(letter=key, sequence=metadata.sequence)

    else:

        class Letters(Projection, name="letters"):  # type: ignore[no-redef]
            @projects(key=lambda event, _: tuple(event.name))
            def added(self, view: LetterView | None, event: Added, key: str) -> LetterView:
                return LetterView(letter=key)

    return Letters


@pytest.mark.parametrize("with_metadata", [False, True])
async def test_a_fan_out_method_learns_which_key_it_is_called_for(with_metadata):
    domain = Domain("sums", aggregates=[Tally], projections=[spelling(with_metadata)()])
    log, views = MemoryEvents(), MemoryViews()
    record = event(new_id(), 1, "tally.added", b'{"name": "ab", "amount": 1, "note": ""}')
    await log.append([Commit("tally", record.metadata.aggregate_id, START, (record,))])
    (model,) = domain.projections.values()
    runner = ProjectionRunner(domain, model, log, views, MemoryDeadLetters(), Subjects("sums"))
    await runner.open()
    runner.start()
    await runner.reached(1, 5)
    reader = (await views.open(model)).reader(None)
    sequence = 1 if with_metadata else 0
    for letter in "ab":
        found = await reader.get(LetterView, letter)
        assert found == LetterView(letter=letter, sequence=sequence)
    await runner.stop()


class Struck(Event, type="tally.struck"):
    """An event that only the models below take."""


class ANumber(Projection):
    @projects
    def struck(self, view: LetterView | None, event: Struck, key: int) -> None: ...


class TwoKeys(Projection):
    @projects
    def struck(self, view: LetterView | None, event: Struck, key: str, other: str) -> None: ...


@pytest.mark.parametrize("model", [ANumber, TwoKeys])
def test_what_comes_behind_the_event_is_metadata_or_the_key(model):
    with pytest.raises(ModelError, match=r"struck.*annotated with Metadata, or with str"):
        Domain("sums", aggregates=[Tally], projections=[model()])
