"""What a process sent in vain is seen by whoever looks for what led to what."""

import asyncio
from pathlib import Path

import orjson

from cim_domain import Command, Domain, Process, reacts
from cim_domain.cli.output import Output
from cim_domain.cli.rendering.causation import causation_tree
from cim_domain.client import DomainClient
from cim_domain.errors import NotFound, RequestError
from cim_domain.inspection import causation, rejections
from cim_domain.integrations.prometheus import PrometheusObserver
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import load_settings
from cim_domain.nats.connection.link import Link
from cim_domain.service.service import Service
from cim_domain.service.settings import load_service_settings
from tests.cim_domain.tallies import Add, Renamed, Tallies, Tally


class Echo(Process):
    """Sends a command that is accepted between two that are not."""

    @reacts
    async def renamed(self, event: Renamed) -> list[Command]:
        refused = [Add(name=name, amounts=(-1,)) for name in ("x", "z")]
        return [refused[0], Add(name="y"), refused[1]]


DOMAIN = Domain("sums", aggregates=[Tally], projections=[Tallies()], processes=[Echo()])


async def test_a_rejected_command_of_a_process_hangs_below_its_event(
    link: Link, subjects: Subjects, nats_url: str, tmp_path: Path
) -> None:
    nats = load_settings(url=nats_url, subject_prefix=subjects.prefix, data_directory=tmp_path)
    metrics = PrometheusObserver(DOMAIN)
    client = DomainClient(link, Subjects("sums", subjects.prefix))

    async def rejection(command_id: str, organization_id: str | None) -> RequestError | None:
        try:
            return (await client.status(command_id, organization_id=organization_id)).error
        except NotFound:
            return None

    settings = load_service_settings(views="memory")
    async with Service(DOMAIN, nats, settings, observer=metrics):
        body = orjson.dumps({"name": "a", "title": "first"})
        await link.requests.one(client.subjects.command("tally.rename"), body, timeout=10)
        async with asyncio.timeout(15):
            found: dict[str, RequestError] = {}
            while len(found) < 2:
                records = [record async for record in client.events()]
                found = await rejections(records, ["nobody", "echo"], rejection)
    (root,) = causation(records, ["nobody", "echo"], found)
    (renamed,) = root.events
    assert [
        (one.process, len(one.events), one.error.code if one.error else "")
        for one in renamed.commands
    ] == [("echo", 1, ""), ("echo", 0, "tally.negative"), ("echo", 0, "tally.negative")]
    labels = {"domain": "sums", "process": "echo", "code": "tally.negative"}
    assert metrics.registry.get_sample_value("cim_domain_process_rejections_total", labels) == 2
    output = Output()
    with output.console.capture() as captured:
        output.show(causation_tree(root.command_id, records, ["echo"], found))
    assert captured.get().count("rejected: tally.negative: ") == 2
