"""The sample under load: forward, back and forward, the tool killed again and again; every message accounted for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import end_everything

from codemods.runner import rewrite
from migrator import runner
from migrator.demo.scratch import commit, create_scratch, find_fixtures, git, manage
from migrator.demo.servers import demo_servers
from migrator.demo.stage import Stage
from migrator.events import ignore
from migrator.plan import Side
from migrator.runner_state import MigrationState
from migrator.workers.side import list_processes

#: Runs one command as the command line does; proof and conversion are other tests' business.
RUN = """
import os, sys
from dataclasses import replace
from pathlib import Path
from migrator import runner
from migrator.errors import MigratorError
from migrator.plan import load_plan
from migrator.report import Report
from migrator.run_options import guarded

def green():
    return Report(subject="given", checked=1)

plan = load_plan(Path(sys.argv[2]))
options = replace(guarded(plan, runner.RunOptions()), check_proof=green, check_source=green)
print("begin", flush=True)
try:
    report = getattr(runner, sys.argv[1])(plan, environ=os.environ, options=options)
except MigratorError as error:
    sys.exit(f"{error}")
print(report.outcome, report.gap_s, report.failure, [str(f) for f in report.findings])
sys.exit(int(report.exit_code))
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    fixtures = find_fixtures(None)
    with demo_servers(fixtures, tmp_path, None) as environ:
        scratch = create_scratch(fixtures, tmp_path, environ)
        git(scratch.plan.folder, "config", "user.name", "Operator")
        git(scratch.plan.folder, "config", "user.email", "operator@example.org")
        stage = Stage(scratch=scratch, listener=ignore, messages=0, seed=3)
        try:
            yield stage
        finally:
            for load in stage.loads:
                load.stop()
            end_everything(scratch.plan)


def run_killed(stage: Stage, command: str, kills: int, chance: random.Random) -> None:
    """Run a command in a process of its own, killed ``kills`` times at random moments, then let it end."""
    arguments = [sys.executable, "-c", RUN, command, str(stage.scratch.plan.file)]
    for _ in range(kills):
        process = subprocess.Popen(
            arguments, env=dict(stage.scratch.environ), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.2, 6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
    done = subprocess.run(
        arguments, env=dict(stage.scratch.environ), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def running(stage: Stage) -> set[str]:
    plan = stage.scratch.plan
    return {s.name for s in list_processes(plan, environ=stage.scratch.environ) if s.state == "running"}


def convert(stage: Stage) -> None:
    rewrite(stage.scratch.plan)
    # What a person still changes by hand must not stand in the way of a rollback.
    by_hand = stage.scratch.plan.source_root / "api/management/commands/enqueue_traffic.py"
    by_hand.write_text(by_hand.read_text() + "# looked at by hand\n")
    commit(stage.scratch.plan.folder, "Convert to the unified tasks")


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_the_sample_there_and_back_and_there_again_with_a_tool_that_keeps_dying(stage: Stage) -> None:
    chance = random.Random(20261123)
    plan = stage.scratch.plan
    manage(stage.scratch, ["migrate", "--verbosity", "0"])
    stage.start(Side.LEGACY)
    stage.enqueue(300)
    convert(stage)
    with stage.load():
        run_killed(stage, "cutover", 3, chance)
        assert running(stage) == {process.name for process in plan.select(side=Side.UNIFIED)}
        stage.enqueue(60)
        there = stage.account("there")
        run_killed(stage, "rollback", 3, chance)
        assert running(stage) == {process.name for process in plan.select(side=Side.LEGACY)}
        back = stage.account("back")
        assert git(plan.folder, "diff", "--stat", git(plan.folder, "rev-list", "--max-parents=0", "HEAD").strip()) == ""
    convert(stage)
    run_killed(stage, "cutover", 0, chance)
    again = stage.account("again")
    for account in (there, back, again):
        assert account.balanced, account
    assert again.enqueued > 360
    now = runner.status(plan, environ=stage.scratch.environ)
    assert now.state is MigrationState.MIGRATED
    assert not [where for where in now.waiting if where.startswith("legacy")], now.waiting
    assert git(plan.folder, "status", "--porcelain") == ""
