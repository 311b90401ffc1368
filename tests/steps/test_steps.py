"""Every step: do, verify, undo, verify restored, do again; with real workers, messages, database and git."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from shop import Shop, eventually, in_child, kill_at, options, orders_done, send_orders, start_legacy, with_net
from step_runs import begin, tables
from supervised import supervised_shop

from migrator.brokers.connect import connect
from migrator.plan.processes import Driver
from migrator.runner.execute import run_back, run_forward
from migrator.state.journal import open_journal
from migrator.steps.order import ROLLBACK, STEPS, step_named
from migrator.steps.protocol import Context, Step
from migrator.wire.message import Side, State
from migrator.workers import legacy_aliases
from migrator.workers.drivers.command import process_named
from migrator.workers.start_stop import list_processes, start_side, stop_side


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
        "net": [
            legacy_aliases.is_enabled(shop.plan, shop.environ),
            legacy_aliases.missing(shop.plan, process_named(shop.plan, "new-worker"), environ=shop.environ),
        ],
    }


#: Steps that start or stop processes: what differs under a process manager.
WITH_PROCESSES = (
    "start_workers",
    "quiesce_schedulers",
    "stop_producers",
    "start_producers",
    "stop_workers",
    "legacy_aliases",
    "start_scheduler",
)


@pytest.fixture(params=["command", "supervisor"])
def site(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The shop with legacy aliases, run by ourselves or by a supervisord of its own."""
    shop = with_net(shop)
    if request.param == "command":
        yield shop
        return
    with supervised_shop(shop) as (supervised, _):
        yield supervised


def killed_everywhere(context: Context, step: Step, go: Callable[[Context, Step], object], *, then: int) -> int:
    """Do a step, killed after the effect of an action and before its record, until it ends; return the kills.

    Args:
        then: The event at which the repeated run is killed: 3 is the beginning of the next action, so that each action
            is killed in both places; with 5 every other one is.
    """
    for kills in range(100):
        listener = kill_at(2 if kills % 2 == 0 else then)
        code = in_child(partial(go, replace(context, listener=listener), step))
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, f"{step.name} ended with {code} after {kills} kills"
    pytest.fail("no end")


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_every_step_there_and_back_and_there_again_killed_after_each_action(site: Shop) -> None:
    start_legacy(site)
    send_orders(site, 0, 40, later_s=900)
    eventually(lambda: len(orders_done(site)) == 30, timeout_s=60)
    given = Context(plan=site.plan, environ=site.environ, journal=open_journal(site.plan), run=0, options=options())
    # Under supervisord half of the kills have to do, and the steps that start or stop something.
    ours = site.plan.processes[0].driver is Driver.COMMAND
    then = 3 if ours else 5
    kills = {"preflight": 0}
    for step in STEPS:
        context = begin(given)
        if not ours and step.name not in WITH_PROCESSES:
            given = context
            run_forward(given, step)
            continue
        before = seen(site)
        there = killed_everywhere(context, step, run_forward, then=then)
        after = seen(site)
        kills[step.name] = there + killed_everywhere(context, step, run_back, then=then)
        if step.name == "start_workers":
            stop_side(site.plan, Side.UNIFIED, environ=site.environ)
        back = seen(site)
        if step.name == "transfer":
            # Its undo waits until the unified workers are gone: in a rollback they were told to stop before.
            start_side(site.plan, Side.UNIFIED, environ=site.environ, names=["new-worker"])
            back["running"].add("new-worker")
        assert back == before, step.name
        given = begin(context)
        run_forward(given, step)
        assert seen(site) == after, step.name
    assert after["running"] == {"new-worker", "new-beat", "new-web"}
    assert after["net"] == [True, ()]
    assert set(kills) == ({step.name for step in STEPS} if ours else {"preflight", *WITH_PROCESSES})
    without = {"preflight", "restart_staying"} & set(kills)
    assert {name for name, number in kills.items() if not number} == without, "every other step has actions"
    done = orders_done(site)
    assert len(done) == len(set(done)) == 30, "nothing ran twice, and nothing that is due later"


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
