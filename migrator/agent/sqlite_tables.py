"""The rows of a SQLite file: restored between runs, remembered as a copy of the file, compared table by table.

Uses connections of its own, so that threads and connections of the project don't matter.
Source: SQLite's ``PRAGMA data_version``, ``table_info``, ``foreign_key_list`` and ``index_list``, and its backup API.
"""

from __future__ import annotations

import hashlib
import marshal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .tables import SKIPPED, TableFacts, describe_changes, quote

BUSY_TIMEOUT_S = 20.0
#: Rows that are read at a time.
BATCH = 1_000
#: Marshal's last format version that writes the same value the same way each time.
STABLE_FORMAT = 2


@dataclass
class SqliteDatabase:
    """A database file, the template that it is restored from, and a copy of it as the case began."""

    file: Path
    template: Path
    #: Stays open: its data version shows whether another connection wrote.
    connection: sqlite3.Connection = field(init=False)
    version: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        self.connection = _open(self.file)
        self.connection.execute("ATTACH DATABASE ? AS template", (str(self.template),))
        self.connection.execute("PRAGMA foreign_keys = OFF")

    @property
    def remembered(self) -> Path:
        """The copy that changes are computed from."""
        return self.file.with_suffix(".before")

    def reset(self) -> None:
        """Restore every table from the template."""
        connection = self.connection
        with connection:
            for table in _names(connection):
                connection.execute(f"DELETE FROM main.{quote(table)}")
                connection.execute(f"INSERT INTO main.{quote(table)} SELECT * FROM template.{quote(table)}")
            if connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
                connection.execute("DELETE FROM main.sqlite_sequence")
                connection.execute("INSERT INTO main.sqlite_sequence SELECT * FROM template.sqlite_sequence")

    def remember(self) -> None:
        """Copy the file, page by page."""
        self.remembered.unlink(missing_ok=True)
        with closing(_open(self.remembered)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            self.connection.backup(copy)
        self.version = self._data_version()

    def changes(self) -> dict[str, Any]:
        """Return what changed since, by table; nothing is read if no other connection wrote."""
        if self._data_version() == self.version:
            return {}
        result = {}
        with self._both() as connection:
            for name in _names(connection):
                if _digest(connection, "before", name) != _digest(connection, "main", name):
                    result[name] = _changes(connection, name)
        return result

    def _data_version(self) -> int:
        return int(self.connection.execute("PRAGMA main.data_version").fetchone()[0])

    @contextmanager
    def _both(self) -> Iterator[sqlite3.Connection]:
        self.connection.execute("ATTACH DATABASE ? AS before", (str(self.remembered),))
        try:
            yield self.connection
        finally:
            self.connection.execute("DETACH DATABASE before")


def _open(file: Path) -> sqlite3.Connection:
    # Only one thread uses it at a time, but in a worker that is not the thread that set up the project.
    return sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level="DEFERRED")


def _names(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found if name not in SKIPPED and not name.startswith("sqlite_")]


def _table(connection: sqlite3.Connection, name: str) -> TableFacts:
    quoted = quote(name)
    # cid, name, type, notnull, default, position in the primary key
    columns = connection.execute(f"PRAGMA main.table_info({quoted})").fetchall()
    keys = sorted((row[5], row[1], row[2]) for row in columns if row[5])
    foreign = connection.execute(f"PRAGMA main.foreign_key_list({quoted})").fetchall()
    return TableFacts(
        name=name,
        key=tuple(key for _, key, _ in keys),
        generated=keys[0][1] if len(keys) == 1 and keys[0][2].upper() == "INTEGER" else "",
        foreign={row[3]: row[2] for row in foreign},
        natural=_natural(connection, quoted),
    )


def _natural(connection: sqlite3.Connection, quoted: str) -> str:
    for _, index, unique, _, partial in connection.execute(f"PRAGMA main.index_list({quoted})").fetchall():
        columns = connection.execute(f"PRAGMA main.index_info({quote(index)})").fetchall()
        if unique and not partial and len(columns) == 1 and columns[0][2]:
            return str(columns[0][2])
    return ""


def _select(connection: sqlite3.Connection, schema: str, table: str) -> sqlite3.Cursor:
    columns = connection.execute(f"PRAGMA main.table_info({quote(table)})").fetchall()
    key = ", ".join(quote(row[1]) for row in sorted(columns, key=lambda row: row[5]) if row[5])
    return connection.execute(f"SELECT * FROM {schema}.{quote(table)} ORDER BY {key or 'rowid'}")


def _digest(connection: sqlite3.Connection, schema: str, table: str) -> bytes:
    total = hashlib.blake2b(digest_size=16)
    cursor = _select(connection, schema, table)
    while rows := cursor.fetchmany(BATCH):
        total.update(marshal.dumps(rows, STABLE_FORMAT))
    return total.digest()


def _changes(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return the changes of one table, with only the rows that differ as values in memory."""
    table = _table(connection, name)
    cursor = _select(connection, "before", name)
    columns = [item[0] for item in cursor.description]
    positions = [columns.index(key) for key in table.key]
    removed = {
        tuple(row[position] for position in positions) if positions else (number, row): marshal.dumps(
            row, STABLE_FORMAT
        )
        for number, row in enumerate(cursor)
    }
    added = []
    for number, row in enumerate(_select(connection, "main", name)):
        key = tuple(row[position] for position in positions) if positions else (number, row)
        if removed.get(key) == marshal.dumps(row, STABLE_FORMAT):
            del removed[key]
        else:
            added.append(dict(zip(columns, row)))
    old = [dict(zip(columns, marshal.loads(data))) for data in removed.values()]
    known: dict[str, TableFacts] = {}

    def label(other: str, value: Any) -> Any:
        target = known.setdefault(other, _table(connection, other))
        if value is None or not target.natural or len(target.key) != 1:
            return value
        for schema in ("main", "before"):
            sql = f"SELECT {quote(target.natural)} FROM {schema}.{quote(other)} WHERE {quote(target.key[0])} = ?"
            found = connection.execute(sql, (value,)).fetchone()
            if found:
                return found[0]
        return value

    return describe_changes(table, old, added, label)
