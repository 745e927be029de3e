"""Views in SQL databases: SQLite and PostgreSQL, through SQLAlchemy Core."""

from cim_domain.views.sql.database import SqlViews

__all__ = ["SqlViews"]
