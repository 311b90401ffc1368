"""The shop under a real supervisord: real Celery and Dramatiq workers, and a whole cutover there and back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from shop import Shop, eventually, options, orders_done, send_orders
from supervised import Supervised, supervised_shop

from migrator.errors import ExitCode, UnreachableError
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.runner.state import MigrationState
from migrator.wire.message import Side
from migrator.workers import drain, processes
from migrator.workers.drivers.command import process_named
from migrator.workers.drivers.process_identity import identify, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.readiness import wait_ready
from migrator.workers.start_stop import list_processes, start_side, stop_side

LEGACY = {"old-dramatiq", "old-celery", "old-beat", "old-web"}
UNIFIED = {"new-worker", "new-beat", "new-web"}


@pytest.fixture
def site(shop: Shop) -> Iterator[tuple[Shop, Supervised]]:
    with supervised_shop(shop) as opened:
        yield opened


def running(shop: Shop) -> set[str]:
    return {state.name for state in list_processes(shop.plan, environ=shop.environ) if state.state == "running"}


def states(supervised: Supervised) -> dict[str, str]:
    lines = (line.split() for line in supervised.ctl("status").splitlines())
    return {line[0]: line[1] for line in lines}


@pytest.mark.acceptance
def test_workers_are_started_drained_stopped_and_stay_stopped(site: tuple[Shop, Supervised]) -> None:
    shop, supervised = site
    started = start_side(shop.plan, Side.LEGACY, environ=shop.environ)
    assert {state.name: str(state.pid) for state in started} == {
        name: supervised.ctl("pid", name).strip() for name in LEGACY
    }
    celery = process_named(shop.plan, "old-celery")
    record = read_record(shop.plan, "old-celery")
    assert record is not None
    assert record.node == f"old-celery@{os.uname().nodename}", "found by its pid: we did not choose its name"

    # Both are in the middle of an order when they are told to stop.
    shop.run(
        "from jobs.old_celery import pack_order; pack_order.delay(1, delay_s=4)\n"
        "from jobs.old_dramatiq import pack_box; pack_box.send(2, delay_s=4)"
    )
    with shop.redis() as client:
        eventually(lambda: client.hlen("unacked") and list(client.scan_iter("dramatiq:__acks__.*.default")))
    assert drain.cancel_consumers(shop.plan, celery, environ=shop.environ) == ("celery",)
    drain.wait_idle(shop.plan, celery, environ=shop.environ)
    assert 1 in orders_done(shop), "it waits for what is being run"
    stop_side(shop.plan, Side.LEGACY, environ=shop.environ)
    assert orders_done(shop) == [1, 2]
    time.sleep(2)
    assert set(states(supervised).values()) == {"STOPPED"}, "autorestart=true must not bring anything back"
    assert {state.state for state in list_processes(shop.plan, environ=shop.environ)} == {"stopped"}


@pytest.mark.acceptance
def test_children_of_a_killed_dramatiq_worker_are_found_beside_the_restarted_one(
    site: tuple[Shop, Supervised],
) -> None:
    shop, _ = site
    dramatiq = process_named(shop.plan, "old-dramatiq")
    processes.start(shop.plan, dramatiq, environ=shop.environ)
    first = wait_ready(shop.plan, dramatiq, environ=shop.environ)
    os.kill(first.pid, signal.SIGKILL)
    wait_gone([first.identity], timeout_s=5)
    eventually(lambda: processes.current(shop.plan, dramatiq, environ=shop.environ))
    second = wait_ready(shop.plan, dramatiq, environ=shop.environ)
    assert second.pid != first.pid
    found = {s.state: s for s in list_processes(shop.plan, environ=shop.environ) if s.name == "old-dramatiq"}
    assert found["running"].pid == second.pid
    left = found["orphaned"].children
    assert left

    refused = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert refused.exit_code is ExitCode.REFUSED
    assert "PROCESS-ORPHANED" in {finding.code for finding in refused.findings}

    stop_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["old-dramatiq"])
    assert all(identify(pid) is None for pid in left)


@pytest.mark.acceptance
def test_there_and_back_under_supervisord(site: tuple[Shop, Supervised]) -> None:
    shop, supervised = site
    # It is running already and was never seen by the tool: the usual case.
    supervised.ctl("start", *LEGACY)
    eventually(lambda: "ready." in supervised.ctl("tail", "old-celery", "stderr"), timeout_s=90)
    eventually(lambda: "is ready for action" in supervised.ctl("tail", "old-dramatiq", "stderr"), timeout_s=90)
    send_orders(shop, 0, 40, later_s=900)
    there = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert there.outcome is RunOutcome.DONE, there.failure or there.findings
    assert running(shop) == UNIFIED
    # What has just been started is STARTING for a second.
    eventually(lambda: {name for name, state in states(supervised).items() if state == "RUNNING"} == UNIFIED)
    assert {states(supervised)[name] for name in LEGACY} == {"STOPPED"}
    assert there.downtime_s is not None
    assert there.downtime_s < 60, "on a machine that does other things too; benchmarks say how long it is"
    assert there.moved >= 10
    eventually(lambda: len(orders_done(shop)) == 30, timeout_s=90)

    shop.run("from jobs.unified import pack; pack.delay(1000); pack.apply_async((1001,), countdown=900)")
    eventually(lambda: 1000 in orders_done(shop), timeout_s=90)
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure
    assert running(shop) == LEGACY
    assert {states(supervised)[name] for name in UNIFIED} == {"STOPPED"}
    assert back.moved == 11
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"


@pytest.mark.acceptance
def test_a_signal_to_the_whole_group_finds_no_task_to_abort(shop: Shop) -> None:
    """A pool process that gets the signal dies, and its task is lost: so the worker is drained first."""

    def to_the_group(programs: dict[str, dict[str, str]]) -> None:
        celery = programs["old-celery"]
        celery["command"] = celery["command"].replace("--pool=threads", "--pool=prefork")
        celery["stopasgroup"] = "true"

    with supervised_shop(shop, to_the_group) as (site, _):
        start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"])
        site.run("from jobs.old_celery import pack_order; pack_order.delay(1, delay_s=2)")
        time.sleep(1)
        stop_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"])
        assert orders_done(site) == [1]


def test_a_cutover_that_supervisord_would_break_is_refused(site: tuple[Shop, Supervised]) -> None:
    shop, _ = site
    hasty = replace(shop.plan, processes=tuple(replace(p, stop_timeout_s=90.0) for p in shop.plan.processes))
    refused = cutover.cutover(hasty, environ=shop.environ, options=options())
    assert refused.exit_code is ExitCode.REFUSED
    found = [finding.severity for finding in refused.findings if finding.code == "MANAGER-STOP-TIMEOUT"]
    assert sorted(found) == ["error"] * 3 + ["warning"] * 4, "only workers have messages to lose"


def test_a_cutover_without_supervisord_changes_nothing(site: tuple[Shop, Supervised]) -> None:
    shop, supervised = site
    supervised.child.terminate()
    supervised.child.wait(20)
    with pytest.raises(UnreachableError, match=r"supervisord at unix:.*: does not answer"):
        cutover.cutover(shop.plan, environ=shop.environ, options=options())
    status = cutover.status(shop.plan, environ=shop.environ)
    assert status.state is MigrationState.LEGACY
    assert len([problem for problem in status.problems if "does not answer" in problem]) == 1
    assert {state.state for state in status.processes} == {"unknown"}, "not running is something else"
