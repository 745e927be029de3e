"""A small domain for tests of what is around a model: notes, what is made of them, who may."""

from typing import Any, Self

from attrs import evolve, frozen

from cim_domain import (
    Aggregate,
    Command,
    Domain,
    Event,
    Metadata,
    Process,
    Projection,
    Query,
    Rejected,
    View,
    Views,
    answers,
    decides,
    evolves,
    projects,
    reacts,
)


class WriteNote(Command, type="note.write"):
    name: str


class StampNote(Command, type="note.stamp"):
    name: str


class NoteWritten(Event, type="note.written"):
    name: str


class NoteStamped(Event, type="note.stamped"):
    name: str


@frozen
class Note(Aggregate, key="name"):
    written: bool = False

    @decides
    def write(self, command: WriteNote) -> NoteWritten:
        if self.written:
            raise Rejected("note.exists", f"{command.name} is written already")
        return NoteWritten(name=command.name)

    @decides
    def stamp(self, command: StampNote) -> NoteStamped:
        return NoteStamped(name=command.name)

    @evolves
    def was_written(self, event: NoteWritten) -> Self:
        return evolve(self, written=True)

    @evolves
    def was_stamped(self, event: NoteStamped) -> Self:
        return self


class NoteView(View, name="note"):
    name: str
    written_by: str | None
    stamped_by: str | None = None
    request: str | None = None


class GetNote(Query, type="note.get"):
    name: str


class AskWho(Query, type="note.who"):
    pass


class Notes(Projection):
    @projects
    def written(self, _: NoteView | None, event: NoteWritten, metadata: Metadata) -> NoteView:
        return NoteView(
            name=event.name,
            written_by=metadata.actor_id,
            request=metadata.meta.get("Request-ID"),
        )

    @projects
    def stamped(
        self, view: NoteView | None, event: NoteStamped, metadata: Metadata
    ) -> NoteView | None:
        return view and view.model_copy(update={"stamped_by": metadata.actor_id})

    @answers
    async def get(self, query: GetNote, views: Views) -> NoteView | None:
        found = await views.find(NoteView)
        return next((one for one in found.items if one.name == query.name), None)

    @answers
    async def who(self, query: AskWho, views: Views, metadata: Metadata) -> dict[str, Any]:
        return {
            "actor": metadata.actor_id,
            "meta": dict(metadata.meta),
            "type": metadata.message_type,
            "organization": metadata.organization_id,
        }


class Stamping(Process):
    @reacts
    async def stamp(self, event: NoteWritten) -> StampNote:
        return StampNote(name=event.name)


def notes(**more: Any) -> Domain:
    return Domain("notes", aggregates=[Note], projections=[Notes()], processes=[Stamping()], **more)
