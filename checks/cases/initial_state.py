"""The initial state of a case: rows, cache entries and answers to HTTP requests, as data."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.cases.cassettes import read_cassette
from migrator.plan.toml_table import Problems, TomlTable


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """The state before the call; JSON-safe, sent to the control and candidate processes as it is."""

    #: ``{"model": "app.Model", "fields": {…}}``; strings such as ``@clock-30d`` are moments.
    rows: tuple[Mapping[str, Any], ...] = ()
    #: ``{"key", "value", "timeout_s"}``.
    cache: tuple[Mapping[str, Any], ...] = ()
    #: Answers that take precedence over the fixture server's (:mod:`migrator.agent.http_fixture`).
    http: tuple[Mapping[str, Any], ...] = ()


def read_table(file: Path, problems: Problems) -> dict[str, Any]:
    """Return a TOML file's content; if it can't be read, add a problem."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.add(label(file), "is missing", "each case folder holds a case.toml")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.add(label(file), "can't be read", str(error))
    return {}


def label(file: Path) -> str:
    """Return a file's name with its folder, as it appears in problems."""
    return f"{file.parent.name}/{file.name}"


def initial_state_file(file: Path, problems: Problems) -> InitialState:
    """Read a world: an initial state that several cases share."""
    table = TomlTable(read_table(file, problems), label(file), problems)
    initial_state = read_initial_state(table, file.parent, problems)
    table.close()
    return initial_state


def read_initial_state(table: TomlTable, folder: Path, problems: Problems) -> InitialState:
    """Read the rows, cache entries and answers of a case or a world."""
    rows = [_row(child) for child in table.tables("rows")]
    for name in table.texts("rows_files", default=()):
        rows += _rows_file(folder / name, table, problems)
    answers = [_answer(child, folder) for child in table.tables("http")]
    for name in table.texts("cassettes", default=()):
        try:
            answers += read_cassette(folder / name)
        except ValueError as error:
            table.problem("cassettes", f"{name!r} can't be read", str(error))
    return InitialState(
        rows=tuple(rows),
        cache=tuple(_cache_entry(child) for child in table.tables("cache")),
        http=tuple(answers),
    )


def _rows_file(file: Path, table: TomlTable, problems: Problems) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        table.problem("rows_files", f"{file.name!r} can't be read", str(error))
        return []
    return [_row(TomlTable(item, f"{label(file)}[{index}]", problems)) for index, item in enumerate(found)]


def _row(table: TomlTable) -> Mapping[str, Any]:
    row = {"model": table.text("model"), "fields": dict(table.mapping("fields"))}
    table.close()
    return row


def _cache_entry(table: TomlTable) -> Mapping[str, Any]:
    entry = {"key": table.text("key"), "value": table.take("value"), "timeout_s": table.number("timeout_s", None)}
    table.close()
    return entry


def _answer(table: TomlTable, folder: Path) -> Mapping[str, Any]:
    answer: dict[str, Any] = {
        "method": table.text("method", default="").upper(),
        "contains": table.text("contains", default=""),
        "status": table.integer("status", default=200),
        "headers": {str(key): str(value) for key, value in table.mapping("headers").items()},
        "times": table.integer("times", default=None),
        "hang_s": table.number("hang_s", default=None),
        "drop": table.flag("drop"),
    }
    bodies = [key for key in ("json", "text", "file") if key in table.data]
    if len(bodies) > 1:
        table.problem("", "needs at most one of json, text, file", f"found {', '.join(bodies)}")
    given = table.take("json", None)
    answer["body"] = table.text("text", default="") if given is None else json.dumps(given)
    name = table.text("file", default="")
    if name:
        try:
            answer["body"] = (folder / name).read_text(encoding="utf-8")
        except OSError as error:
            table.problem("file", f"{name!r} can't be read", str(error))
    if not answer["contains"] and not answer["method"]:
        table.problem("contains", "is missing", "define which requests it answers")
    table.close()
    return answer


def merge_initial_states(initial_states: list[InitialState]) -> InitialState:
    """Return one initial state; the answers of the last one come first."""
    return InitialState(
        rows=tuple(row for initial_state in initial_states for row in initial_state.rows),
        cache=tuple(entry for initial_state in initial_states for entry in initial_state.cache),
        http=tuple(answer for initial_state in reversed(initial_states) for answer in initial_state.http),
    )
