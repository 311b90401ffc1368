"""What handing the schedule over does, forward and back: note it from both sides, then write it.

What is noted goes into the journal before anything is written, so that writing may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrator.errors import MigratorError
from migrator.plan.model import MissedFirings
from migrator.state.journal import EntryKind
from migrator.steps.protocol import Context, Facts, note
from migrator.translation.last_runs import legacy_runs, unified_runs
from migrator.translation.periodic_rows import RowChanges, legacy_rows, unified_rows
from migrator.wire.message import System
from migrator.workers.schedule_store import (
    FILE,
    ROWS,
    UNKNOWN,
    Remembered,
    ScheduleStore,
    embeds_beat,
    legacy_beats,
    read,
    write,
)

#: The action that notes the way back.
NOTE_BACK = "read-back"


def note_forward(
    context: Context, sources: Sequence[ScheduleStore], target: ScheduleStore | None, *, stopped_at: str | None
) -> Facts:
    """Return what the unified side has to know, and what rows become.

    Args:
        context: Of the step.
        sources: Where the legacy beats remember what they have sent.
        target: Where the beat that runs afterwards will look; None if there will be none.
        stopped_at: When the legacy schedulers were told to stop; None if none ran.
    """
    plan = context.plan
    remembered = [_remembered(context, source) for source in sources]
    seen = remembered or ([_remembered(context, target)] if target is not None else [])
    rows = next((found.rows for found in seen if found.rows is not None), None)
    kinds = {store.kind for store in (*sources, target) if store is not None}
    changes = RowChanges()
    if rows is not None and kinds & {ROWS, UNKNOWN}:
        changes = unified_rows(plan, rows, switched_off=_switched_off(context))
    runs = [_runs(source, found) for source, found in zip(sources, remembered, strict=True)]
    schedule = target.schedule if target is not None else ()
    return {
        "sources": [source.facts() for source in sources],
        "target": target.facts() if target is not None else None,
        "rows": changes.changes,
        "known": [row["id"] for row in rows or ()],
        "states": unified_runs(plan, runs, schedule=schedule, stopped_at=stopped_at),
        "notes": [*changes.notes, *(f"row {p.name!r} still sends {p.task}: {p.why}" for p in changes.problems)],
    }


def write_forward(context: Context, noted: Facts) -> Facts:
    """Write what :func:`note_forward` has noted."""
    target, store = _stores(noted)
    states = noted["states"] if target is not None else {}
    change = {"rows": noted["rows"], "states": states, "skip": _skips(context)}
    done = write(context.plan, store, change, environ=context.environ, with_app=target is not None)
    touched = {change["id"] for change in noted["rows"]}
    left = [
        row["name"]
        for row in done.rows or ()
        if row["id"] in touched and row["enabled"] and _is_legacy(context, row["task"])
    ]
    return {"left": left, "notes": [*done.kept, *_due(context, done, "unified")]}


def note_back(context: Context, noted: Facts) -> Facts:
    """Return what the legacy side has to know, and what rows become again.

    Args:
        context: Of the step.
        noted: What was noted on the way there.
    """
    target, store = _stores(noted)
    found = _remembered(context, store) if store is not None else Remembered()
    changes = RowChanges()
    kinds = {ScheduleStore(**source).kind for source in noted["sources"]} | ({target.kind} if target else set())
    if found.rows is not None and kinds & {ROWS, UNKNOWN}:
        made = {*(target.schedule if target is not None else ()), *(entry.name for entry in context.plan.schedule)}
        changes = legacy_rows(context.plan, found.rows, noted["rows"], known=noted["known"], made=made)
    states = legacy_runs(context.plan, _runs(target, found)) if target is not None else {}
    return {
        "rows": changes.changes,
        "delete": changes.delete,
        "off": [c["id"] for c in changes.changes if c["after"] == {"enabled": False}],
        "states": states,
        "notes": [*changes.notes, *(f"row {p.name!r} is switched off: {p.why}" for p in changes.problems)],
    }


def write_back(context: Context, step: str, there: Facts, noted: Facts) -> Facts:
    """Write what :func:`note_back` has noted; ``there`` is what was noted on the way there."""
    sources = [ScheduleStore(**source) for source in there["sources"]]
    target = there["target"]
    rows = {"rows": noted["rows"], "delete": noted["delete"]}
    notes: list[str] = []
    for source in sources or ([ScheduleStore(**target)] if target else []):
        # Rows are one for all schedulers, last runs are each one's own.
        change = {**rows, "states": noted["states"] if sources else {}, "skip": _skips(context)}
        done = _write_legacy(context, step, source, change)
        rows = {"rows": [], "delete": []}
        notes += [*done.kept, *_due(context, done, "legacy")]
    return {"notes": notes}


def _write_legacy(context: Context, step: str, source: ScheduleStore, change: dict[str, Any]) -> Remembered:
    """Write; whether the app can still be imported is nothing that a rollback depends on."""
    if source.app and not any(embeds_beat(process.command) for process in legacy_beats(context.plan)):
        try:
            return write(context.plan, source, change, environ=context.environ, with_app=True)
        except MigratorError as failure:
            note(context, step, str(failure))
    return write(context.plan, source, change, environ=context.environ, with_app=False)


def _stores(noted: Facts) -> tuple[ScheduleStore | None, ScheduleStore | None]:
    """Return the store of the unified beat, and the one to ask: that one, or the first legacy one."""
    target = ScheduleStore(**noted["target"]) if noted["target"] else None
    return target, target or next((ScheduleStore(**source) for source in noted["sources"]), None)


def _remembered(context: Context, store: ScheduleStore) -> Remembered:
    """Return what a beat remembers; one whose file can't be read is as one that remembers nothing."""
    try:
        return read(context.plan, store, environ=context.environ)
    except MigratorError as failure:
        if store.kind != FILE:
            raise
        note(context, store.process, f"{failure}; its entries count from now")
        return Remembered()


def _runs(store: ScheduleStore, found: Remembered) -> dict[str, Any]:
    if store.kind == ROWS:
        return {row["name"]: {k: row[k] for k in ("last_run_at", "total_run_count")} for row in found.rows or ()}
    return dict(found.entries)


def _switched_off(context: Context) -> tuple[int, ...]:
    """Return the rows that the last rollback has switched off."""
    lines = [line for line in context.journal.entries() if (line.action, line.mark) == (NOTE_BACK, EntryKind.DONE)]
    return tuple(lines[-1].data.get("off", ())) if lines else ()


def _is_legacy(context: Context, task: str) -> bool:
    return context.plan.mapping(System.CELERY, task) is not None and context.plan.task(task) is None


def _skips(context: Context) -> bool:
    return context.plan.cutover.missed_firings is MissedFirings.SKIP


def _due(context: Context, done: Remembered, side: str) -> list[str]:
    if not done.due:
        return []
    names = ", ".join(done.due)
    if _skips(context):
        return [f"fell due while no scheduler ran, and skipped as the plan says: {names}"]
    return [f"fell due while no scheduler ran, and run once by the {side} one: {names}"]
