"""Bring the database to what the unified app needs: its tables are additive, so the legacy system goes on meanwhile.

Undo exports every row of the app first and then migrates back to the state that was recorded before; the next cutover
takes the exported rows in again, as they were. No worker runs meanwhile: a rollback has a ``manage.py`` ready for it.

Tables go where the project's routers send the app's models, which a query on each of them proves.

A migration of rows of django_celery_beat, which earlier versions wrote into the app, is left out: a legacy beat that
runs would send what it then reads. :mod:`migrator.steps.hand_over_schedule` changes those rows.

Source: `manage.py showmigrations` prints `[X] name` for an applied migration, `[ ] name` for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from migrator.errors import UnreachableError
from migrator.plan.model import Plan
from migrator.project.app_database import DEFAULT, app_database
from migrator.project.commands import manage
from migrator.project.manage_server import running_manage_server
from migrator.report import Report
from migrator.steps.protocol import Action, Context, Facts, Step, error, findings_report, nothing_to_check, recorded

NAME = "migrate_database"
#: The migration of earlier versions; the last of its app.
ROWS_MIGRATION = "0900_legacy_periodic_tasks"
_EXPORT = re.compile(r"run-(\d+)\.json")
_LINE = re.compile(r"^\s*\[(?P<done>[X ])\]\s+(?P<name>\S+)", re.MULTILINE)


def migrations(context: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the app's applied and unapplied migrations, in order.

    Raises:
        UnreachableError: The settings can't be imported or the database does not answer.
    """
    if not context.plan.project.app_label:
        return (), ()
    output = _manage(context, "showmigrations", context.plan.project.app_label)
    found = [(match["name"], match["done"] == "X") for match in _LINE.finditer(output)]
    return tuple(name for name, done in found if done), tuple(name for name, done in found if not done)


def export_file(plan: Plan, run: int) -> Path:
    """Return where the rows of the unified app are kept by an undo."""
    return plan.state_folder / "failures" / f"run-{run}.json"


def actions(context: Context) -> tuple[Action, ...]:
    """Record the state, then migrate; nothing for a unified app without tables."""
    label = context.plan.project.app_label
    if not label:
        return ()
    return (
        Action(id="record", sentence=f"note which migrations of {label} are applied", run=partial(_record, context)),
        Action(id="migrate", sentence=f"manage.py migrate {label}", run=partial(_migrate, context)),
        *_returning(context),
    )


def verify(context: Context) -> Report:
    """Nothing is left to apply, and every model can be asked."""
    applied, unapplied = migrations(context)
    findings = [
        error("DATABASE-NOT-MIGRATED", f"migration {name}", "is not applied", remedy="see manage.py showmigrations")
        for name in unapplied
        if name != ROWS_MIGRATION
    ]
    if context.plan.project.app_label and not findings:
        what, remedy = "can't be asked", "let db_for_write and allow_migrate of DATABASE_ROUTERS name one database"
        for text in app_database(context.plan, "query", environ=context.environ)[1]:
            findings.append(error("DATABASE-NO-TABLE", "database", what, found=text, remedy=remedy))
    return findings_report("migrations are applied", findings, checked=max(1, len(applied)))


def undo(context: Context) -> tuple[Action, ...]:
    """Export the app's rows, then migrate back to what was recorded."""
    label = context.plan.project.app_label
    facts = recorded(context, NAME, "record")
    if not facts.get("unapplied"):
        return ()
    before = facts["applied"]
    target = before[-1] if before else "zero"
    return (
        Action(
            id="export",
            sentence=f"export the rows of {label} to {export_file(context.plan, context.run)}",
            run=partial(_export, context, len(before)),
        ),
        Action(id="migrate-back", sentence=f"manage.py migrate {label} {target}", run=partial(_back, context, target)),
    )


@contextmanager
def undo_prepared(context: Context) -> Iterator[Context]:
    """Give a context in which the undo need not wait until the project is imported; it is begun at once."""
    if not recorded(context, NAME, "record").get("unapplied"):
        yield context
        return
    with running_manage_server(context.plan, context.environ) as manage_server:
        yield replace(context, manage_server=manage_server)


def cannot_undo(context: Context) -> tuple[str, ...]:
    """Return what dropping the tables means."""
    label, file = context.plan.project.app_label, export_file(context.plan, context.run)
    return (f"rows of {label} leave the database; they are exported to {file}",) if label else ()


def last_export(plan: Plan, run: int) -> Path | None:
    """Return the rows that the last rollback up to this run exported; each export holds those of earlier ones too."""
    exported = export_file(plan, 0).parent.glob("run-*.json")
    files = {int(found[1]): file for file in exported if (found := _EXPORT.fullmatch(file.name))}
    known = [number for number in files if number <= run]
    return files[max(known)] if known else None


def _returning(context: Context) -> tuple[Action, ...]:
    file = last_export(context.plan, context.run)
    if file is None:
        return ()
    sentence = f"take in again what a rollback exported to {file}"
    return (Action(id="import", sentence=sentence, run=partial(_import, context, file)),)


def _import(context: Context, file: Path) -> Facts:
    if there := _manage(context, "dumpdata", context.plan.project.app_label).count('"model":'):
        # The table was never dropped, or single tasks were moved meanwhile: what has happened to its rows since counts.
        return {"imported": "", "rows": there}
    _manage(context, "loaddata", str(file))
    return {"imported": str(file)}


def _record(context: Context) -> Facts:
    applied, unapplied = migrations(context)
    return {"applied": applied, "unapplied": unapplied, "database": _database(context)}


def _migrate(context: Context) -> None:
    applied, unapplied = migrations(context)
    before = (*applied, *unapplied)
    last = before[: before.index(ROWS_MIGRATION)][-1:] if ROWS_MIGRATION in unapplied else ()
    _manage(context, "migrate", context.plan.project.app_label, *last, "--noinput")


def _export(context: Context, before: int) -> Facts:
    label = context.plan.project.app_label
    file = export_file(context.plan, context.run)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    earlier = last_export(context.plan, context.run - 1)
    if earlier is not None and not recorded(context, NAME, "import") and migrations(context)[0]:
        # Killed before these were back: this export must hold them too.
        _import(context, earlier)
    try:
        _manage(context, "dumpdata", label, "--output", str(draft))
    except UnreachableError:
        # Without its tables there is nothing to export; any other reason shows up again here.
        if len(migrations(context)[0]) > before:
            raise
        return {"rows": 0, "file": ""}
    draft.replace(file)
    return {"rows": file.read_text(encoding="utf-8").count('"model":'), "file": str(file)}


def _back(context: Context, target: str) -> None:
    _manage(context, "migrate", context.plan.project.app_label, target, "--noinput")


def _database(context: Context) -> str:
    noted = recorded(context, NAME, "record").get("database")
    return str(noted or app_database(context.plan, environ=context.environ)[0])


def _manage(context: Context, *arguments: str) -> str:
    database = (
        recorded(context, NAME, "record").get("database") or app_database(context.plan, environ=context.environ)[0]
    )
    on = () if database == DEFAULT else ("--database", database)
    return manage(context.plan, *arguments, *on, environ=context.environ, manage_server=context.manage_server)


STEP = Step(
    name=NAME,
    title="Migrate the database",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=cannot_undo,
)
