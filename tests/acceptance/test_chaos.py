"""Workers and brokers that die in the middle of a cutover: nothing lost, nothing doubled, no state left unsaid."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shop import Shop, eventually, open_shop, options, orders_done, send_orders, start_legacy

from migrator.embedded_redis import EmbeddedServer, find_server, free_port
from migrator.errors import ExitCode, InterruptedRunError
from migrator.events import Event, EventKind
from migrator.runner import cutover as runner
from migrator.runner.report import RunOutcome, RunReport
from migrator.runner.state import MigrationState
from migrator.wire.message import Side
from migrator.workers.drivers.process_identity import descendants, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.start_stop import list_processes


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = EmbeddedServer(
        port=free_port(),
        folder=folder,
        binary=find_server(),
        arguments=("--appendonly", "yes", "--appendfsync", "always"),
    )
    server.start()
    try:
        with open_shop(tmp_path / "shop", server) as opened:
            yield opened
    finally:
        server.stop()


def at(text: str, work: Callable[[], None]) -> Callable[[Event], None]:
    """A listener that does something right before the action that says ``text``, once."""
    done = []

    def listen(event: Event) -> None:
        if event.kind is EventKind.ACTION and event.done == 0 and event.text.startswith(text) and not done:
            done.append(True)
            work()

    return listen


def kill(shop: Shop, *names: str, children: bool) -> None:
    for name in names:
        record = read_record(shop.plan, name)
        assert record is not None
        family = (record.identity, *descendants(record.identity))
        for member in family if children else family[:1]:
            os.kill(member.pid, signal.SIGKILL)
        wait_gone(family if children else family[:1], timeout_s=5)


def running(shop: Shop, side: Side) -> set[str]:
    states = list_processes(shop.plan, environ=shop.environ)
    return {state.name for state in states if state.state == "running" and state.side is side}


def everything_is_done_or_waits_once(shop: Shop, sent: int) -> None:
    """Every order was done once or waits once; every fourth is due in a quarter of an hour."""
    eventually(lambda: len(set(orders_done(shop))) == sent * 3 // 4, timeout_s=30)
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"
    waiting = runner.status(shop.plan, environ=shop.environ).waiting
    assert sum(waiting.values()) == sent // 4, waiting


def cutover(shop: Shop, listener: Callable[[Event], None]) -> RunReport:
    return runner.cutover(shop.plan, environ=shop.environ, options=options(), listener=listener)


@pytest.mark.acceptance
def test_legacy_workers_that_are_killed_while_they_are_stopped(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 80, later_s=900)
    eventually(lambda: len(orders_done(shop)) == 60)

    def work() -> None:
        # The master of the Dramatiq worker dies, its child works on; the Celery worker dies with what it holds.
        kill(shop, "old-dramatiq", children=False)
        kill(shop, "old-celery", children=True)

    report = cutover(shop, at("tell old-celery to take no more", work))
    assert report.outcome is RunOutcome.DONE, report.failure
    assert running(shop, Side.LEGACY) == set()
    everything_is_done_or_waits_once(shop, 80)


@pytest.mark.acceptance
def test_a_unified_worker_that_dies_after_the_transfer_takes_everything_back(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    eventually(lambda: len(orders_done(shop)) == 30)
    report = cutover(shop, at("transfer what late", lambda: kill(shop, "new-worker", children=True)))
    assert report.outcome is RunOutcome.UNDONE, report.failure
    assert "new-worker" in report.failure
    assert running(shop, Side.LEGACY) == {"old-dramatiq", "old-celery", "old-beat", "old-web"}
    assert running(shop, Side.UNIFIED) == set()
    everything_is_done_or_waits_once(shop, 40)


@pytest.mark.acceptance
@pytest.mark.parametrize("action", ["copy all messages", "transfer all messages to"])
def test_a_broker_that_goes_down_in_the_middle_and_comes_back(shop: Shop, action: str) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    eventually(lambda: len(orders_done(shop)) == 30)
    try:
        report = cutover(shop, at(action, shop.server.stop))
    except InterruptedRunError as interrupted:
        assert interrupted.exit_code is ExitCode.INTERRUPTED
    else:
        assert report.outcome is RunOutcome.STOPPED, report.outcome
        assert report.exit_code is ExitCode.UNREACHABLE
        assert "the rollback failed too" in report.failure
    now = runner.status(shop.plan, environ=shop.environ)
    assert now.state in (MigrationState.ROLLING_BACK, MigrationState.MIGRATING)
    assert now.problems
    shop.server.start()
    back = runner.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure
    assert running(shop, Side.LEGACY) == {"old-dramatiq", "old-celery", "old-beat", "old-web"}
    everything_is_done_or_waits_once(shop, 40)
