"""Single tasks: one moves or goes back, the others stay where they are."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from shop import Shop, eventually, options, start_legacy

from migrator.errors import ExitCode, InterruptedRunError, RefusedError, UsageError
from migrator.events import Event, EventKind
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.runner.single_tasks import moved_tasks
from migrator.runner.state import MigrationState
from migrator.state.journal import open_journal
from migrator.workers.start_stop import list_processes

SEND = "from jobs.old_dramatiq import mail_order, pack_box\nfor n in range(5): mail_order.send(n); pack_box.send(n)"


@pytest.mark.acceptance
def test_one_task_moves_the_other_stays_and_then_everything_moves(shop: Shop) -> None:
    shop.run(SEND)
    given = options(tasks=("mail_order",))
    report = cutover.cutover(shop.plan, environ=shop.environ, options=given)
    assert report.outcome is RunOutcome.DONE, report.failure or report.findings
    assert report.moved == 5
    assert moved_tasks(open_journal(shop.plan).entries()) == ("jobs.mail",)
    eventually(lambda: sorted(shop.done()) == [f"unified mail {n}" for n in range(5)])
    assert cutover.status(shop.plan, environ=shop.environ).waiting == {"legacy.dramatiq default ready": 5}

    start_legacy(shop, ["old-dramatiq"])
    eventually(lambda: len(shop.done()) == 10)
    assert sum(line.startswith("dramatiq pack") for line in shop.done()) == 5
    running = {s.name for s in list_processes(shop.plan, environ=shop.environ) if s.state == "running"}
    assert running == {"old-dramatiq", "new-worker"}

    whole = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert whole.outcome is RunOutcome.DONE, whole.failure or whole.findings
    assert moved_tasks(open_journal(shop.plan).entries()) == ()
    with pytest.raises(RefusedError, match="run 1: moves everything"):
        cutover.rollback(shop.plan, environ=shop.environ, options=given)


@pytest.mark.acceptance
def test_one_task_comes_back(shop: Shop) -> None:
    given = options(tasks=("jobs.mail",))
    cutover.cutover(shop.plan, environ=shop.environ, options=given)
    shop.run(
        "from jobs.unified import mail, pack\n"
        "mail.apply_async(([7],), countdown=900); pack.apply_async((8,), countdown=900)"
    )
    with shop.redis() as client:
        eventually(lambda: client.hlen("unacked") + client.llen("unified") == 2)
    # What the living worker has prefetched is its own; what waits goes back.
    shop.run("from jobs.unified import mail, app; app.control.cancel_consumer('unified', reply=True); mail.delay([9])")
    report = cutover.rollback(shop.plan, environ=shop.environ, options=given)
    assert report.outcome is RunOutcome.DONE, report.failure or report.findings
    assert report.moved == 1
    assert cutover.status(shop.plan, environ=shop.environ).waiting["legacy.dramatiq default ready"] == 1
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.LEGACY
    assert moved_tasks(open_journal(shop.plan).entries()) == ()


def test_an_interrupt_in_mid_move_is_said_and_the_same_command_goes_on(shop: Shop) -> None:
    shop.run(SEND)
    given = options(tasks=("jobs.mail",))

    def interrupt(event: Event) -> None:
        if event.text.startswith("transfer the waiting messages of jobs.mail") and event.kind is EventKind.ACTION:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match=r"--task jobs\.mail: was interrupted; .*cutover --task jobs\.mail`"):
        cutover.cutover(shop.plan, environ=shop.environ, options=given, listener=interrupt)
    now = cutover.status(shop.plan, environ=shop.environ)
    assert now.text == "legacy; half way: jobs.mail, interrupted: nobody is at it"
    assert now.ends == ("`migrator cutover --task jobs.mail` goes on",)
    assert now.next_steps[0] == "migrator cutover --task jobs.mail"
    assert cutover.cutover(shop.plan, environ=shop.environ, options=given).moved == 5
    now = cutover.status(shop.plan, environ=shop.environ)
    assert now.text == "legacy; moved on their own: jobs.mail"
    assert now.next_steps == ("migrator cutover --dry-run", "migrator cutover")


def test_a_hook_stops_a_single_task_before_anything_is_done(shop: Shop, tmp_path: Path) -> None:
    shop.run(SEND)
    hook = tmp_path / "hooks" / "before-tasks"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    given = options(tasks=("jobs.mail",), hooks=hook.parent)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=given)
    assert (report.outcome, report.exit_code) == (RunOutcome.STOPPED, ExitCode.REFUSED)
    assert "hook before-tasks: vetoed with exit status 3" in report.failure
    assert cutover.status(shop.plan, environ=shop.environ).text == "legacy", "nothing was begun"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": "transfer"}, "--task with --until: nothing is stopped for a single task"),
        ({"postpone_file": Path("flag")}, "--task with --postpone-file: nothing"),
        ({"hooks": Path("/no/such")}, "--hooks /no/such: is no folder"),
    ],
)
def test_options_that_could_have_no_effect_are_refused(shop: Shop, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cutover.cutover(shop.plan, environ=shop.environ, options=options(tasks=("jobs.mail",), **changes))


def test_a_hook_that_no_event_calls_is_refused(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "after-transfers").touch()
    for command in (cutover.cutover, cutover.rollback):
        with pytest.raises(UsageError, match=r"would never be called; did you mean 'after-transfer'\?"):
            command(shop.plan, environ=shop.environ, options=options(hooks=tmp_path))


def test_a_dry_run_says_what_would_move_and_an_unknown_task_is_refused(shop: Shop) -> None:
    shop.run(SEND)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(tasks=("jobs.mail",), dry_run=True))
    assert report.outcome is RunOutcome.PLANNED
    assert report.facts["would_move"] == 5
    with pytest.raises(UsageError, match=r"--task jobs\.mial: the plan has no such task"):
        cutover.cutover(shop.plan, environ=shop.environ, options=options(tasks=("jobs.mial",)))
