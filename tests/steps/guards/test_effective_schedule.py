"""Guard of the schedule that the unified beat would really use: what it lacks, and what it still has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guard_context import codes, context
from shop import Shop

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Severity
from migrator.steps.guards import effective_schedule, worker_probe

SCHEDULE = """
[[schedule]]
name = "pack-nightly"
task = "jobs.pack"
crontab = "0 3 * * *"
replaces = ["jobs.old_celery:nightly"]

[[retired_schedule]]
name = "jobs.old_celery:forgotten"
reason = "nobody knows"
"""


@pytest.fixture
def plan(shop: Shop) -> Plan:
    shop.plan.file.write_text(shop.plan.file.read_text() + SCHEDULE)
    return load_plan(shop.plan.file)


def schedules(shop: Shop, *lines: str) -> None:
    """Let the unified app schedule something."""
    file = shop.folder / "src/jobs/unified.py"
    file.write_text("\n".join((file.read_text(), *lines, "")))


def test_a_schedule_that_has_every_entry_of_the_plan_is_no_finding(shop: Shop, plan: Plan) -> None:
    schedules(shop, "app.conf.beat_schedule = {'pack-nightly': {'task': 'jobs.pack', 'schedule': 60}}")
    report = effective_schedule.verify(context(shop, plan=plan))
    assert report.findings == ()
    assert report.checked == 1


def test_an_entry_that_beat_would_not_send_is_an_error_of_preflight_and_verify(shop: Shop, plan: Plan) -> None:
    schedules(
        shop,
        "app.conf.update(beat_schedule={'pack-nightly': {'task': 'jobs.pack', 'schedule': 60}})",
        "app.conf.beat_schedule = {}",
    )
    for report in (effective_schedule.verify(context(shop, plan=plan)), worker_probe.guard(context(shop, plan=plan))):
        (finding,) = report.errors
        assert finding.code == "SCHEDULE-MISSING"
        assert "pack-nightly" in finding.where
        assert "no entry at all" in finding.found


def test_an_entry_that_sends_another_task_and_ones_that_the_plan_takes_away(shop: Shop, plan: Plan) -> None:
    schedules(
        shop,
        "app.conf.beat_schedule = {",
        "    'pack-nightly': {'task': 'jobs.mail', 'schedule': 60},",
        "    'forgotten': {'task': 'jobs.mail', 'schedule': 60},",
        "}",
        "app.add_periodic_task(60, pack.s(), name='nightly')",
    )
    seen = [(f.code, f.where) for f in effective_schedule.verify(context(shop, plan=plan)).errors]
    assert sorted(seen) == [
        ("SCHEDULE-LEFT", "schedule entry forgotten"),
        ("SCHEDULE-LEFT", "schedule entry nightly"),
        ("SCHEDULE-MISSING", "schedule entry pack-nightly"),
    ]


def test_beat_is_asked_with_its_own_app(shop: Shop, plan: Plan) -> None:
    entry = "app.conf.beat_schedule = {'pack-nightly': {'task': 'jobs.pack', 'schedule': 60}}\n"
    (shop.folder / "src/jobs/beat_app.py").write_text(f"from jobs.unified import app\n\n{entry}")
    beat = effective_schedule.beat_process(plan)
    assert beat is not None
    own = replace(beat, command=("{python}", "-m", "celery", "-A", "jobs.beat_app", "beat"))
    with_own = replace(plan, processes=tuple(own if process is beat else process for process in plan.processes))
    assert codes(worker_probe.guard(context(shop, plan=plan))) == {"SCHEDULE-MISSING"}
    assert codes(worker_probe.guard(context(shop, plan=with_own))) == set()


def test_rows_of_the_database_are_not_compared(shop: Shop, plan: Plan) -> None:
    schedules(shop, "app.conf.beat_scheduler = 'django_celery_beat.schedulers:DatabaseScheduler'")
    report = effective_schedule.verify(context(shop, plan=plan))
    assert codes(report) == set()
    assert codes(report, Severity.WARNING) == set()
    schedules(shop, "app.conf.beat_scheduler = 'redbeat.RedBeatScheduler'")
    assert codes(effective_schedule.verify(context(shop, plan=plan)), Severity.WARNING) == {"SCHEDULE-IN-DATABASE"}
