"""The step that migrates the database: its dead letters survive, whatever happens to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from shop import Shop, options
from step_runs import begin, tables

from migrator.runner.execute import run_back, run_forward
from migrator.state.journal import EntryKind, Phase, entry, open_journal
from migrator.steps.order import step_named
from migrator.steps.protocol import Context


def keep_failure(shop: Shop, name: str) -> None:
    """Write a dead letter as the unified app would."""
    with closing(sqlite3.connect(shop.folder / "src" / "shop.sqlite3")) as database, database:
        database.execute("insert into jobs_taskfailure (task_name) values (?)", (name,))


def failures(shop: Shop) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(shop.folder / "src" / "shop.sqlite3")) as database:
        return database.execute("select id, task_name from jobs_taskfailure order by id").fetchall()


def test_dead_letters_survive_rollbacks_however_often_and_wherever_these_are_killed(shop: Shop) -> None:
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    step = step_named("migrate_database")
    assert step is not None
    for number in range(3):
        given = begin(given)
        if number == 2:
            # Killed when the table was there again, and what had been exported was not; then taken back.
            record, migrate, _ = step.actions(given)
            for action in (record, migrate):
                given.journal.write(entry(given.run, Phase.FORWARD, EntryKind.STARTED, step.name, action=action.id))
                facts = dict(action.run() or {})
                given.journal.write(
                    entry(given.run, Phase.FORWARD, EntryKind.DONE, step.name, action=action.id, data=facts)
                )
            assert failures(shop) == []
        else:
            run_forward(given, step)
            assert failures(shop) == [(n + 1, f"letter {n}") for n in range(number)]
            keep_failure(shop, f"letter {number}")
        run_back(given, step)
        assert tables(shop) == set()
    # Single tasks may be moved before the next cutover: that belongs to the run that was taken back.
    for action in step.actions(given):
        action.run()
    keep_failure(shop, "of a single task")
    run_forward(begin(given), step)
    assert failures(shop) == [(1, "letter 0"), (2, "letter 1"), (3, "of a single task")]


def test_the_migration_of_rows_that_earlier_versions_wrote_does_not_run_while_legacy_reads_them(shop: Shop) -> None:
    step = step_named("migrate_database")
    assert step is not None
    marker = shop.folder / "renamed"
    (shop.folder / "src/jobs/migrations/0900_legacy_periodic_tasks.py").write_text(
        "from pathlib import Path\n"
        "from django.db import migrations\n\n\n"
        "def rename(apps, schema_editor):\n"
        f"    Path({str(marker)!r}).touch()\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("jobs", "0001_initial")]\n'
        "    operations = [migrations.RunPython(rename, rename)]\n"
    )
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    for _ in range(2):
        given = begin(given)
        run_forward(given, step)
        assert tables(shop) and not marker.exists()
        assert not step.verify(given).errors
        run_back(given, step)
        assert not tables(shop) and not marker.exists()


def test_tables_go_where_the_routers_of_the_project_send_the_app(shop: Shop) -> None:
    settings = shop.folder / "src/shop/settings.py"
    router = """
class Router:
    def db_for_read(self, model, **hints):
        return "letters" if model._meta.app_label == "jobs" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "letters") == (app_label == "jobs")
"""
    (shop.folder / "src/shop/routers.py").write_text(router)
    letters = shop.folder / "letters.sqlite3"
    other = f'DATABASES["letters"] = {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(letters)!r}}}\n'
    settings.write_text(settings.read_text() + other + 'DATABASE_ROUTERS = ["shop.routers.Router"]\n')
    step = step_named("migrate_database")
    assert step is not None
    given = begin(
        Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    )
    run_forward(given, step)
    assert not tables(shop), "the default database has none"
    with closing(sqlite3.connect(letters)) as database, database:
        database.execute("insert into jobs_taskfailure (task_name) values ('kept')")
    run_back(given, step)
    given = begin(given)
    run_forward(given, step)
    with closing(sqlite3.connect(letters)) as database:
        assert database.execute("select task_name from jobs_taskfailure").fetchall() == [("kept",)]
    # Migrations that are recorded where no query of the app goes are not enough.
    (shop.folder / "src/shop/routers.py").write_text(
        router.replace('(db == "letters") == (app_label == "jobs")', "False")
    )
    with closing(sqlite3.connect(letters)) as database, database:
        database.execute("drop table jobs_taskfailure")
    assert {finding.code for finding in step.verify(given).errors} == {"DATABASE-NO-TABLE"}
