"""Which legacy processes go on, asked of a project's own code; no server is needed for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guard_context import codes
from small_projects import MANAGE, make_project

from migrator.plan.loader import load_plan
from migrator.state.journal import open_journal
from migrator.steps.guards.staying import guard
from migrator.steps.protocol import STAYING, Context

FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "from .celery import app as celery_app\n",
    "app/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")
app = Celery("app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "app/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django_dramatiq", "orders", "reports"]
DRAMATIQ_BROKER = {"BROKER": "dramatiq.brokers.redis.RedisBroker", "OPTIONS": {"url": "redis://127.0.0.1:1"}}
CELERY_BROKER_URL = "redis://127.0.0.1:1"
CELERY_TASK_ROUTES = {"orders.tasks.confirm": {"queue": "unified"}, "reports.tasks.slow": {"queue": "slow"}}
CELERY_BEAT_SCHEDULE = {"nightly": {"task": "reports.tasks.nightly", "schedule": 60.0}}
""",
    "app/broker.py": """\
import django

django.setup()
""",
    "orders/__init__.py": "",
    "orders/tasks.py": """\
from celery import shared_task


@shared_task(name="orders.tasks.confirm")
def confirm(order_id):
    return order_id
""",
    "reports/__init__.py": "",
    "reports/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor(queue_name="reports")
def render(report_id):
    return report_id


@shared_task
def nightly():
    return 1


@shared_task
def slow():
    return 2
""",
}
PLAN = """\
[migration]
name = "app"

[project]
root = "."
settings = "app.settings"

[scope]
modules = ["orders.*"]

[legacy.dramatiq]
broker = "redis://127.0.0.1:1"
queues = ["orders"]
modules = ["orders.tasks"]

[unified]
broker = "redis://127.0.0.1:1"
queues = ["unified"]

[[task]]
name = "orders.tasks.confirm"
path = "orders.tasks.confirm"
parameters = ["order_id"]

[[task.replaces]]
system = "dramatiq"
name = "confirm"
path = "orders.tasks.confirm"
parameters = ["order_id"]
"""
DRAMATIQ = 'system = "dramatiq"\ncommand = ["{python}", '
CELERY = 'system = "celery"\ncommand = ["{python}", "-m", "celery", "-A", "app", '
UNIFIED = 'name = "new"\nside = "unified"\nrole = "worker"\n' + CELERY + '"worker", "-Q", "unified"'


def judged(folder: Path, *processes: str, plan: str = PLAN) -> tuple[list[str], set[str]]:
    """Return which processes stay, and the codes of what can't be judged."""
    text = plan + "".join(f"\n[[process]]\n{process}\n" for process in processes)
    project = make_project(folder, {**FILES, "migration.toml": text})
    found = load_plan(project.folder / "migration.toml")
    report = guard(Context(plan=found, environ=os.environ, journal=open_journal(found), run=1))
    return list(report.facts.get(STAYING, [])), codes(report)


def legacy(name: str, role: str, rest: str) -> str:
    return f'name = "{name}"\nside = "legacy"\nrole = "{role}"\n{rest}'


@pytest.mark.parametrize(
    ("rest", "stays"),
    [
        (DRAMATIQ + '"manage.py", "rundramatiq", "--processes", "1"]', True),
        (DRAMATIQ + '"manage.py", "rundramatiq", "-Q", "reports"]', True),
        (DRAMATIQ + '"manage.py", "rundramatiq", "--queues", "orders"]', False),
        (DRAMATIQ + '"-m", "dramatiq", "app.broker", "orders.tasks", "reports.tasks"]', True),
        (DRAMATIQ + '"-m", "dramatiq", "app.broker", "orders.tasks"]', False),
        (CELERY + '"worker"]', True),
        (CELERY + '"worker", "-Q", "slow,orders"]', True),
        (CELERY + '"worker", "-Q", "orders"]', False),
        (CELERY + '"worker", "-Q", "orders"]\nstays = true', True),
        (CELERY + '"worker"]\nstays = false', False),
    ],
)
def test_a_worker_stays_if_a_task_that_stays_is_in_its_queues(tmp_path: Path, rest: str, stays: bool) -> None:
    process = legacy("old", "worker", rest)
    assert judged(tmp_path, process, UNIFIED + "]") == (["old"] if stays else [], set())


def test_a_worker_whose_tasks_a_unified_worker_serves_as_well_goes(tmp_path: Path) -> None:
    process = legacy("old", "worker", CELERY + '"worker", "-Q", "celery"]')
    both = UNIFIED.removesuffix('"unified"') + '"unified,celery"]'
    assert judged(tmp_path, process, both) == ([], set())


@pytest.mark.parametrize(("twin", "stays"), [(True, False), (False, True)])
def test_a_beat_stays_unless_the_unified_one_has_its_entries(tmp_path: Path, twin: bool, stays: bool) -> None:
    beat = CELERY + '"beat"]'
    processes = [legacy("old-beat", "scheduler", beat)]
    processes += [legacy("beat", "scheduler", beat).replace("legacy", "unified")] if twin else []
    assert judged(tmp_path, *processes) == (["old-beat"] if stays else [], set())


@pytest.mark.parametrize(
    "rest",
    [
        DRAMATIQ + '"-m", "somebody.runs_them"]',
        DRAMATIQ + '"-m", "dramatiq", "app.nothing_there"]',
        'system = "celery"\ndriver = "supervisor"\nprogram = "shop:worker"',
    ],
)
def test_what_cannot_be_asked_has_to_be_said(tmp_path: Path, rest: str) -> None:
    assert judged(tmp_path / "a", legacy("old", "worker", rest)) == ([], {"STAYS-UNKNOWN"})
    assert judged(tmp_path / "b", legacy("old", "worker", rest + "\nstays = true")) == (["old"], set())


def test_without_a_scope_nobody_is_asked(tmp_path: Path) -> None:
    process = legacy("old", "worker", DRAMATIQ + '"-m", "somebody.runs_them"]')
    assert judged(tmp_path, process, plan=PLAN.replace('[scope]\nmodules = ["orders.*"]\n', "")) == ([], set())
