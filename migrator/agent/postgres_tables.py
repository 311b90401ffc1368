"""The rows of a PostgreSQL database: restored between runs, remembered in a second schema, compared table by table.

The server computes the digests and selects the rows that differ. Values are written as SQLite has them (moments as text
in UTC, numbers as numbers), so that a waiver holds on either. Django's foreign keys are deferrable, so rows can be
restored in any order within one transaction.
Source: ``pg_class``, ``pg_index``, ``pg_constraint``, ``pg_sequences``; ``CREATE DATABASE … TEMPLATE``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

from .tables import SKIPPED, DatabaseLocation, TableFacts, describe_changes, quote

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 20_000
#: Schemas beside the project's own: as the migrations left it, and as the case began.
TEMPLATE, BEFORE = "parity_template", "parity_before"

_TABLES = """
SELECT c.relname AS name FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""
_COLUMNS = """
SELECT a.attname AS name, a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid), '') LIKE 'nextval(%%' AS own
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_INDEXES = """
SELECT i.indisprimary AS is_key, array_agg(a.attname::text ORDER BY k.position) AS columns
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indexrelid DESC
"""
_FOREIGN = """
SELECT a.attname AS name, c.confrelid::regclass::text AS target FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.conrelid = %s::regclass AND c.contype = 'f' AND cardinality(c.conkey) = 1
"""
_SEQUENCES = "SELECT sequencename AS name, last_value AS last FROM pg_sequences WHERE schemaname = 'public'"


@dataclass
class PostgresDatabase:
    """A database of this process only."""

    connection: psycopg.Connection[Any]
    tables: dict[str, TableFacts] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    sequences: dict[str, int | None] = field(default_factory=dict)
    #: By table: the digest of the template, and the digest and schema of what the case began with.
    templates: dict[str, Any] = field(default_factory=dict)
    began: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def learn(self) -> None:
        """Read the structure of the tables, while they hold only what the migrations left."""
        for row in self._all(_TABLES):
            if row["name"] not in SKIPPED:
                name = row["name"]
                self.tables[name], self.columns[name] = self._table(name), self._columns(name)
                self.templates[name] = self._digest(TEMPLATE, name)
        self.sequences = {row["name"]: row["last"] for row in self._all(_SEQUENCES)}

    def reset(self) -> None:
        """Restore every table from the template, and every sequence to its first number."""
        with self.connection.transaction():
            self._run("SET CONSTRAINTS ALL DEFERRED")
            for name, columns in self.columns.items():
                if self._digest("public", name) != self.templates[name]:
                    self._run(f"DELETE FROM public.{quote(name)}")
                    self._copy(TEMPLATE, "public", name, columns)
            for name, last in self.sequences.items():
                self._run("SELECT setval(%s::regclass, %s, %s)", quote(name), last or 1, last is not None)

    def remember(self) -> None:
        """Copy the tables that differ from the template."""
        self.began = {}
        with self.connection.transaction():
            for name, columns in self.columns.items():
                digest = self._digest("public", name)
                schema = TEMPLATE
                if digest != self.templates[name]:
                    schema = BEFORE
                    self._run(f"CREATE TABLE IF NOT EXISTS {BEFORE}.{quote(name)} (LIKE public.{quote(name)})")
                    self._run(f"TRUNCATE {BEFORE}.{quote(name)}")
                    self._copy("public", BEFORE, name, columns)
                self.began[name] = digest, schema

    def changes(self) -> dict[str, Any]:
        """Return what changed since, by table."""
        result = {}
        for name, (digest, schema) in self.began.items():
            if self._digest("public", name) != digest:
                removed, added = self._only(schema, "public", name), self._only("public", schema, name)
                result[name] = describe_changes(self.tables[name], removed, added, self._label)
        return result

    def _label(self, other: str, value: Any) -> Any:
        target = self.tables.get(other.strip('"'))
        if value is None or target is None or not target.natural or len(target.key) != 1:
            return value
        for schema in ("public", self.began[target.name][1]):
            source = f"{schema}.{quote(target.name)} WHERE {quote(target.key[0])} = %s"
            found = self._all(f"SELECT {quote(target.natural)} AS name FROM {source}", value)
            if found:
                return sqlite_value(found[0]["name"])
        return value

    def _only(self, schema: str, other: str, name: str) -> list[dict[str, Any]]:
        """Return the rows of one schema's table that are not exactly the same in the other's."""
        key = self.tables[name].key
        quoted, order = quote(name), f"ORDER BY {', '.join(map(quote, key))}" if key else ""
        rows = self._all(
            f"SELECT {self.columns[name]} FROM (SELECT t.*, t::text AS parity_text FROM {schema}.{quoted} t) AS a"
            f" WHERE NOT EXISTS (SELECT FROM {other}.{quoted} b WHERE b::text = a.parity_text) {order}"
        )
        return [{column: sqlite_value(value) for column, value in row.items()} for row in rows]

    def _digest(self, schema: str, name: str) -> Any:
        """Return the count and two sums of the rows' hashes, which don't depend on the order of rows."""
        sums = ", ".join(f"sum(hashtextextended(t::text, {seed})::numeric)" for seed in (0, 1))
        return self._all(f"SELECT ARRAY[count(*), {sums}] AS digest FROM {schema}.{quote(name)} t")[0]["digest"]

    def _table(self, name: str) -> TableFacts:
        quoted = f"public.{quote(name)}"
        indexes = self._all(_INDEXES, quoted)
        key = next((tuple(row["columns"]) for row in indexes if row["is_key"]), ())
        own = {row["name"] for row in self._all(_COLUMNS, quoted) if row["own"]}
        alone = [row["columns"][0] for row in indexes if not row["is_key"] and len(row["columns"]) == 1]
        return TableFacts(
            name=name,
            key=key,
            generated=key[0] if len(key) == 1 and key[0] in own else "",
            foreign={row["name"]: row["target"] for row in self._all(_FOREIGN, quoted)},
            natural=alone[0] if alone else "",
        )

    def _columns(self, name: str) -> str:
        return ", ".join(quote(row["name"]) for row in self._all(_COLUMNS, f"public.{quote(name)}"))

    def _copy(self, source: str, target: str, name: str, columns: str) -> None:
        into = f"{target}.{quote(name)} ({columns}) OVERRIDING SYSTEM VALUE"
        self._run(f"INSERT INTO {into} SELECT {columns} FROM {source}.{quote(name)}")

    def _all(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        from psycopg.rows import dict_row

        return list(self.connection.cursor(row_factory=dict_row).execute(sql.encode(), values or None).fetchall())

    def _run(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql.encode(), values or None)


def django_settings(location: DatabaseLocation, alias: str) -> dict[str, Any]:
    """Return the settings of this process's database, which is created later."""
    parts = urlsplit(location.server)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": f"{location.prefix}_{alias}_{sha256(str(location.scratch).encode()).hexdigest()[:12]}",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],
        "PORT": str(parts.port or ""),
    }


def make_postgres(location: DatabaseLocation, alias: str, migrate: Callable[[], None]) -> PostgresDatabase:
    """Create this process's database as the project's migrations leave it, from the template if there is one."""
    from django.conf import settings

    name, template = settings.DATABASES[alias]["NAME"], f"{location.prefix}_{alias}"
    marker = location.templates / f"{alias}.made"
    with _connect(location.server, "") as server:
        if not marker.exists():
            server.execute(f"CREATE DATABASE {quote(name)} TEMPLATE template0 ENCODING 'UTF8'".encode())
            migrate()
            with _connect(location.server, name) as connection:
                _prepare(connection)
            server.execute(f"ALTER DATABASE {quote(name)} RENAME TO {quote(template)}".encode())
            marker.touch()
        server.execute(f"CREATE DATABASE {quote(name)} TEMPLATE {quote(template)}".encode())
        # These databases are not needed after a crash.
        server.execute(f"ALTER DATABASE {quote(name)} SET synchronous_commit = off".encode())
    database = PostgresDatabase(_connect(location.server, name))
    database.learn()
    return database


def sqlite_value(value: Any) -> Any:
    """Return a value as SQLite stores it for Django."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        number = int(value) if value == value.to_integral_value() else float(value)
        return number if Decimal(repr(number)) == value else value
    if isinstance(value, datetime):
        moment = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat(" ")
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, timedelta):
        return round(value / timedelta(microseconds=1))
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """Store a copy of what the migrations left in a second schema, which is copied with the database."""
    connection.execute(f"CREATE SCHEMA {TEMPLATE}".encode())
    connection.execute(f"CREATE SCHEMA {BEFORE}".encode())
    for (name,) in connection.execute(_TABLES.encode()).fetchall():
        if name not in SKIPPED:
            connection.execute(f"CREATE TABLE {TEMPLATE}.{quote(name)} AS TABLE public.{quote(name)}".encode())


def _connect(server: str, name: str) -> psycopg.Connection[Any]:
    # Only a project on PostgreSQL has its driver.
    import psycopg
    from psycopg.conninfo import make_conninfo

    options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC"
    where = make_conninfo(server, **({"dbname": name} if name else {}), options=options)
    return psycopg.connect(where, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
