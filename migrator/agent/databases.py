"""The databases of a process: SQLite files, or its own databases on a PostgreSQL server; never the project's.

The first process runs the migrations and leaves templates; every other one begins with a copy.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .postgres_tables import django_settings, make_postgres
from .sqlite_tables import SqliteDatabase
from .tables import Database, DatabaseLocation


@dataclass(frozen=True)
class Databases:
    """Every database of the project's settings, by alias."""

    by_alias: Mapping[str, Database]

    def reset(self) -> None:
        """Restore each database to what its migrations left."""
        for database in self.by_alias.values():
            database.reset()

    def remember(self) -> None:
        """Take the present state as the one that changes are computed from."""
        for database in self.by_alias.values():
            database.remember()

    def changes(self) -> dict[str, Any]:
        """Return what changed since, by table; tables of further databases carry their alias."""
        result = {}
        for alias, database in self.by_alias.items():
            for table, change in database.changes().items():
                result[table if alias == "default" else f"{alias}:{table}"] = change
        return result


def redirect(settings: Any, location: DatabaseLocation) -> None:
    """Point every database of Django's settings at one of this process; before ``django.setup()``."""
    if location.server:
        settings.DATABASES = {alias: django_settings(location, alias) for alias in settings.DATABASES}
    else:
        from django.db.backends.signals import connection_created

        connection_created.connect(_make_fast, weak=False, dispatch_uid=__name__)
        settings.DATABASES = {alias: _sqlite(location.scratch / f"{alias}.sqlite3") for alias in settings.DATABASES}


def make(settings: Any, location: DatabaseLocation) -> Databases:
    """Create the databases that the settings now name, as the project's migrations leave them."""
    location.templates.mkdir(parents=True, exist_ok=True)
    with (location.templates / "lock").open("w") as lock:
        # The first process creates the templates, the others wait for it; the parent bounds the wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Databases(by_alias={alias: _made(location, alias) for alias in settings.DATABASES})


def _made(location: DatabaseLocation, alias: str) -> Database:
    if location.server:
        return make_postgres(location, alias, _migrated(alias))
    file, template = location.scratch / f"{alias}.sqlite3", location.templates / f"{alias}.sqlite3"
    if template.exists():
        shutil.copyfile(template, file)
    else:
        _migrated(alias)()
        shutil.copyfile(file, template.with_suffix(".new"))
        template.with_suffix(".new").rename(template)
    return SqliteDatabase(file, template)


def _migrated(alias: str) -> Callable[[], None]:
    """Return a function that runs the project's migrations on one of its databases."""

    def migrate() -> None:
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", database=alias, run_syncdb=True, interactive=False, verbosity=0)
        if connections[alias].vendor == "sqlite":
            with closing(connections[alias].cursor()) as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connections[alias].close()

    return migrate


def _sqlite(file: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": {"timeout": 20}}


def _make_fast(connection: Any, **_: Any) -> None:
    """Let a database that is thrown away not wait for the disk; Django before 5.1 has no option for it."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=OFF")
