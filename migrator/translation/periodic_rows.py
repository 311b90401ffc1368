"""Rows of django_celery_beat that name legacy tasks, as rows that name unified ones, and back. Pure.

A row is changed where it stands, so that its last run, its number of runs and whether it is on stay what they are. One
that beat has made from an entry of the source gets the name of the entry that replaces it. What only an operator knows,
such as a routing key, is a problem and no guess.
Source: django_celery_beat/schedulers.py (`ModelEntry.from_entry`: an entry of the source becomes the row of its name).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from migrator.errors import AdaptationError
from migrator.plan.arguments import Call, adapt, restore
from migrator.plan.model import Plan, ScheduleEntry, TaskMapping
from migrator.wire.message import System

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """A row for which the plan has no sure answer."""

    name: str
    task: str
    why: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChanges:
    """What is to be done to rows."""

    #: ``id`` and ``name`` of a row, its fields ``before`` and ``after``, and its arguments and queue ``then``.
    changes: tuple[Mapping[str, Any], ...] = ()
    #: Rows that exist only because of the plan.
    delete: tuple[int, ...] = ()
    problems: tuple[RowProblem, ...] = ()
    #: Sentences about rows that are switched off or deleted.
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Collected:
    changes: list[Mapping[str, Any]] = field(default_factory=list)
    delete: list[int] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row, after: Mapping[str, Any]) -> None:
        changed = {name: value for name, value in after.items() if row[name] != value}
        if changed:
            before = {name: row[name] for name in changed}
            then = {name: changed.get(name, row[name]) for name in ("args", "kwargs", "queue")}
            self.changes.append(
                {
                    **{"id": row["id"], "name": row["name"]},
                    **{"before": before, "after": changed, "then": then},
                }
            )

    def problem(self, row: Row, why: object) -> None:
        self.problems.append(RowProblem(name=row["name"], task=row["task"], why=str(why), enabled=row["enabled"]))

    def done(self) -> RowChanges:
        return RowChanges(
            changes=tuple(self.changes),
            delete=tuple(self.delete),
            problems=tuple(self.problems),
            notes=tuple(self.notes),
        )


def unified_rows(plan: Plan, rows: Sequence[Row], *, switched_off: Iterable[int] = ()) -> RowChanges:
    """Return what makes rows unified.

    Args:
        plan: What becomes what.
        rows: All rows.
        switched_off: Rows that an earlier rollback has switched off because they have no legacy form.
    """
    found, off = _Collected(), set(switched_off)
    names = {row["name"] for row in rows}
    retired = {entry.name.partition(":")[2]: entry.reason for entry in plan.retired_schedule}
    for row in rows:
        mapping, gone = plan.mapping(System.CELERY, row["task"]), plan.retirement(System.CELERY, row["task"])
        why = gone.reason if gone is not None else retired.get(row["name"], "") if mapping is not None else ""
        if why:
            found.add(row, {"enabled": False})
            if row["enabled"]:
                found.notes.append(f"row {row['name']!r} is switched off: {why}")
        elif mapping is not None:
            entry = _replacing(plan, row, mapping)
            try:
                after = _unified(plan, row, mapping)
            except AdaptationError as problem:
                found.problem(row, problem)
                continue
            if entry is not None and entry.name != row["name"]:
                taken = entry.name in names
                after |= {"enabled": False} if taken else {"name": entry.name}
                if taken and row["enabled"]:
                    found.notes.append(f"row {row['name']!r} is switched off: replaced by {entry.name!r}")
                names.add(entry.name)
            found.add(row, after)
        elif row["id"] in off and plan.task(row["task"]) is not None:
            found.add(row, {"enabled": True})
    return found.done()


def legacy_rows(
    plan: Plan, rows: Sequence[Row], changes: Sequence[Mapping[str, Any]], *, known: Iterable[int], made: Iterable[str]
) -> RowChanges:
    """Return what makes rows legacy ones again: exactly as they were, apart from what an operator changed meanwhile.

    Args:
        plan: What becomes what.
        rows: All rows as they are now.
        changes: What was done to them before.
        known: The rows that there were then.
        made: Names of the entries of which beat makes rows by itself.
    """
    found, before = _Collected(), {change["id"]: change for change in changes}
    known, made = set(known), set(made)
    for row in rows:
        native = plan.task(row["task"]) is not None and not (
            row["id"] in known and plan.names(System.CELERY, row["task"])
        )
        if row["id"] in before:
            _take_back(plan, found, row, before[row["id"]])
        elif native and row["id"] not in known and row["name"] in made:
            found.delete.append(row["id"])
            state = "" if row["enabled"] else ", which was switched off meanwhile,"
            found.notes.append(f"row {row['name']!r}{state} is deleted: beat had made it from the unified schedule")
        elif native:
            _native(plan, found, row)
    return found.done()


def _replacing(plan: Plan, row: Row, mapping: TaskMapping) -> ScheduleEntry | None:
    """Return the planned entry that replaces the entry of the source from which beat made a row; None if none does."""
    for entry in plan.schedule:
        if entry.task == mapping.unified and row["name"] in {name.partition(":")[2] for name in entry.replaces}:
            return entry
    return None


def _unified(plan: Plan, row: Row, mapping: TaskMapping) -> dict[str, Any]:
    where = f"row {row['name']!r}"
    for name in ("exchange", "routing_key"):
        if row[name]:
            raise AdaptationError(where, f"names a {name.replace('_', ' ')}", found=row[name])
    legacy = _legacy_queues(plan)
    queue = row["queue"]
    if queue and queue not in legacy and queue not in plan.unified.queues:
        raise AdaptationError(where, "no unified worker reads its queue", found=queue)
    after: dict[str, Any] = {"task": mapping.unified}
    if queue in legacy and queue not in plan.unified.queues:
        after["queue"] = plan.queue_of(mapping.unified)
    args, kwargs = _arguments(row)
    return after | _texts((args, kwargs), adapt(mapping, args, kwargs))


def _take_back(plan: Plan, found: _Collected, row: Row, change: Mapping[str, Any]) -> None:
    """Give a row back what it had, where it has what it was given; what an operator changed is translated or kept."""
    before, after = change["before"], change["after"]
    if all(row[name] == value for name, value in before.items()):
        return
    if row["task"] != after.get("task", row["task"]):
        # An operator has given it another task.
        if plan.task(row["task"]) is not None:
            _native(plan, found, row)
        else:
            found.notes.append(f"row {row['name']!r} names {row['task']} by now: it is left as it is")
        return
    back = {name: before[name] for name in after if row[name] == after[name]}
    mapping = plan.mapping(System.CELERY, before.get("task", row["task"]))
    if mapping is not None and any(row[name] != value for name, value in change["then"].items()):
        try:
            back |= _legacy(plan, row, mapping)
        except AdaptationError as problem:
            found.problem(row, problem)
            back = {"enabled": False}
    found.add(row, back)


def _native(plan: Plan, found: _Collected, row: Row) -> None:
    """Give a row that was made or renamed since its legacy form; without one it is switched off."""
    mapping = _back(plan, row["task"])
    try:
        if mapping is None:
            raise AdaptationError(f"row {row['name']!r}", f"no legacy Celery task stands for {row['task']}")
        found.add(row, _legacy(plan, row, mapping))
    except AdaptationError as problem:
        found.problem(row, problem)
        found.add(row, {"enabled": False})


def _legacy(plan: Plan, row: Row, mapping: TaskMapping) -> dict[str, Any]:
    task = plan.task(mapping.unified)
    assert task is not None
    given = _arguments(row)
    after: dict[str, Any] = {"task": mapping.name}
    if row["queue"] in plan.unified.queues and row["queue"] not in _legacy_queues(plan):
        after["queue"] = mapping.queue or _legacy_queues(plan)[0]
    return after | _texts(given, restore(mapping, task.parameters, *given))


def _back(plan: Plan, unified: str) -> TaskMapping | None:
    """Return the legacy Celery task of a native row: the primary one, or the only one."""
    task = plan.task(unified)
    theirs = [m for m in task.replaces if m.system is System.CELERY] if task is not None else []
    return next((m for m in theirs if m.primary), theirs[0] if len(theirs) == 1 else None)


def _arguments(row: Row) -> tuple[list[Any], dict[str, Any]]:
    where = f"row {row['name']!r}"
    try:
        args, kwargs = orjson.loads(row["args"] or "[]"), orjson.loads(row["kwargs"] or "{}")
    except ValueError as error:
        raise AdaptationError(where, "its arguments are no JSON", found=str(error)) from error
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise AdaptationError(where, "its arguments are no list and object")
    return args, kwargs


def _texts(given: tuple[list[Any], dict[str, Any]], call: Call) -> dict[str, str]:
    """Return the fields of a call that differs from what was given."""
    args, kwargs = list(call[0]), call[1]
    if (args, kwargs) == given:
        return {}
    return {"args": orjson.dumps(args).decode(), "kwargs": orjson.dumps(kwargs).decode()}


def _legacy_queues(plan: Plan) -> tuple[str, ...]:
    legacy = plan.endpoint(System.CELERY)
    return legacy.queues if legacy is not None else ()
