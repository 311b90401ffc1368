"""Messages that are due after the visibility timeout, in a project whose workers run its own Celery app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

TIMEOUT_S = 4
RELEASER = """\
from migrator.tasks.parked import ReleaseParked

app.steps["consumer"].add(ReleaseParked)
"""

REMINDERS = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["app"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
""",
    "app/celery.py": """\
import os

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"], include=["app.tasks"])
app.conf.task_default_queue = "unified"
app.conf.task_acks_late = True
app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["VISIBILITY_S"])}
""",
    "app/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor
def remind(name):
    pass
""",
    "app/tasks.py": """\
import os
import time

from app.celery import app


@app.task(name="app.remind")
def remind(name):
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{name} {time.time()}\\n")
""",
    "migration.toml": """\
[migration]
name = "reminders"

[project]
root = "."
settings = "app.settings"
install_package = "migrator.tasks"
install_to = "tasks"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["app.actors"]

[unified]
broker = "${BROKER}"
queues = ["unified"]
visibility_timeout_s = 4

[[task]]
name = "app.remind"
path = "app.tasks.remind"
parameters = ["name"]

  [[task.replaces]]
  system = "dramatiq"
  name = "remind"
  path = "app.actors.remind"
  parameters = ["name"]

[[process]]
name = "worker"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "unified", "--pool", "solo"]
""",
}


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    environ = {"BROKER": redis_url, "VISIBILITY_S": str(TIMEOUT_S), "RUNS": str(tmp_path / "runs")}
    return make_project(tmp_path / "reminders", REMINDERS, environ)


def send(project: Project, name: str, delay_s: float) -> float:
    """Send a delayed message with the old code and return when it is due."""
    due = time.time() + delay_s
    code = f"from app.actors import remind; remind.send_with_options(args=({name!r},), delay={int(delay_s * 1000)})"
    done = project.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return due


@contextmanager
def worker(project: Project) -> Iterator[None]:
    """Run the project's own worker."""
    command = [sys.executable, "-m", "celery", "-A", "app.celery", "worker", "-Q", "unified", "--pool", "solo"]
    with (project.folder / "worker.log").open("ab") as log:
        environ = {**os.environ, **project.environ}
        process = subprocess.Popen(command, cwd=project.folder, env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def ran_once_when_due(project: Project, due: float) -> None:
    """Wait for the run, and long enough afterwards for a second delivery, had there been one."""
    runs = Path(project.environ["RUNS"])
    with worker(project):
        wait_until(runs.exists, timeout_s=90, what=lambda: (project.folder / "worker.log").read_text()[-2000:])
        time.sleep(TIMEOUT_S * 1.5)
    (run,) = runs.read_text().splitlines()
    assert 0 <= float(run.split()[1]) - due < 10


def give_releaser(project: Project) -> None:
    """Give the project's app the part that releases parked messages."""
    app = project.folder / "app/celery.py"
    app.write_text(app.read_text() + RELEASER)


def test_the_preflight_says_what_becomes_of_late_messages_before_anything_is_stopped(project: Project) -> None:
    send(project, "later", 900)
    refused = project.migrator("cutover", "--dry-run").stdout
    assert "ETA-BEYOND-VISIBILITY" in refused
    assert "ETA-PARKED" not in refused
    give_releaser(project)
    allowed = project.migrator("cutover", "--dry-run").stdout
    assert "ETA-BEYOND-VISIBILITY" not in allowed
    assert "ETA-PARKED" in allowed


def test_nothing_is_parked_where_the_projects_own_app_releases_nothing(project: Project) -> None:
    due = send(project, "later", 24)
    moved = json.loads(project.migrator("transfer", "--yes", "--format", "json").stdout)
    assert (moved["parked"], moved["reasons"]) == (0, {"due-late": 1})
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text().replace("visibility_timeout_s = 4", "visibility_timeout_s = 60"))
    patient = replace(project, environ={**project.environ, "VISIBILITY_S": "60"})
    done = patient.migrator("transfer", "--yes", "--retry-quarantined", "--format", "json")
    assert json.loads(done.stdout)["moved"] == 1, done.stdout + done.stderr
    ran_once_when_due(patient, due)


def test_what_the_projects_own_app_releases_is_parked_and_runs_once_when_it_is_due(project: Project) -> None:
    give_releaser(project)
    due = send(project, "later", 24)
    assert json.loads(project.migrator("transfer", "--yes", "--format", "json").stdout)["parked"] == 1
    ran_once_when_due(project, due)
