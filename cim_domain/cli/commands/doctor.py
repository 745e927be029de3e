"""`doctor`: looks at everything that a service needs, and says what to do."""

from typing import Annotated

import typer

from cim_domain.cli.doctor.examination import (
    clock,
    consumers,
    dead_letters,
    jetstream,
    service,
    streams,
    version,
)
from cim_domain.cli.doctor.findings import Finding, lines, report, worst
from cim_domain.cli.doctor.leftovers import leftover_views
from cim_domain.cli.doctor.log_contents import log_contents
from cim_domain.cli.doctor.views_file import views_file
from cim_domain.cli.exit_codes import UNREACHABLE, Refused
from cim_domain.cli.options import Config, DataDirectory, Debug, Json, Timeout, Url
from cim_domain.cli.reading.domain import read_domain, read_domain_name
from cim_domain.cli.session import Session
from cim_domain.errors import ConfigurationError, LoadError, ModelError, Unavailable
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.streams import stream_config
from cim_domain.service.settings import ServiceSettings, load_service_settings
from cim_domain.store.jetstream import JetStreamEvents, log_identity, partitioned


def doctor(
    domain: Annotated[
        str | None,
        typer.Argument(
            metavar="[DOMAIN]",
            help="Look at this domain's streams and service, too: nix, or MODULE:ATTRIBUTE.",
        ),
    ] = None,
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at server, streams, service, consumers and views, and say what to do.

    [bold]Examples[/bold]

      cim-domain doctor

      cim-domain doctor nix --url nats://nats.example.org:4222

    Nothing is changed. Each line is ok, warn or fail. Exit codes: 0 ok, also with warnings; 1
    something fails; 3 no server.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        nats, settings = session.settings(), load_service_settings()
        name = read_domain_name(domain) if domain else None
        subjects = Subjects(name, nats.subject_prefix) if name else None
        findings = [views_file(settings, nats, subjects.domain)] if subjects else []
        code, of_code = _code(domain)
        findings += of_code
        try:
            async with session.link(nats) as link:
                looked = await _over(link, subjects, nats, settings, code)
                if code and subjects and worst([*looked, *findings]) != "fail":
                    findings += await _left_over(link, subjects, nats, settings, code)
                findings = [*looked, *findings]
        except Unavailable as error:
            message, _, advice = error.message.partition("\n")
            findings = [Finding("server", "fail", message, advice), *findings]
            _show(session, findings)
            raise typer.Exit(UNREACHABLE) from error
        _show(session, findings)
        if worst(findings) == "fail":
            raise Refused

    session.run(work)


async def _over(
    link: Link,
    subjects: Subjects | None,
    nats: NatsSettings,
    settings: ServiceSettings,
    code: Domain | None,
) -> list[Finding]:
    findings = [version(link), await jetstream(link)]
    if findings[-1].status != "ok":
        return findings
    findings.append(await clock(link))
    if subjects is None:
        return findings
    return [
        *findings,
        *await streams(link, subjects, nats.replicas),
        await service(link, subjects),
        *await consumers(link, subjects, settings.lag_allowed, code),
        await dead_letters(link, subjects),
    ]


async def _left_over(
    link: Link, subjects: Subjects, nats: NatsSettings, settings: ServiceSettings, code: Domain
) -> list[Finding]:
    config = await stream_config(link.requests, subjects.event_stream)
    try:
        log = None if config is None else log_identity(subjects, config)
    except ConfigurationError:
        # The stream is no log, which is told where streams are looked at.
        return []
    if log is None:
        return []
    return [
        *await log_contents(JetStreamEvents(link, partitioned(subjects, log)), code),
        *await leftover_views(settings, nats, code, log.log_id),
    ]


def _code(domain: str | None) -> tuple[Domain | None, list[Finding]]:
    """The domain's code, which a machine without the service may well lack."""
    if domain is None:
        return None, []
    try:
        return read_domain(domain), []
    except ModelError as error:
        if isinstance(error, LoadError) and error.code == "domain_not_found":
            text = "is not here, so what is left of former code is not looked for"
            return None, [Finding("code", "ok", text)]
        return None, [Finding("code", "fail", str(error), "mend it, or look from another place")]


def _show(session: Session, findings: list[Finding]) -> None:
    if session.json:
        session.output.document(report(findings))
    else:
        session.output.show(lines(findings))
