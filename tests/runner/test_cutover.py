"""Whole runs on the shop: forward, back, forward, with real workers, killed at every action, refused, interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from shop import Shop, eventually, in_child, kill_at, options, orders_done, send_orders, start_legacy

from migrator.embedded_redis import free_port
from migrator.errors import ExitCode, InterruptedRunError, RefusedError, UsageError
from migrator.events import Event, EventKind
from migrator.report import Severity
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.runner.state import MigrationState
from migrator.steps.order import STEPS
from migrator.workers.start_stop import list_processes


def running(shop: Shop) -> set[str]:
    return {state.name for state in list_processes(shop.plan, environ=shop.environ) if state.state == "running"}


LEGACY = {"old-dramatiq", "old-celery", "old-beat", "old-web"}
UNIFIED = {"new-worker", "new-beat", "new-web"}


@pytest.mark.acceptance
def test_there_and_back_and_there_again(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 200, later_s=900)

    there = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert there.outcome is RunOutcome.DONE, there.failure or there.findings
    assert running(shop) == UNIFIED
    assert there.downtime_s is not None
    assert there.downtime_s < 10
    assert not (shop.folder / "src/jobs/old_celery.py").exists()
    assert shop.git("status", "--porcelain") == ""
    assert there.moved >= 50, "every fourth order is due in a quarter of an hour and has to move"
    eventually(lambda: len(orders_done(shop)) == 150)

    shop.run("from jobs.unified import pack; pack.delay(1000); pack.apply_async((1001,), countdown=900)")
    eventually(lambda: 1000 in orders_done(shop))
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure
    assert running(shop) == LEGACY
    assert back.moved == 51
    assert (shop.folder / "src/jobs/old_celery.py").exists()
    assert shop.git("status", "--porcelain") == ""
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK

    send_orders(shop, 2000, 8)
    again = cutover.cutover(shop.plan, environ=shop.environ, options=options())
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
@pytest.mark.timeout(900)
def test_killed_at_every_action_forward_and_back(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 80, later_s=900)
    assert kill_through(shop, cutover.cutover) > 40
    assert running(shop) == UNIFIED
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.MIGRATED
    commits = int(shop.git("rev-list", "--count", "HEAD"))
    assert commits == 2, "the files were retired in exactly one commit"
    shop.run("from jobs.unified import pack; pack.delay(1000)")

    assert kill_through(shop, cutover.rollback) > 30
    assert running(shop) == LEGACY
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK
    assert int(shop.git("rev-list", "--count", "HEAD")) == 3
    assert shop.git("diff", "HEAD~2", "--stat") == ""
    waiting = cutover.status(shop.plan, environ=shop.environ).waiting
    eventually(lambda: len(orders_done(shop)) == 61)
    done = orders_done(shop)
    assert len(done) == len(set(done)), "an order was done twice"
    assert sum(waiting.values()) >= 20, "the orders for later wait in the legacy queues again"


def veto(shop: Shop, event: str) -> Path:
    """A hook that refuses one event."""
    folder = shop.folder / ".git" / "hooks-of-the-operator"
    folder.mkdir(exist_ok=True)
    hook = folder / event
    hook.write_text("#!/bin/sh\necho not tonight, $MIGRATOR_EVENT of run $MIGRATOR_RUN >&2\nexit 3\n")
    hook.chmod(0o755)
    return folder


@pytest.mark.acceptance
def test_a_step_that_fails_is_undone_with_everything_before_it(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 40, later_s=900)
    (shop.folder / "src/mode.txt").write_text("unified\n")
    shop.git("add", "src/mode.txt")
    shop.git("commit", "-q", "-m", "Convert")

    def undo_source() -> tuple[str, ...]:
        (shop.folder / "src/mode.txt").write_text("legacy\n")
        return ("src/mode.txt",)

    given = options(hooks=veto(shop, "before-retire_files"), undo_source=undo_source)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=given)
    assert report.outcome is RunOutcome.UNDONE, report.failure
    assert report.exit_code is ExitCode.REFUSED
    assert (
        "hook before-retire_files: vetoed with exit status 3 (not tonight, before-retire_files of run 1)"
        in report.failure
    )
    assert running(shop) == LEGACY
    assert shop.git("log", "-1", "--format=%s") == "Undo the rewrite of the task modules"
    assert shop.git("status", "--porcelain") == ""
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.ROLLED_BACK
    eventually(lambda: len(orders_done(shop)) == 30)
    done = orders_done(shop)
    assert len(done) == len(set(done))


def test_with_no_undo_a_failed_step_stops_the_run_and_the_same_command_goes_on(shop: Shop) -> None:
    given = options(hooks=veto(shop, "before-start_workers"), no_undo=True)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=given)
    assert report.outcome is RunOutcome.STOPPED
    assert report.exit_code is ExitCode.REFUSED
    now = cutover.status(shop.plan, environ=shop.environ)
    assert now.text == "migrating at step start_workers (run 1), interrupted: nobody is at it"
    assert now.done == ("migrate_database",)
    assert now.next_steps == ("migrator cutover", "migrator rollback")
    again = cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    assert again.outcome is RunOutcome.PAUSED
    assert again.run == 1
    assert [step.outcome for step in again.steps] == ["already done"]
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure


def test_an_interrupt_leaves_a_clear_state_and_is_resumable(shop: Shop) -> None:
    def interrupt(event: Event) -> None:
        if event.kind is EventKind.ACTION and event.text == "manage.py migrate jobs" and event.done == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError) as caught:
        cutover.cutover(shop.plan, environ=shop.environ, options=options(), listener=interrupt)
    assert caught.value.exit_code is ExitCode.INTERRUPTED
    assert str(caught.value).endswith("(at step migrate_database); migrator cutover or migrator rollback")
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.MIGRATING
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    assert report.outcome is RunOutcome.PAUSED
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_plan_or_a_source_that_changed_in_mid_run_is_refused(shop: Shop) -> None:
    cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    other = replace(shop.plan, fingerprint="0" * 64)
    for command in (cutover.cutover, cutover.rollback):
        with pytest.raises(RefusedError, match="is not the plan with which run 1 was begun"):
            command(other, environ=shop.environ, options=options())
    (shop.folder / "src/web.py").write_text("# somebody was here\n")
    with pytest.raises(RefusedError, match="is not the source with which run 1 was begun"):
        cutover.cutover(shop.plan, environ=shop.environ, options=options())
    shop.git("restore", "src/web.py")
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    assert report.outcome is RunOutcome.PAUSED


def test_a_run_that_waits_for_a_file_goes_on_when_it_is_gone(shop: Shop) -> None:
    file = shop.folder / ".git" / "wait"
    file.touch()
    told = []

    def listen(event: Event) -> None:
        if "waiting for `rm" in event.text:
            now = cutover.status(shop.plan, environ=shop.environ)
            assert f"pid {os.getpid()}, cutover" in now.owner
            assert now.text.startswith("migrating at step source (run 1), by ")
            told.append(event.text)
            if len(told) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                file.unlink()

    given = options(postpone_file=file, until="source")
    with pytest.raises(InterruptedRunError):
        cutover.cutover(shop.plan, environ=shop.environ, options=given, listener=listen)
    # Whoever goes on did not ask for it, and does not run into the stop of the legacy side all the same.
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(until="source"), listener=listen)
    assert report.outcome is RunOutcome.PAUSED
    assert len(told) == 2


def test_a_dry_run_lists_everything_and_leaves_nothing_behind(shop: Shop) -> None:
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(dry_run=True))
    assert report.outcome is RunOutcome.PLANNED
    assert [step.name for step in report.steps] == [step.name for step in STEPS[1:]]
    sentences = [action.sentence for step in report.steps for action in step.actions]
    assert "transfer all messages to the unified queues" in sentences
    assert "manage.py migrate jobs" in sentences
    assert report.cannot_undo
    assert not shop.plan.state_folder.exists()
    with shop.redis() as client:
        # Asking workers for signs of life leaves kombu's note about the reply queue, which it clears itself.
        assert set(client.keys()) <= {"_kombu.binding_deadlines"}


def test_nothing_to_take_back_and_no_such_step(shop: Shop) -> None:
    report = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert (report.outcome, report.exit_code) == (RunOutcome.UNCHANGED, ExitCode.CLEAN)
    with pytest.raises(UsageError, match="--until transfr: there is no such step"):
        cutover.cutover(shop.plan, environ=shop.environ, options=options(until="transfr"))
    with pytest.raises(UsageError, match="--until preflight: is no step to stop after"):
        cutover.cutover(shop.plan, environ=shop.environ, options=options(until="preflight"))


def test_a_refused_preflight_begins_no_run(shop: Shop) -> None:
    (shop.folder / "src/web.py").write_text("# somebody was here\n")
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert (report.outcome, report.exit_code) == (RunOutcome.REFUSED, ExitCode.REFUSED)
    assert [finding.code for finding in report.findings if finding.severity is Severity.ERROR] == ["GIT-DIRTY"]
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.LEGACY
    down = {**shop.environ, "SHOP_BROKER": f"redis://127.0.0.1:{free_port()}/0"}
    report = cutover.cutover(shop.plan, environ=down, options=options())
    assert report.exit_code is ExitCode.UNREACHABLE
