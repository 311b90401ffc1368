"""The last resort: never automatic, always after SIGTERM and the stop timeout, and exactly the named process."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from shop import Shop, eventually, git, options, orders_done, start_legacy

from migrator.errors import ExitCode, RefusedError, UnreachableError
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.plan.processes import Process
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.wire.message import Side
from migrator.workers.drivers import command
from migrator.workers.drivers.process_identity import descendants
from migrator.workers.drivers.process_record import ProcessRecord
from migrator.workers.kill import kill, survivors
from migrator.workers.start_stop import stop_side

#: Ignores SIGTERM, and has a child that does so too.
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "code = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(120)'\n"
    "child = subprocess.Popen([sys.executable, '-c', code]); time.sleep(120)"
)


@pytest.fixture
def stubborn(shop: Shop) -> tuple[Shop, ProcessRecord]:
    """The shop with a web server that ignores SIGTERM, and a stop timeout of one second."""
    text = shop.plan.file.read_text()
    old = '["{python}", "web.py", "legacy", "127.0.0.1:${SHOP_PORT}"]'
    assert old in text
    (shop.folder / "src/stubborn.py").write_text(STUBBORN)
    shop.plan.file.write_text(text.replace(old, '["{python}", "stubborn.py"]\nstop_timeout_s = 1'))
    shop = replace(shop, plan=load_plan(shop.plan.file))
    record = command.start(shop.plan, web(shop.plan), environ=shop.environ)
    eventually(lambda: command.output(record).strip(), timeout_s=60)
    return shop, record


def web(plan: Plan) -> Process:
    return command.process_named(plan, "old-web")


def cli(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [Path(sys.executable).with_name("migrator"), "workers", *arguments, "--plan", str(shop.plan.file)]
    return subprocess.run(
        line, env=shop.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_that_was_not_told_to_stop_is_not_killed(stubborn: tuple[Shop, ProcessRecord]) -> None:
    shop, record = stubborn
    with pytest.raises(RefusedError, match="was not told to stop yet"):
        kill(shop.plan, web(shop.plan), environ=shop.environ)
    assert record.alive


def test_without_confirmation_nothing_stronger_is_sent_and_the_error_names_the_command(
    stubborn: tuple[Shop, ProcessRecord],
) -> None:
    shop, record = stubborn
    asked: list[str] = []

    def no(process: Process) -> bool:
        asked.append(process.name)
        return False

    for question in (None, no):
        with pytest.raises(UnreachableError, match="has not ended 1 s after SIGTERM") as failure:
            stop_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["old-web"], ask_kill=question)
        assert "migrator workers stop legacy --name old-web --kill old-web --yes" in failure.value.remedy
        assert record.alive
    assert asked == ["old-web"]
    family = survivors(shop.plan, web(shop.plan), environ=shop.environ)
    assert family == (record.identity, *descendants(record.identity))
    assert len(family) == 2
    stop_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["old-web"], ask_kill=lambda process: True)
    assert survivors(shop.plan, web(shop.plan), environ=shop.environ) == ()


def test_on_the_command_line_a_kill_needs_the_name_and_confirmation(stubborn: tuple[Shop, ProcessRecord]) -> None:
    shop, record = stubborn
    unsaid = cli(shop, "stop", "legacy", "--name", "old-web", "--kill", "old-web")
    assert unsaid.returncode == ExitCode.REFUSED, unsaid.stderr
    unnamed = cli(shop, "stop", "legacy", "--name", "old-web", "--yes")
    assert unnamed.returncode == ExitCode.UNREACHABLE, unnamed.stderr
    assert "--kill old-web --yes" in unnamed.stderr
    unknown = cli(shop, "stop", "legacy", "--kill", "old-wbe", "--yes")
    assert unknown.returncode == ExitCode.USAGE, unknown.stderr
    assert record.alive
    said = cli(shop, "stop", "legacy", "--name", "old-web", "--kill", "old-web", "--yes")
    assert said.returncode == ExitCode.CLEAN, said.stderr
    assert "Requests that it is serving are aborted" in said.stderr
    assert not record.alive


def test_on_a_terminal_the_question_comes_after_the_timeout_and_no_is_the_default(
    stubborn: tuple[Shop, ProcessRecord],
) -> None:
    shop, record = stubborn
    line = [Path(sys.executable).with_name("migrator"), "workers", "stop", "legacy", "--name", "old-web"]
    for answers, alive in ((b"y\n\n", True), (b"y\ny\n", False)):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [*line, "--plan", str(shop.plan.file)],
            env={**shop.environ, "TERM": "xterm"},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, answers)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:
            # The other end is closed.
            pass
        finally:
            os.close(ours)
        assert child.wait(60) == (ExitCode.UNREACHABLE if alive else ExitCode.CLEAN), shown
        child.stdout.close()  # type: ignore[union-attr]
        assert b"Kill old-web (no stops the run here; it can be resumed)? [y/N]" in shown
        assert record.alive is alive


@pytest.mark.acceptance
def test_an_endless_task_is_asked_about_and_its_message_survives(shop: Shop) -> None:
    before, name, after = shop.plan.file.read_text().partition('name = "old-celery"\n')
    shop.plan.file.write_text(before + name + after.replace("stop_timeout_s = 20", "stop_timeout_s = 2", 1))
    git(shop.folder, "commit", "-q", "-a", "-m", "Hurry")
    shop = replace(shop, plan=load_plan(shop.plan.file))
    start_legacy(shop)
    shop.run("from jobs.old_celery import pack_order; pack_order.delay(1, 120); pack_order.delay(2)")
    eventually(lambda: orders_done(shop) == [2], timeout_s=60)
    asked: list[str] = []

    def yes(process: Process, question: str) -> bool:
        asked.append(question)
        return True

    report = cutover.cutover(shop.plan, environ=shop.environ, options=options(ask_kill=yes))
    assert report.outcome is RunOutcome.DONE, report.failure
    assert len(asked) == 1
    # On a busy machine its reply may not come in time either; then it is asked about after SIGTERM.
    assert re.search("process old-celery has not (finished its tasks within|ended) 2 s", asked[0]), asked
    assert "Messages held by workers of its queues: 1; " in asked[0]
    assert report.moved == 1, "what the killed worker had not acknowledged is moved"
