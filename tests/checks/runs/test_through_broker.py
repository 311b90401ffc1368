"""Cases through real workers: observations are the same, and faults that only a worker shows are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from shop_project import (
    MISBEHAVE,
    RESTOCK,
    RESTOCK_ACTOR,
    ROWS,
    STOCK,
    add_case,
    be_patient,
    check,
    copy_shop,
    restock_case,
)

from checks.compare.report import ParityReport
from checks.runs.through_broker import worker_arguments
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Outcome

# The module's fixture is slow: one worker runs all these tests.
pytestmark = pytest.mark.xdist_group("through-broker")
WORKER = """
[[process]]
name = "{name}"
side = "{side}"
role = "worker"
system = "{system}"
command = {command}
"""


def edit(plan: Plan, file: str, old: str, new: str) -> None:
    source = plan.source_root / "jobs" / file
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))


def of_case(report: ParityReport, case: str, system: str = "celery") -> list[tuple[str, Outcome, str]]:
    return [(m.path, m.outcome, m.reason) for m in report.mismatches if (m.case, m.system) == (case, system)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    """One run: equal tasks, tasks that differ, a retry, both systems, a worker that dies, and one case after that."""
    plan = copy_shop(tmp_path_factory.mktemp("parity"))
    be_patient(plan)
    restock_case(plan, "same", "same")
    restock_case(plan, "ttl", "twist-ttl")
    restock_case(plan, "message", "twist-delay")
    restock_case(plan, "retry", "failing")
    restock_case(plan, "last", "failing", attempts=2, unified_ends="dead-letter", legacy_ends="exception")
    both = [
        {"system": "celery", "task": RESTOCK, "args": ["disagree"]},
        {"system": "dramatiq", "task": RESTOCK_ACTOR, "args": ["disagree"]},
    ]
    add_case(plan, "disagree", *both, http=[STOCK], rows=ROWS)
    add_case(plan, "actor-fails", {"system": "dramatiq", "task": RESTOCK_ACTOR, "args": ["failing"]}, rows=ROWS)
    for how in ("kill", "network"):
        add_case(plan, f"misbehave-{how}", {"system": "celery", "task": MISBEHAVE, "args": [how]})
    restock_case(plan, "zz-after", "same")
    return check(plan, through_broker=True, noise=False)


@pytest.mark.acceptance
def test_a_worker_gives_the_same_observations(report: ParityReport) -> None:
    noisy = "effects.rows.shop_delivery.inserted"  # a random token, and no noise runs
    assert {path for path, _, _ in of_case(report, "same")} <= {noisy}
    assert {path for path, _, _ in of_case(report, "zz-after")} <= {noisy}
    assert {path for path, _, _ in of_case(report, "ttl")} - {noisy} == {"effects.cache.stock:twist-ttl"}
    assert {path for path, _, _ in of_case(report, "message")} - {noisy} == {"effects.messages.jobs.follow_up"}
    assert [path for path, _, _ in of_case(report, "retry")] == ["retry.delay_s"]
    assert [path for path, _, _ in of_case(report, "last")] == ["effects.dead_letters"]


@pytest.mark.acceptance
def test_an_actor_runs_in_its_own_worker(report: ParityReport) -> None:
    assert "value.amount" in {path for path, _, _ in of_case(report, "disagree", "dramatiq")}
    (found,) = [m for m in report.mismatches if m.case == "actor-fails" and m.path == "retry.delay_s"]
    assert found.legacy >= 15 and found.unified == 60


@pytest.mark.acceptance
@pytest.mark.parametrize(("how", "reason"), [("kill", "(status -9)"), ("network", "network access to 192.0.2.1:80")])
def test_a_worker_that_breaks_is_never_equal(report: ParityReport, how: str, reason: str) -> None:
    ((_, outcome, found),) = of_case(report, f"misbehave-{how}")
    assert outcome is Outcome.NOT_COMPARED
    assert reason in found


@pytest.mark.acceptance
def test_faults_that_only_a_worker_shows_are_found(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    be_patient(plan)
    # A queue that no worker reads, and a task in a module that the worker does not import: in one process both work.
    edit(plan, "unified.py", "max_retries=3, priority=5", 'max_retries=3, priority=5, queue="unfied"')
    edit(plan, "unified.py", '@app.task(name="jobs.misbehave")\n', "")
    (plan.source_root / "jobs" / "unified_more.py").write_text(
        "from jobs.unified import app, misbehave as body\n\n"
        'misbehave = app.task(name="jobs.misbehave", queue="unified")(body)\n'
    )
    text = plan.file.read_text().replace("jobs.unified.misbehave", "jobs.unified_more.misbehave")
    plan.file.write_text(text)
    plan = load_plan(plan.file)
    restock_case(plan, "queue", "same")
    add_case(plan, "unregistered", {"system": "celery", "task": MISBEHAVE, "args": ["fine"]})
    alone = check(plan)
    assert of_case(alone, "queue") == of_case(alone, "unregistered") == []
    report = check(plan, through_broker=True, noise=False)
    ((_, outcome, reason),) = of_case(report, "queue")
    assert outcome is Outcome.NOT_COMPARED
    assert "the message went to queue 'unfied', which `celery -A jobs.unified worker" in reason
    ((_, outcome, reason),) = of_case(report, "unregistered")
    assert outcome is Outcome.NOT_COMPARED
    assert "the worker doesn't know a task 'jobs.misbehave'" in reason


def arguments(plan: Plan, system: str) -> list[str]:
    return worker_arguments(plan, system, node="n@h", state=Path("/s"), environ={"LEVEL": "debug"})


def with_workers(tmp_path: Path, *workers: tuple[str, str, str]) -> Plan:
    plan = copy_shop(tmp_path)
    tables = [
        WORKER.format(name=f"worker-{number}", side=side, system=system, command=command)
        for number, (side, system, command) in enumerate(workers)
    ]
    plan.file.write_text(plan.file.read_text() + "".join(tables))
    return load_plan(plan.file)


def test_the_plans_own_command_is_run(tmp_path: Path) -> None:
    celery = (
        '["{python}", "-m", "celery", "-A", "x", "worker", "-l", "${LEVEL}", "-B", "--pidfile", "p", "-n", "{node}"]'
    )
    actors = '["/opt/bin/dramatiq", "x:broker", "more", "--threads", "4", "--pid-file=/s"]'
    plan = with_workers(tmp_path, ("unified", "celery", celery), ("legacy", "dramatiq", actors))
    assert arguments(plan, "unified")[:8] == ["celery", "-A", "x", "worker", "-l", "debug", "-n", "n@h"]
    assert "--pool=solo" in arguments(plan, "unified") and "-Q" not in arguments(plan, "unified")
    assert arguments(plan, "dramatiq") == ["dramatiq", "x:broker", "more", "--threads", "4", "--processes", "1"]


def test_queues_of_further_workers_are_read_too(tmp_path: Path) -> None:
    first, second = ('["celery", "-A", "x", "worker", "-Q", "a,b"]', '["celery", "-A", "x", "worker", "--queues=c"]')
    plan = with_workers(tmp_path, ("unified", "celery", first), ("unified", "celery", second))
    assert arguments(plan, "unified")[-2:] == ["-Q", "a,b,c"]


def test_a_plan_without_processes_gets_a_default_worker(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    assert arguments(plan, "dramatiq")[:4] == ["dramatiq", "jobs.old_actors", "--queues", "default"]
    assert arguments(plan, "celery")[:4] == ["celery", "-A", "jobs.old_celery", "worker"]
    assert arguments(plan, "celery")[4:8] == ["--loglevel=info", "-n", "n@h", "-Q"]
