"""Legacy processes that stay: started after the transfer, stopped before the source goes back, killed in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shop import Shop, eventually, options, orders_done, send_orders

from migrator.runner.execute import run_back, run_forward
from migrator.state.journal import EntryKind, Phase, entry, open_journal
from migrator.steps.order import step_named
from migrator.steps.protocol import STAYING, Context, staying
from migrator.steps.restart_staying import STEP
from migrator.workers.start_stop import list_processes

STAYS = ("old-dramatiq", "old-celery")


@pytest.fixture
def context(shop: Shop) -> Context:
    """A run that found three legacy processes running, and two of these staying with a third that did not run."""
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, options=options())
    data = {"running": [*STAYS, "old-web"], STAYING: [*STAYS, "old-beat"]}
    given.journal.write(entry(1, Phase.FORWARD, EntryKind.RUN_BEGUN, data=data))
    return given


def running(shop: Shop) -> set[str]:
    return {state.name for state in list_processes(shop.plan, environ=shop.environ) if state.state != "stopped"}


def test_there_and_back_and_there_again(shop: Shop, context: Context) -> None:
    assert [process.name for process in staying(context)] == ["old-dramatiq", "old-celery", "old-beat"]
    run_forward(context, STEP)
    assert running(shop) == set(STAYS)
    assert not STEP.verify(context).errors
    send_orders(shop, 0, 8)
    eventually(lambda: len(orders_done(shop)) == 6, timeout_s=60)
    run_back(context, STEP)
    assert running(shop) == set()
    assert {finding.code for finding in STEP.verify(context).errors} == {"PROCESS-NOT-READY"}
    again = replace(context, run=2)
    again.journal.write(entry(2, Phase.FORWARD, EntryKind.RUN_BEGUN, data={"running": STAYS, STAYING: STAYS}))
    run_forward(again, STEP)
    assert running(shop) == set(STAYS)


def test_verify_wants_them_running(shop: Shop, context: Context) -> None:
    verify = step_named("verify")
    assert verify is not None
    run_forward(context, STEP)
    stopped = [f.where for f in verify.verify(context).errors if f.code == "PROCESS-NOT-STOPPED"]
    assert stopped == []
    run_back(context, STEP)
    missing = [f.where for f in verify.verify(context).errors if f.code == "PROCESS-NOT-READY"]
    assert {"process old-dramatiq", "process old-celery"} <= set(missing)


def test_while_no_run_has_recorded_them_the_preflight_says_who_stays(shop: Shop) -> None:
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, stays=("old-celery",))
    sentences = [action.sentence for action in STEP.actions(given)]
    assert sentences == ["start old-celery", "wait until old-celery is ready, at most 60 s"]
    assert STEP.actions(replace(given, stays=())) == ()
