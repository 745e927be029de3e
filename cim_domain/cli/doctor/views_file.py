"""Looking at the file in which a service keeps its views. Nothing is changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

from cim_domain.cli.doctor.findings import Finding
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.service.adapters import sqlite_views_path
from cim_domain.service.settings import ServiceSettings
from cim_domain.views.sql.sqlite_file import APPLICATION

NAME = "views"

_ANEW = "stop the service and start it again: it sets the file aside and builds the views anew"


def views_file(settings: ServiceSettings, nats: NatsSettings, domain: str) -> Finding:
    """Whether the views can be read. Only a file can be looked at: databases are the service's."""
    kind = settings.views.get_secret_value()
    if kind != "sqlite":
        place = "in memory" if kind == "memory" else "in PostgreSQL"
        return Finding(NAME, "ok", f"{place}; the service says how they fare")
    path = sqlite_views_path(nats, domain)
    if not path.exists():
        return Finding(NAME, "ok", f"none yet at {path}; the first start makes them")
    try:
        problem = _problem(path)
    except (sqlite3.Error, OSError) as error:
        return Finding(NAME, "fail", f"{path} cannot be read: {error}", _ANEW)
    if problem:
        return Finding(NAME, "fail", f"{path} {problem}", _ANEW)
    if aside := sorted(one.name for one in path.parent.glob(f"{path.name}.corrupt-*[0-9]")):
        advice = f"delete {', '.join(aside)} beside it when nobody needs them for inspection"
        return Finding(NAME, "warn", f"{path} is sound, damaged ones were set aside", advice)
    if path.stat().st_mode & 0o077:
        advice = f"close it: chmod 600 {path}"
        return Finding(NAME, "warn", f"{path} is open to other users", advice)
    return Finding(NAME, "ok", f"{path} is sound")


def _problem(path: Path) -> str:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            return "is no file of views"
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return "is damaged"
    return ""
