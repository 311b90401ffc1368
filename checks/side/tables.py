"""Rows of a SQLite database: put back between runs, read before and after, compared.

Works on the file with a connection of its own, so that threads and connections of the project don't matter.
Source: SQLite's ``PRAGMA table_info``, ``foreign_key_list`` and ``index_list``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

#: Tables that say how the database was made, not what is in it.
SKIPPED = frozenset({"django_migrations", "sqlite_sequence"})
BUSY_TIMEOUT_S = 20.0

Rows = dict[Any, dict[str, Any]]
Snapshot = dict[str, Rows]


def reset(file: Path, template: Path) -> None:
    """Make every table what it is in the template."""
    with closing(_open(file)) as connection:
        connection.execute("ATTACH DATABASE ? AS template", (str(template),))
        connection.execute("PRAGMA foreign_keys = OFF")
        with connection:
            for table in _tables(connection):
                quoted = _quote(table)
                connection.execute(f"DELETE FROM main.{quoted}")
                connection.execute(f"INSERT INTO main.{quoted} SELECT * FROM template.{quoted}")
            if connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
                connection.execute("DELETE FROM main.sqlite_sequence")
                connection.execute("INSERT INTO main.sqlite_sequence SELECT * FROM template.sqlite_sequence")


def snapshot(file: Path) -> Snapshot:
    """Return every row of every table by primary key."""
    with closing(_open(file)) as connection:
        return {table: _rows(connection, table) for table in _tables(connection)}


def changes(file: Path, before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return what was inserted, updated and deleted, by table, in words that don't depend on generated ids."""
    result: dict[str, Any] = {}
    touched = [table for table in after if after[table] != before.get(table, {})]
    if not touched:
        return result
    with closing(_open(file)) as connection:
        labels = _labels(connection, before, after)
        for table in touched:
            result[table] = _table_changes(connection, table, (before.get(table, {}), after[table]), labels)
    return result


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    return connection


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name")
    return [row["name"] for row in found if row["name"] not in SKIPPED and not row["name"].startswith("sqlite_")]


def _key_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = connection.execute(f"PRAGMA table_info({_quote(table)})").fetchall()
    return [row["name"] for row in sorted(columns, key=lambda row: row["pk"]) if row["pk"]]


def _rows(connection: sqlite3.Connection, table: str) -> Rows:
    key = _key_columns(connection, table)
    columns = ", ".join(map(_quote, key)) or "rowid"
    rows: Rows = {}
    for row in connection.execute(f"SELECT * FROM {_quote(table)} ORDER BY {columns}"):
        values = dict(row)
        rows[tuple(values[name] for name in key) if key else len(rows)] = values
    return rows


def _labels(connection: sqlite3.Connection, before: Snapshot, after: Snapshot) -> dict[str, dict[Any, Any]]:
    """Return, by table, what to call the row of a primary key: its first unique column."""
    result: dict[str, dict[Any, Any]] = {}
    for table, rows in after.items():
        name = _natural_column(connection, table)
        if name:
            known = {**before.get(table, {}), **rows}
            result[table] = {key[0]: row[name] for key, row in known.items() if isinstance(key, tuple)}
    return result


def _natural_column(connection: sqlite3.Connection, table: str) -> str:
    for index in connection.execute(f"PRAGMA index_list({_quote(table)})").fetchall():
        columns = connection.execute(f"PRAGMA index_info({_quote(index['name'])})").fetchall()
        if index["unique"] and not index["partial"] and len(columns) == 1 and columns[0]["name"]:
            return str(columns[0]["name"])
    return ""


def _table_changes(
    connection: sqlite3.Connection, table: str, states: tuple[Rows, Rows], labels: Mapping[str, Mapping[Any, Any]]
) -> dict[str, Any]:
    before, after = states
    foreign = {
        row["from"]: row["table"] for row in connection.execute(f"PRAGMA foreign_key_list({_quote(table)})").fetchall()
    }
    hidden = _generated_key(connection, table)

    def plain(row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: labels.get(foreign[name], {}).get(value, value) if name in foreign else value
            for name, value in row.items()
            if name != hidden
        }

    own = labels.get(table, {})
    updated = []
    for key in after:
        if key in before and after[key] != before[key]:
            old, new = plain(before[key]), plain(after[key])
            name = own.get(key[0], list(key)) if isinstance(key, tuple) else key
            updated.append({"key": name, "changes": {c: [old[c], new[c]] for c in new if old[c] != new[c]}})
    found = {
        "inserted": [plain(after[key]) for key in after if key not in before],
        "updated": updated,
        "deleted": [plain(before[key]) for key in before if key not in after],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _generated_key(connection: sqlite3.Connection, table: str) -> str:
    columns = connection.execute(f"PRAGMA table_info({_quote(table)})").fetchall()
    keys = [row for row in columns if row["pk"]]
    return keys[0]["name"] if len(keys) == 1 and keys[0]["type"].upper() == "INTEGER" else ""
