"""Guard of the schedulers: unknown beats, and schedules that the plan does not know."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from guard_context import codes, context
from shop import Shop, eventually, start_legacy

from migrator.plan.processes import Process
from migrator.report import Severity
from migrator.steps.guards import schedulers


def test_a_beat_that_the_plan_does_not_know_is_refused(shop: Shop) -> None:
    start_legacy(shop, ["old-beat", "old-dramatiq"])
    report = schedulers.guard(context(shop))
    assert codes(report) == set(), [str(finding) for finding in report.errors]
    command = [sys.executable, "-m", "celery", "-A", "jobs.old_celery", "beat", "--pidfile", "celerybeat.pid"]
    log = (shop.folder / "stranger.log").open("wb")
    stranger = subprocess.Popen(
        [*command, "--schedule", "stranger"],
        cwd=shop.folder / "src",
        env=shop.environ,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        eventually((shop.folder / "src/celerybeat.pid").exists, timeout_s=60)
        found = schedulers.guard(context(shop)).errors
        assert {finding.code for finding in found} == {"SCHEDULER-UNKNOWN"}
        wheres = {finding.where for finding in found}
        assert wheres == {f"pid {stranger.pid}", str(shop.folder / "src/celerybeat.pid")}
    finally:
        stranger.terminate()
        stranger.wait(30)
        log.close()
    assert codes(schedulers.guard(context(shop))) == set()


def test_other_schedulers_in_redis_in_the_source_and_in_the_plan(shop: Shop) -> None:
    (shop.folder / "src/clock.py").write_text('"""Jobs."""\n\nfrom apscheduler.schedulers.background import X\n')
    with shop.redis() as client:
        client.set("redbeat::lock", "somebody")
        client.zadd("redbeat::schedule", {"redbeat:nightly": 1})
    twice = replace(
        shop.plan, processes=(*shop.plan.processes, beating(shop, "new-worker"), beating(shop, "old-celery"))
    )
    report = schedulers.guard(context(shop, plan=twice))
    assert codes(report) == {"SCHEDULER-UNKNOWN", "SCHEDULER-TWICE"}
    assert codes(report, Severity.WARNING) == {"SCHEDULE-IN-REDIS", "SCHEDULER-IN-SOURCE", "SCHEDULER-EMBEDDED"}
    (found,) = (finding for finding in report.findings if finding.code == "SCHEDULER-IN-SOURCE")
    assert found.where == "src/clock.py:3"


def beating(shop: Shop, name: str) -> Process:
    """A worker of the shop with a beat inside."""
    worker = next(process for process in shop.plan.processes if process.name == name)
    return replace(worker, name=f"{name}-b", command=(*worker.command, "-B"))


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/usr/bin/python3", "-m", "celery", "-A", "x", "beat", "-l", "info"], "celery beat"),
        (["/venv/bin/celery", "-A", "x", "worker", "-B"], "celery worker with beat"),
        (["/venv/bin/python", "/venv/bin/celery", "-A", "x", "worker"], ""),
        (["[celery beat] -A x beat"], "celery beat"),
        (["periodiq", "-v", "module"], "periodiq"),
        (["python", "manage.py", "crontab"], "dramatiq-crontab"),
        (["python", "manage.py", "runapscheduler"], "APScheduler"),
        (["python", "-m", "dramatiq", "tasks"], "dramatiq"),
        (["vim", "beat.py"], ""),
        (["grep", "-r", "celery beat"], ""),
        (["python", "manage.py", "runserver"], ""),
        ([], ""),
    ],
)
def test_command_lines_that_schedule(command: list[str], kind: str) -> None:
    assert schedulers.kind_of(command) == kind
