"""A run's databases on a given PostgreSQL server, and their removal afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from migrator.errors import UnreachableError, UsageError

CONNECT_TIMEOUT_S = 10


@contextmanager
def scratch_databases(server: str) -> Iterator[str]:
    """Yield the name prefix of this run's databases, and drop every one of them at the end.

    Args:
        server: URL of a database on the server, from which others can be created; empty for SQLite files.

    Raises:
        UsageError: It is not a PostgreSQL URL, or the driver is not installed.
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
        remedy = "use a URL such as postgresql://user@host:5432/postgres, or omit it to use SQLite files"
        raise UsageError(where, "is not the URL of a PostgreSQL server", remedy=remedy)
    try:
        with _connect(server) as connection:
            (able,) = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except ImportError as error:
        remedy = "install migrator with the extra `postgresql`"
        raise UsageError(where, "the PostgreSQL driver is not installed", found=str(error), remedy=remedy) from error
    except OSError as error:
        raise UnreachableError(where, "the server can't be reached", found=str(error)) from error
    if not able:
        raise UnreachableError(where, "the role may not create databases", remedy="ALTER ROLE … CREATEDB")


def _connect(server: str) -> Any:
    import psycopg

    try:
        return psycopg.connect(server, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        # The error text names host and role, never the password.
        raise ConnectionError(str(error).strip()) from error


def _where(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme or 'database'}://{parts.hostname or ''}{parts.path}"
