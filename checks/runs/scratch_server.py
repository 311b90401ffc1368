"""Room for a run's databases on a PostgreSQL server that somebody names, and their removal afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from migrator.errors import UnreachableError, UsageError

CONNECT_TIMEOUT_S = 10


@contextmanager
def room_on(server: str) -> Iterator[str]:
    """Yield how this run's databases are called at the beginning, and drop every one of them at the end.

    Args:
        server: URL of a database on the server, from which others can be created; empty for no server at all.

    Raises:
        UsageError: The URL is none of PostgreSQL, or its driver is not installed.
        UnreachableError: The server doesn't answer, or the role may not create databases.
    """
    if not server:
        yield ""
        return
    prefix = f"parity_{uuid4().hex[:10]}"
    _check(server)
    try:
        yield prefix
    finally:
        with _connect(server) as connection:
            like = prefix.replace("_", r"\_") + "%"
            found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (like,)).fetchall()
            for (name,) in found:
                quoted = name.replace('"', '""')
                connection.execute(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)'.encode())


def _check(server: str) -> None:
    where = _where(server)
    if urlsplit(server).scheme not in ("postgres", "postgresql"):
        remedy = "name one as postgresql://user@host:5432/postgres, or leave it away for SQLite files"
        raise UsageError(where, "is no URL of a PostgreSQL server", remedy=remedy)
    try:
        with _connect(server) as connection:
            (able,) = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except ImportError as error:
        remedy = "install migrator with its extra `postgresql`"
        raise UsageError(where, "PostgreSQL's driver is not installed", found=str(error), remedy=remedy) from error
    except OSError as error:
        raise UnreachableError(where, "the server can't be reached", found=str(error)) from error
    if not able:
        raise UnreachableError(where, "the role may not create databases", remedy="ALTER ROLE … CREATEDB")


def _connect(server: str) -> Any:
    import psycopg

    try:
        return psycopg.connect(server, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        # Its text names host and role, never the password.
        raise ConnectionError(str(error).strip()) from error


def _where(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme or 'database'}://{parts.hostname or ''}{parts.path}"
