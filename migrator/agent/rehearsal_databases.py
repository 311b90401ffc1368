"""Show the databases of the project's settings and what leads to them; create and drop those of a rehearsal.

Databases are created and dropped with the project's own driver, account and options, from a connection to the server.
The arguments are the settings, and ``look``, ``create NAME=ALIAS…`` or ``drop NAME=ALIAS…``.

Source: django/db/backends/postgresql/base.py (`_nodb_cursor`), creation.py (`sql_table_creation_suffix`); os.py
(`_Environ`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from .project_setup import use_settings

#: Only databases of this prefix are ever created or dropped.
PREFIX = "migrator_rehearsal_"


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Do what is asked."""
    settings, command, *words = arguments
    read: dict[str, Any] = {}
    if command == "look":
        _record(read)
    use_settings(settings)
    from django.db import connections

    if command == "create":
        return _create(connections, words)
    if command == "drop":
        return _drop(connections, words)
    databases = {alias: _facts(connections[alias]) for alias in connections}
    return {
        "databases": {alias: facts for alias, facts in databases.items() if facts["vendor"]},
        "read": {name: value for name, value in read.items() if isinstance(value, str)},
    }


def _facts(connection: Any) -> dict[str, Any]:
    given = {name: value for name, value in connection.settings_dict.items() if name not in ("NAME", "TEST")}
    return {
        # Django's stand-in for a project without a database has a vendor that is none.
        "vendor": "" if given["ENGINE"] == "django.db.backends.dummy" else connection.vendor,
        "name": database_name(connection),
        "host": str(given.get("HOST") or ""),
        "port": str(given.get("PORT") or ""),
        "mirror": bool((connection.settings_dict.get("TEST") or {}).get("MIRROR")),
        # Everything else, to be compared only: there are secrets in it.
        "rest": sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest(),
    }


def database_name(connection: Any) -> str:
    """Return the name of a connection's database, of a file with its folder."""
    name = str(connection.settings_dict["NAME"] or "")
    in_memory = not name or ":memory:" in name or "mode=memory" in name
    return name if in_memory or connection.vendor != "sqlite" else str(Path(name).absolute())


def _record(read: dict[str, Any]) -> None:
    """Note what is read from the environment from now on, defaults included."""
    kind: Any = type(os.environ)
    one, get = kind.__getitem__, kind.get

    def noted_one(self: Any, name: str) -> str:
        value: str = one(self, name)
        read.setdefault(name, value)
        return value

    def noted_get(self: Any, name: str, default: Any = None) -> Any:
        value = get(self, name, default)
        read.setdefault(name, value)
        return value

    kind.__getitem__, kind.get = noted_one, noted_get


def _create(connections: Any, words: Sequence[str]) -> dict[str, Any]:
    """Create databases; the answer says why one could not be created."""
    for word in words:
        name, alias = word.split("=", 1)
        suffix = connections[alias].creation.sql_table_creation_suffix()
        try:
            with connections[alias]._nodb_cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {_quoted(name)} {suffix}")
        except Exception as error:  # noqa: BLE001 - whatever the driver raises is the answer
            cause = error.__cause__ or error
            state = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
            return {"alias": alias, "state": state, "text": str(error).strip()}
    return {}


def _drop(connections: Any, words: Sequence[str]) -> dict[str, Any]:
    """Drop databases of a rehearsal, of which one may be gone; the answer says why one could not be dropped."""
    for word in words:
        name, alias = word.split("=", 1)
        try:
            with connections[alias]._nodb_cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}")
        except Exception as error:  # noqa: BLE001 - as above
            return {"alias": alias, "text": str(error).strip()}
    return {}


def _quoted(name: str) -> str:
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} does not belong to a rehearsal")
    return '"' + name.replace('"', '""') + '"'
