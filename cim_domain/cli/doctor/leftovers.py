"""Looking for views that nobody reads any more. Nothing is changed."""

import asyncio

from cim_domain.cli.doctor.findings import Finding
from cim_domain.errors import ConfigurationError, Unavailable
from cim_domain.model.domain import Domain
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.service.adapters import sqlite_views_path
from cim_domain.service.settings import ServiceSettings
from cim_domain.views.sql.kept import KeptViews, kept_in_file, kept_in_postgresql


async def leftover_views(
    settings: ServiceSettings, nats: NatsSettings, domain: Domain, log_id: str
) -> list[Finding]:
    """Views of projections that the code does not have, and of other logs."""
    try:
        kept = await asyncio.to_thread(_kept, settings, nats, domain.name)
    except (ConfigurationError, Unavailable) as error:
        return [Finding("kept views", "fail", str(error), "see how the service keeps its views")]
    found = []
    for name in sorted({one.projection for one in kept if one.log == log_id}):
        if name not in domain.projections:
            advice = f"`cim-domain projections remove {domain.name} {name}` removes them"
            text = "are kept, but the code here has no such projection"
            found.append(Finding(f"views of {name}", "warn", text, advice))
    for other in sorted({one.log for one in kept} - {log_id}):
        names = ", ".join(sorted(one.projection for one in kept if one.log == other))
        advice = (
            "if no service uses that log any more,"
            f" `cim-domain projections remove {domain.name} --log {other}` removes them"
        )
        found.append(Finding(f"views of log {other}", "warn", f"are kept: {names}", advice))
    return found


def _kept(settings: ServiceSettings, nats: NatsSettings, domain: str) -> list[KeptViews]:
    views = settings.views.get_secret_value()
    if views == "memory":
        return []
    if views == "sqlite":
        path = sqlite_views_path(nats, domain)
        return kept_in_file(path, domain) if path.exists() else []
    return kept_in_postgresql(views, domain)
