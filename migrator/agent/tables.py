"""What changed in a database, described without generated ids; one module for each kind of database.

Digests of the tables are compared first, and rows only where a digest differs: :mod:`migrator.agent.sqlite_tables` and
:mod:`migrator.agent.postgres_tables` read them, this module describes the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: Tables about how the database was created, not about its contents.
SKIPPED = frozenset({"django_migrations", "sqlite_sequence"})

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DatabaseLocation:
    """Where the databases of a process may be created."""

    #: Folder of this process.
    scratch: Path
    #: Folder that all processes share.
    templates: Path
    #: URL of a PostgreSQL server; empty for SQLite files.
    server: str = ""
    #: Prefix of the name of every database of this run.
    prefix: str = ""


@dataclass(frozen=True)
class TableFacts:
    """What has to be known about a table to describe its changes."""

    name: str
    #: Columns of the primary key; empty if there is none.
    key: tuple[str, ...]
    #: Column whose numbers the database generates; empty if none.
    generated: str
    #: Table that each foreign key points to, by column.
    foreign: Mapping[str, str]
    #: The natural key, by which people identify a row: the first unique column; empty if none.
    natural: str


class Database(Protocol):
    """One database of a process."""

    def reset(self) -> None:
        """Restore every table to what the migrations left."""

    def remember(self) -> None:
        """Take the present state as the one that changes are computed from."""

    def changes(self) -> dict[str, Any]:
        """Return what was inserted, updated and deleted since, by table."""


#: Returns the natural key of the row of a table with this primary key; the primary key itself if there is none.
Label = Callable[[str, Any], Any]


def describe_changes(table: TableFacts, before: Iterable[Row], after: Iterable[Row], label: Label) -> dict[str, Any]:
    """Return the changes of one table.

    Args:
        table: The table.
        before: Rows that were there before and are gone or changed now, in the order of their keys.
        after: Rows that are there now and were not there before, or were different.
        label: Names the rows that foreign keys point to.
    """
    old_rows = {_key(table, row, index): row for index, row in enumerate(before)}
    new_rows = {_key(table, row, -1 - index): row for index, row in enumerate(after)}

    def described(row: Row) -> dict[str, Any]:
        return {
            name: label(table.foreign[name], value) if name in table.foreign else value
            for name, value in row.items()
            if name != table.generated
        }

    updated = []
    for key, row in new_rows.items():
        if key in old_rows:
            old, new = described(old_rows[key]), described(row)
            changed = {name: [old[name], new[name]] for name in new if not _same(old[name], new[name])}
            name = row.get(table.natural, list(key)) if table.natural else list(key)
            updated.append({"key": name, "changes": changed})
    found = {
        "inserted": [described(row) for key, row in new_rows.items() if key not in old_rows],
        "updated": updated,
        "deleted": [described(row) for key, row in old_rows.items() if key not in new_rows],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def quote(name: str) -> str:
    """Quote the name of a table or column for SQL, in SQLite as in PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def _key(table: TableFacts, row: Row, index: int) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key) if table.key else (index,)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and type(left) is type(right)
