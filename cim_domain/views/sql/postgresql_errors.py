"""What an error of PostgreSQL means to who asked."""

import os
from collections.abc import Iterator

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from cim_domain.errors import CimError, ConfigurationError, Failed, Unavailable
from cim_domain.views.layout import refused_value

NO_SUCH_TABLE = "42P01"

_LOCKED = {"40001", "40P01", "55P03", "57014"}
"""A transaction that lost against another, or waited for too long."""

_TOO_LARGE = {"54000"}
"""A value that an index cannot hold."""

_FULL = {"53100", "53200"}

_READ_ONLY = "25006"

_SESSION_LOST = ("08", _READ_ONLY, "25P03", "25P04", "53300", "57P", "58")
"""Of no use any more: the connection has failed, its server ends, or takes no writes since a
failover."""

_REFUSED = ("28", "3D", "3F", "42501")
"""Who connects, and to which database, is wrong, or may not do what is needed."""


def sqlstate(error: DBAPIError) -> str | None:
    """The code of the error; None where no server has said anything."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def is_session_lost(state: str | None) -> bool:
    """Whether the session that it came from is of no use any more, nor those as old as it."""
    return (state or "").startswith(_SESSION_LOST)


@frozen
class Place:
    """Where the views are, for errors: never with a password."""

    _url: sa.URL

    def __str__(self) -> str:
        return f"{self.hosts}/{self.database}"

    @property
    def hosts(self) -> str:
        """One or several, with their ports where these are given."""
        port = f":{self._url.port}" if self._url.port else ""
        named = self._url.host and f"{self._url.host}{port}"
        asked = self._url.query.get("host", ())
        several = asked if isinstance(asked, str) else ",".join(asked)
        return named or several or os.environ.get("PGHOST") or "the local socket"

    @property
    def role(self) -> str:
        """Who connects; the driver takes the operating system's user where nobody is named."""
        return self._given("user", self._url.username, "PGUSER") or "this process's user"

    @property
    def database(self) -> str:
        """Its name, which is the role's where none is given."""
        return self._given("dbname", self._url.database, "PGDATABASE") or self.role

    @property
    def secrets(self) -> Iterator[str]:
        """What no message may show."""
        for secret in (self._url.password, self._url.query.get("password")):
            if isinstance(secret, str) and secret:
                yield secret

    def _given(self, option: str, named: str | None, variable: str) -> str | None:
        asked = self._url.query.get(option)
        return named or (asked if isinstance(asked, str) else None) or os.environ.get(variable)


def refusal(place: Place, error: DBAPIError) -> CimError:
    """The error for a start at which the database cannot be used, with its cause."""
    state = sqlstate(error)
    if not (state is None or is_session_lost(state) or state.startswith(_REFUSED)):
        return translated(place, error)
    return ConfigurationError(
        f"CIM_DOMAIN_VIEWS (service.views): the database {place.database!r} at {place.hosts} cannot"
        f" be used as role {place.role!r}: {_cause(place, error)}"
    )


def translated(place: Place, error: DBAPIError) -> CimError:
    """The kit's error for one of the driver's."""
    state = sqlstate(error)
    if isinstance(error, DataError | IntegrityError) or state in _TOO_LARGE:
        return refused_value(f"{place}, {state or 'a value that it cannot hold'}")
    if state in _FULL:
        return Unavailable(
            f"there is no room for the views at {place} ({state}): free space there;"
            " nothing was changed, and work goes on by itself then",
            code="views_full",
        )
    if state in _LOCKED:
        return Unavailable(
            f"the views at {place} were locked for too long ({state}); nothing was"
            " changed, try again",
            code="views_locked",
        )
    if state == _READ_ONLY:
        return Unavailable(
            f"the views at {place} can be read only ({state}): a standby is there, or the database"
            " was made read-only; name the primary, or let this user write",
            code="views_unavailable",
        )
    if state is None or is_session_lost(state) or state.startswith("28"):
        return Unavailable(
            f"the views at {place} cannot be used ({state or 'no connection'}): check"
            " that PostgreSQL runs there and takes this service's user and password",
            code="views_unavailable",
        )
    return Failed(f"the views at {place} failed: SQLSTATE {state}", code="views_failed")


def _cause(place: Place, error: DBAPIError) -> str:
    """What the server or the driver says, on one line."""
    text = " ".join(str(error.orig).split())
    for secret in place.secrets:
        text = text.replace(secret, "***")
    if sqlstate(error) == _READ_ONLY:
        text += "; it is the standby of another: name that one, or both"
    return text
