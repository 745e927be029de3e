"""`history`: each event of an aggregate, and what it changed."""

from contextlib import aclosing

from rich.text import Text

from cim_domain.cli.options import (
    AggregateKey,
    AggregateName,
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Organization,
    Timeout,
    Url,
)
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.reading.keys import read_id
from cim_domain.cli.rendering.tables import event_dict, event_line, value_text
from cim_domain.cli.session import Session
from cim_domain.errors import NotFound
from cim_domain.inspection.time_travel import (
    Changed,
    changes,
    history_of,
)
from cim_domain.model.messages import Event
from cim_domain.model.metadata import Recorded
from cim_domain.model.records import EventRecord


def history(
    domain: DomainName,
    aggregate: AggregateName,
    key: AggregateKey,
    *,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show each event of an aggregate, and what it changed of the aggregate's state.

    [bold]Example[/bold]

      cim-domain history nix flake /srv/web

    With [bold]--json[/bold] each event is a line of JSON, with the changes by field. Exit code 1:
    there is none. Needs the domain's code.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        found = read_domain(domain)
        model = found.aggregates.get(aggregate)
        identifier = read_id(found.name, organization_id, aggregate, key, model)
        async with session.log(found.name) as log:
            before = None
            async with aclosing(history_of(found, log, aggregate, identifier)) as events:
                async for recorded, after in events:
                    was = before or found.aggregates[aggregate].initial
                    _show_step(session, recorded, changes(was, after))
                    before = after
        if before is None:
            raise NotFound(f"the {aggregate} {identifier} has no event")

    session.run(work)


def _show_step(session: Session, recorded: Recorded[Event], changed: dict[str, Changed]) -> None:
    record = EventRecord(recorded.metadata, recorded.event.model_dump_json().encode())
    if session.json:
        found = {name: {"before": one.before, "after": one.after} for name, one in changed.items()}
        session.output.document({**event_dict(record), "changes": found})
        return
    session.output.show(event_line(record))
    for name, one in changed.items():
        line = Text.assemble(
            "         ", (f"{name} ", "dim"), value_text(one.before), " → ", value_text(one.after)
        )
        session.output.show(line)
