"""Faults around a run: a full disk, a changed file, a clock that jumps, a second operator, Ctrl-C at any action."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest
import time_machine
from shop import Shop, eventually, in_child, options, orders_done, send_orders, signal_at, start_legacy

from migrator.errors import ExitCode, RefusedError
from migrator.events import Event, EventKind
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.runner.state import MigrationState
from migrator.wire.message import Side
from migrator.workers.start_stop import list_processes

HOUR_S = 3600.0


def running(shop: Shop, side: Side) -> set[str]:
    states = list_processes(shop.plan, environ=shop.environ)
    return {state.name for state in states if state.state == "running" and state.side is side}


LEGACY = {"old-dramatiq", "old-celery", "old-beat", "old-web"}


def beginning(text: str, work: Callable[[], None]) -> Callable[[Event], None]:
    """A listener that does something right before the action that says ``text``."""

    def listen(event: Event) -> None:
        if event.kind is EventKind.ACTION and event.done == 0 and event.text.startswith(text):
            work()

    return listen


def each_order_was_done_once(shop: Shop, ready: int, later: int) -> None:
    eventually(lambda: len(set(orders_done(shop))) == ready, timeout_s=60)
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"
    assert sum(cutover.status(shop.plan, environ=shop.environ).waiting.values()) == later


@pytest.mark.acceptance
def test_a_disk_that_fills_up_stops_the_run_and_the_same_command_goes_on(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 80, later_s=900)
    eventually(lambda: len(orders_done(shop)) == 60)

    def fill() -> None:
        # A limit on the size of files stands for a disk without space: every write beyond it fails.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (shop.plan.state_folder / "journal.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    listener = beginning("transfer all messages to", fill)
    code = in_child(partial(cutover.cutover, shop.plan, environ=shop.environ, options=options(), listener=listener))
    said = capfd.readouterr().out
    assert code == ExitCode.INTERRUPTED, said
    assert "journal.jsonl: nothing can be recorded (File too large); free some space; `migrator status` names" in said
    now = cutover.status(shop.plan, environ=shop.environ)
    assert now.state is MigrationState.MIGRATING
    assert "interrupted: nobody is at it" in now.text
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert report.outcome is RunOutcome.DONE, report.failure
    each_order_was_done_once(shop, ready=60, later=20)


@pytest.mark.acceptance
def test_a_file_that_somebody_changes_meanwhile_takes_everything_back_and_stays_changed(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    file = shop.folder / "src/jobs/old_celery.py"
    before = file.read_text()

    def change() -> None:
        file.write_text(before + "# a late fix\n")

    listener = beginning("transfer all messages to", change)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(), listener=listener)
    assert report.outcome is RunOutcome.UNDONE, report.failure
    assert report.exit_code is ExitCode.REFUSED
    assert "old_celery.py" in report.failure
    assert file.read_text() == before + "# a late fix\n"
    assert shop.git("log", "-1", "--format=%s") == "The shop"
    assert running(shop, Side.LEGACY) == LEGACY
    assert running(shop, Side.UNIFIED) == set()
    each_order_was_done_once(shop, ready=30, later=10)


@pytest.mark.acceptance
def test_a_clock_that_jumps_at_every_action_disturbs_no_wait_and_no_measure(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    with time_machine.travel(time.time(), tick=True) as clock:
        # Behind and ahead: what is for later is due when the server says so.
        jumps = [-2 * HOUR_S, 3 * HOUR_S, -2 * HOUR_S, HOUR_S]

        def jump(event: Event) -> None:
            if event.kind is EventKind.ACTION:
                clock.shift(jumps[0])
                jumps.append(jumps.pop(0))

        there = cutover.cutover(shop.plan, environ=shop.environ, options=options(), listener=jump)
        assert there.outcome is RunOutcome.DONE, there.failure
        back = cutover.rollback(shop.plan, environ=shop.environ, options=options(), listener=jump)
        assert back.outcome is RunOutcome.DONE, back.failure
    for report in (there, back):
        assert report.downtime_s is not None
        assert 0 < report.downtime_s < 120
        assert 0 < report.elapsed_s < 300
        assert all(0 <= step.elapsed_s < 120 for step in report.steps)
    each_order_was_done_once(shop, ready=30, later=10)


def test_a_second_operator_is_told_who_is_at_it_and_changes_nothing(shop: Shop) -> None:
    told = []

    def meanwhile(event: Event) -> None:
        if event.kind is EventKind.ACTION and event.done == 0:
            for command in (cutover.cutover, cutover.rollback):
                with pytest.raises(RefusedError) as caught:
                    command(shop.plan, environ=shop.environ, options=options())
                told.append(str(caught.value))

    report = cutover.cutover(
        shop.plan, environ=shop.environ, options=options(until="migrate_database"), listener=meanwhile
    )
    assert report.outcome is RunOutcome.PAUSED
    assert len(told) == 4
    for text in told:
        assert "another run is going on" in text
        assert f"on {os.uname().nodename}, pid {os.getpid()}, cutover, since" in text
        assert text.endswith("wait for it: `migrator status`")


@pytest.mark.acceptance
def test_ctrl_c_is_exit_5_wherever_it_comes_and_the_same_command_goes_on(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    for command, arrived in (
        (cutover.cutover, MigrationState.MIGRATED),
        (cutover.rollback, MigrationState.ROLLED_BACK),
    ):
        for number in (1, 12, 24, 10_000):
            listener = signal_at(number, signal.SIGINT)
            code = in_child(partial(command, shop.plan, environ=shop.environ, options=options(), listener=listener))
            now = cutover.status(shop.plan, environ=shop.environ)
            if code == ExitCode.CLEAN:
                break
            assert code == ExitCode.INTERRUPTED
            assert "interrupted: nobody is at it" in now.text
            assert now.next_steps[0] == f"migrator {command.__name__}"
        assert now.state is arrived
        assert number > 20, "it was interrupted a few times before"
    assert running(shop, Side.LEGACY) == LEGACY
    each_order_was_done_once(shop, ready=30, later=10)
