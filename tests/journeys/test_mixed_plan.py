"""One module, two fates: some tasks are converted where they stand, others are replaced by a module of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project

FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "from .celery import app as celery_app\n\n__all__ = ['celery_app']\n",
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
INSTALLED_APPS = ["django_dramatiq", "jobs"]
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": "redis://127.0.0.1:6379/0"},
    "MIDDLEWARE": ["dramatiq.middleware.Retries", "dramatiq.middleware.TimeLimit"],
}
CELERY_BROKER_URL = "redis://127.0.0.1:6379/1"
""",
    "app/unified.py": """\
from celery import shared_task


@shared_task(name="app.bill")
def bill(amount, customer):
    return customer, amount


@shared_task(name="app.report")
def report(days=1):
    return days
""",
    "jobs/__init__.py": "",
    "jobs/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor
def ship(order):
    bill.send("c", 1)
    return order


# sends the bill
@dramatiq.actor(max_retries=3)
def bill(customer, amount=5):
    return customer, amount


@shared_task(name="jobs.sweep")
def sweep():
    return "swept"


@shared_task(name="jobs.report")
def old_report(days=1):
    return days
""",
    "jobs/views.py": """\
from celery import current_app

from jobs import tasks


def view(request):
    tasks.ship.send(1)
    tasks.bill.send("c", 2)
    current_app.send_task("jobs.sweep")
    current_app.send_task("jobs.report", args=(3,))
""",
}
REPORT = 'name = "jobs.report"\npath = "jobs.tasks.old_report"\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project", FILES)
    assert project.migrator("init", "--into", "app.unified").returncode == 0
    plan = project.folder / "migration.toml"
    text = plan.read_text()
    assert 'name = "app.bill"\npath = "app.unified.bill"\nparameters = ["amount", "customer"]\n' in text
    assert REPORT in text
    plan.write_text(text.replace(REPORT, 'name = "app.report"\npath = "app.unified.report"\n', 1))
    project.commit()
    return project


def test_what_is_left_behind_becomes_a_plain_function(project: Project) -> None:
    done = project.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = (project.folder / "jobs/tasks.py").read_text()
    assert "dramatiq" not in tasks
    assert "# sends the bill\ndef bill(customer, amount=5):\n    return customer, amount\n" in tasks
    assert '@shared_task(name="jobs.tasks.ship"' in tasks
    # Its own module sends the unified task, beside the function of the same name.
    assert "from app.unified import bill as app_bill\n" in tasks and 'app_bill.delay(customer="c", amount=1)' in tasks
    # A name that stays is no finding, and the old definition of a task of Celery's keeps its own.
    assert '@shared_task(name="jobs.sweep")' in tasks and '@shared_task(name="jobs.report")' in tasks
    assert "LEGACY-STRING" not in done.stdout
    views = (project.folder / "jobs/views.py").read_text()
    assert 'bill.delay(customer="c", amount=2)' in views
    assert 'send_task("jobs.sweep")' in views and 'send_task("app.report"' in views
    settings = (project.folder / "app/settings.py").read_text()
    assert "ramatiq" not in settings.replace("redis", "")
    again = project.migrator("rewrite-imports")
    assert again.returncode == 0, again.stdout
    assert (project.folder / "jobs/tasks.py").read_text() == tasks


def test_an_actor_that_can_not_be_taken_apart_stays_with_its_settings(project: Project) -> None:
    tasks = project.folder / "jobs/tasks.py"
    tasks.write_text(
        tasks.read_text().replace("@dramatiq.actor(max_retries=3)\ndef bill", "def bill")
        + "\n\nbill = dramatiq.actor(bill)\n"
    )
    project.commit()
    done = project.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LEGACY-CODE" in done.stdout and "jobs/tasks.py" in done.stdout
    assert "bill = dramatiq.actor(bill)" in tasks.read_text()
    assert "django_dramatiq" in (project.folder / "app/settings.py").read_text()
