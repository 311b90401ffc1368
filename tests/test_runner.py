"""Whole runs on the shop: forward, back, forward, with real workers, killed at every action, refused, interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from shop import Shop, eventually, in_child, kill_at, open_shop, options, orders_done, send_orders, start_legacy

from migrator import runner
from migrator.errors import ExitCode
from migrator.runner_report import RunOutcome
from migrator.runner_state import MigrationState
from migrator.servers import EmbeddedServer
from migrator.workers.side import list_processes


@pytest.fixture
def shop(tmp_path: Path, redis_server: EmbeddedServer) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop", redis_server) as opened:
        yield opened


def running(shop: Shop) -> set[str]:
    return {state.name for state in list_processes(shop.plan, environ=shop.environ) if state.state == "running"}


LEGACY = {"old-dramatiq", "old-celery", "old-beat", "old-web"}
UNIFIED = {"new-worker", "new-beat", "new-web"}


@pytest.mark.acceptance
def test_there_and_back_and_there_again(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 200, later_s=900)

    there = runner.cutover(shop.plan, environ=shop.environ, options=options())
    assert there.outcome is RunOutcome.DONE, there.failure or there.findings
    assert running(shop) == UNIFIED
    assert there.gap_s is not None
    assert there.gap_s < 10
    assert not (shop.folder / "src/jobs/old_celery.py").exists()
    assert shop.git("status", "--porcelain") == ""
    assert there.moved >= 50, "every fourth order is due in a quarter of an hour and has to move"
    eventually(lambda: len(orders_done(shop)) == 150)

    shop.run("from jobs.unified import pack; pack.delay(1000); pack.apply_async((1001,), countdown=900)")
    eventually(lambda: 1000 in orders_done(shop))
    back = runner.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure
    assert running(shop) == LEGACY
    assert back.moved == 51
    assert (shop.folder / "src/jobs/old_celery.py").exists()
    assert shop.git("status", "--porcelain") == ""
    assert runner.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK

    send_orders(shop, 2000, 8)
    again = runner.cutover(shop.plan, environ=shop.environ, options=options())
    assert again.outcome is RunOutcome.DONE, again.failure or again.findings
    assert again.run == there.run + 1
    assert again.exit_code is ExitCode.CLEAN
    assert again.moved == 53
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"


def kill_through(shop: Shop, command: Callable[..., object]) -> int:
    """Run a command again and again, killed before, after and between the actions, until it ends; return the kills.

    Events alternate between "about to" and "has run": 2 is after the effect and before its record, 3 is before the
    effect of the next action. So every action is killed in both places and then repeated.
    """
    for kills in range(300):
        listener = kill_at(2 if kills % 2 == 0 else 3)
        code = in_child(partial(command, shop.plan, environ=shop.environ, options=options(), listener=listener))
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, f"ended with {code} after {kills} kills"
    pytest.fail("no end")


@pytest.mark.acceptance
def test_killed_at_every_action_forward_and_back(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 80, later_s=900)
    assert kill_through(shop, runner.cutover) > 40
    assert running(shop) == UNIFIED
    assert runner.status(shop.plan, environ=shop.environ).state is MigrationState.MIGRATED
    commits = int(shop.git("rev-list", "--count", "HEAD"))
    assert commits == 2, "the files were retired in exactly one commit"
    shop.run("from jobs.unified import pack; pack.delay(1000)")

    assert kill_through(shop, runner.rollback) > 30
    assert running(shop) == LEGACY
    assert runner.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK
    assert int(shop.git("rev-list", "--count", "HEAD")) == 3
    assert shop.git("diff", "HEAD~2", "--stat") == ""
    waiting = runner.status(shop.plan, environ=shop.environ).waiting
    eventually(lambda: len(orders_done(shop)) == 61)
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"
    assert sum(waiting.values()) >= 20, "the orders for later wait in the legacy queues again"
