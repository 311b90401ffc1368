"""What changed in a database, told in words that don't depend on generated ids; one module a kind of database.

A digest of each table first, and rows only where it differs: :mod:`migrator.agent.sqlite_tables` and
:mod:`migrator.agent.postgres_tables` read them, this module says what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: Tables that say how the database was made, not what is in it.
SKIPPED = frozenset({"django_migrations", "sqlite_sequence"})

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLocation:
    """Where the databases of a side may lie."""

    #: Folder of this process.
    scratch: Path
    #: Folder that all sides share.
    templates: Path
    #: URL of a PostgreSQL server; empty for SQLite files.
    server: str = ""
    #: How every database of this run is called at the beginning.
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What has to be known about a table to tell its changes."""

    name: str
    #: Columns of the primary key; empty if there is none.
    key: tuple[str, ...]
    #: Column whose numbers the database makes up; empty if none.
    generated: str
    #: Table that each foreign key points to, by column.
    foreign: Mapping[str, str]
    #: A column by which people tell its rows apart: the first that is unique; empty if none.
    natural: str


class Database(Protocol):
    """One database of a side."""

    def reset(self) -> None:
        """Make every table what the migrations left."""

    def remember(self) -> None:
        """Take the present state for the one that changes are told from."""

    def changes(self) -> dict[str, Any]:
        """Return what was inserted, updated and deleted since, by table."""


#: Returns what people call the row of a table with this key; the key itself if there is no better name.
Label = Callable[[str, Any], Any]


def told(table: TableFacts, gone: Iterable[Row], come: Iterable[Row], label: Label) -> dict[str, Any]:
    """Return the changes of one table.

    Args:
        table: The table.
        gone: Rows that stood there before and don't now, or not like this, in the order of their keys.
        come: Rows that stand there now and did not before, or not like this.
        label: What rows that others point to are called.
    """
    before = {_key(table, row, index): row for index, row in enumerate(gone)}
    after = {_key(table, row, -1 - index): row for index, row in enumerate(come)}

    def plain(row: Row) -> dict[str, Any]:
        return {
            name: label(table.foreign[name], value) if name in table.foreign else value
            for name, value in row.items()
            if name != table.generated
        }

    updated = []
    for key, row in after.items():
        if key in before:
            old, new = plain(before[key]), plain(row)
            changed = {name: [old[name], new[name]] for name in new if not _same(old[name], new[name])}
            name = row.get(table.natural, list(key)) if table.natural else list(key)
            updated.append({"key": name, "changes": changed})
    found = {
        "inserted": [plain(row) for key, row in after.items() if key not in before],
        "updated": updated,
        "deleted": [plain(row) for key, row in before.items() if key not in after],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def quote(name: str) -> str:
    """Return the name of a table or column as SQL has it, in SQLite as in PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def _key(table: TableFacts, row: Row, index: int) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key) if table.key else (index,)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and type(left) is type(right)
