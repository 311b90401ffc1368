"""Every step: do, verify, undo, verify restored, do again; with real workers, messages, database and git."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from shop import Shop, eventually, options, orders_done, send_orders, start_legacy

from migrator.brokers import connect
from migrator.journal import Mark, Phase, entry, open_journal
from migrator.message import State
from migrator.plan import Side
from migrator.runner_engine import run_back, run_forward
from migrator.steps import ROLLBACK, STEPS, Context, step_named
from migrator.workers.side import list_processes, start_side, stop_side


def begin(context: Context) -> Context:
    """Begin another run, in which every process of the legacy side was running."""
    started = replace(context, run=context.run + 1)
    running = [process.name for process in context.plan.select(side=Side.LEGACY)]
    started.journal.write(entry(started.run, Phase.FORWARD, Mark.RUN_BEGUN, data={"running": running}))
    return started


def tables(shop: Shop) -> set[str]:
    """The tables of the unified app, from the database itself."""
    with closing(sqlite3.connect(shop.folder / "src" / "shop.sqlite3")) as database:
        return {name for (name,) in database.execute("select name from sqlite_master where name like 'jobs_%'")}


def seen(shop: Shop) -> dict[str, Any]:
    """Everything that a step may change."""
    waiting = {}
    for endpoint in (*shop.plan.legacy, shop.plan.unified):
        broker = connect(endpoint, shop.environ)
        # What a living worker has prefetched lies in another place than what waits: together they are one number.
        waiting[endpoint.side, endpoint.system] = sum(
            count for (_, state), count in broker.depths().items() if state is not State.DEAD
        )
        broker.close()
    return {
        "running": {s.name for s in list_processes(shop.plan, environ=shop.environ) if s.state == "running"},
        "tables": tables(shop),
        "tree": shop.git("ls-files", "--stage", "--", "src/jobs"),
        "status": shop.git("status", "--porcelain"),
        "waiting": waiting,
    }


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
                given.journal.write(entry(given.run, Phase.FORWARD, Mark.STARTED, step.name, action=action.id))
                facts = dict(action.run() or {})
                given.journal.write(entry(given.run, Phase.FORWARD, Mark.DONE, step.name, action=action.id, data=facts))
            assert failures(shop) == []
        else:
            run_forward(given, step)
            assert failures(shop) == [(n + 1, f"letter {n}") for n in range(number)]
            keep_failure(shop, f"letter {number}")
        run_back(given, step)
        assert tables(shop) == set()
    run_forward(begin(given), step)
    assert failures(shop) == [(1, "letter 0"), (2, "letter 1")]


@pytest.mark.acceptance
def test_every_step_there_and_back_and_there_again(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    eventually(lambda: len(orders_done(shop)) == 30)
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    for step in STEPS:
        context = begin(given)
        before = seen(shop)
        run_forward(context, step)
        after = seen(shop)
        run_back(context, step)
        if step.name == "start_workers":
            stop_side(shop.plan, Side.UNIFIED, environ=shop.environ)
        back = seen(shop)
        if step.name == "transfer":
            # Its undo waits until the unified workers are gone: in a rollback they were told to stop before.
            start_side(shop.plan, Side.UNIFIED, environ=shop.environ, names=["new-worker"])
            back["running"].add("new-worker")
        assert back == before, step.name
        given = begin(context)
        run_forward(given, step)
        assert seen(shop) == after, step.name
    assert after["running"] == {"new-worker", "new-beat", "new-web"}


def test_the_way_back_names_every_step_once() -> None:
    assert sorted(step.name for step in STEPS) == sorted(step.name for step in ROLLBACK)
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert step_named("transfer") in STEPS
    assert step_named("nonsense") is None


def test_looking_at_actions_changes_nothing(shop: Shop) -> None:
    context = begin(
        Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    )
    before = seen(shop)
    for step in STEPS:
        actions = (*step.actions(context), *step.undo(context))
        assert all(action.sentence for action in actions)
        ids = [action.id for action in step.actions(context)]
        assert len(ids) == len(set(ids)), f"{step.name} has two actions of one id"
    assert seen(shop) == before
