"""Bring the database to what the unified app needs: its tables are additive, so the legacy system goes on meanwhile.

Undo exports every row of the app first and then migrates back to the state that was recorded before; the next cutover
takes the exported rows in again, as they were. No worker runs meanwhile: a rollback has a ``manage.py`` ready for it.

Tables go where the project's routers send the app's models, which a query on each of them proves.

A migration that renames rows of django_celery_beat, which earlier versions wrote into the app, is left out: while the
legacy beat runs, it would send what it then reads (:mod:`migrator.steps.hand_over_schedule` changes those rows).

Source: `manage.py showmigrations` prints `[X] name` for an applied migration, `[ ] name` for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson

from migrator.errors import RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.project.commands import ask_script, last_lines, manage
from migrator.project.manage_server import running_manage_server
from migrator.report import Report
from migrator.steps.protocol import Action, Context, Facts, Step, error, findings_report, nothing_to_check, recorded

NAME = "migrate_database"
#: The migration of earlier versions; the last of its app.
ROWS_MIGRATION = "0900_legacy_periodic_tasks"
_DEFAULT = "default"
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


def app_database(context: Context, *query: str) -> tuple[str, tuple[str, ...]]:
    """Return the database that the project's routers send the app to, and what a query on its models finds wrong.

    Raises:
        UnreachableError: The settings can't be imported.
        RefusedError: They send its models to several databases.
    """
    plan = context.plan
    label = plan.project.app_label
    words, folder = (plan.project.settings, label, *query), plan.source_root
    code, answer, errors = ask_script(plan, "app_database", *words, folder=folder, environ=context.environ)
    if code != 0:
        raise UnreachableError(str(folder), "the project can't be imported", found=last_lines(errors))
    found = orjson.loads(answer)
    databases = found["databases"] or [_DEFAULT]
    if len(databases) > 1:
        remedy = "let db_for_write of the routers give all of them one"
        raise RefusedError(
            f"app {label}", "its models go to several databases", found=", ".join(databases), remedy=remedy
        )
    return databases[0], tuple(found["missing"])


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
    """Nothing is left to apply."""
    applied, unapplied = migrations(context)
    findings = [
        error("DATABASE-NOT-MIGRATED", f"migration {name}", "is not applied", remedy="see manage.py showmigrations")
        for name in unapplied
        if name != ROWS_MIGRATION
    ]
    if context.plan.project.app_label and not findings:
        remedy = "see DATABASE_ROUTERS: allow_migrate and db_for_write have to name one database"
        what = "can't be asked where the project's routers send it"
        _, missing = app_database(context, "query")
        findings += [error("DATABASE-NO-TABLE", "database", what, found=text, remedy=remedy) for text in missing]
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
    if not context.plan.project.app_label:
        return ()
    file = export_file(context.plan, context.run)
    return (f"rows of {context.plan.project.app_label} leave the database; they are exported to {file}",)


def last_export(plan: Plan, run: int) -> Path | None:
    """Return the rows that the last rollback up to this run exported; each export holds those of earlier ones too."""
    files = {int(found[1]): file for file in _exports(plan) if (found := _EXPORT.fullmatch(file.name))}
    known = [number for number in files if number <= run]
    return files[max(known)] if known else None


def _exports(plan: Plan) -> tuple[Path, ...]:
    folder = export_file(plan, 0).parent
    return tuple(folder.iterdir()) if folder.is_dir() else ()


def _returning(context: Context) -> tuple[Action, ...]:
    file = last_export(context.plan, context.run)
    if file is None:
        return ()
    sentence = f"take in again what a rollback exported to {file}"
    return (Action(id="import", sentence=sentence, run=partial(_import, context, file)),)


def _import(context: Context, file: Path) -> Facts:
    label = context.plan.project.app_label
    there = _manage(context, "dumpdata", label).count('"model":')
    if there:
        # The table was never dropped, or single tasks were moved meanwhile: what has happened to its rows since counts.
        return {"imported": "", "rows": there}
    _manage(context, "loaddata", str(file))
    return {"imported": str(file)}


def _record(context: Context) -> Facts:
    applied, unapplied = migrations(context)
    return {"applied": applied, "unapplied": unapplied, "database": app_database(context)[0]}


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


def _manage(context: Context, *arguments: str) -> str:
    database = recorded(context, NAME, "record").get("database") or app_database(context)[0]
    on = () if database == _DEFAULT else ("--database", database)
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
