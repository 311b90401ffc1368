"""A unified queue that RabbitMQ lacks is declared as the project's app does, so that its workers are not refused."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rabbit_server import RabbitServer
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

pytestmark = pytest.mark.xdist_group("rabbitmq")

#: A garden; its app gives one queue arguments of its own, and another one what it gives to every queue.
GARDEN = {
    ".gitignore": "__pycache__/\n.migrator/\nwatered/\n",
    "manage.py": MANAGE.format(settings="garden.settings"),
    "garden/__init__.py": "from .celery import app\n",
    "garden/celery.py": """\
import os

from celery import Celery
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "garden.settings")
app = Celery("garden", include=["garden.old", "garden.new"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queue_max_priority = 4
app.conf.task_queues = [
    Queue("celery", Exchange("celery"), "celery"),
    Queue("beds", Exchange("beds"), "beds", max_priority=7, queue_arguments={"x-max-length": 5000}),
]
""",
    "garden/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
CELERY_BROKER_URL = os.environ["GARDEN_BROKER"]
""",
    "garden/old.py": """\
from garden.celery import app


@app.task
def water(bed):
    return bed


@app.task
def mow(lawn):
    return lawn
""",
    "garden/new.py": """\
from pathlib import Path

from garden.celery import app


@app.task(name="garden.water", queue="beds")
def water(bed):
    Path("watered", bed).touch()


@app.task(name="garden.mow", queue="lawns")
def mow(lawn):
    Path("watered", lawn).touch()
""",
    "watered/.keep": "",
    "migration.toml": """\
[migration]
name = "garden"

[project]
root = "."
settings = "garden.settings"

[legacy.celery]
broker = "${GARDEN_BROKER}"
queues = ["celery"]
modules = ["garden.old"]

[unified]
broker = "${GARDEN_BROKER}"
queues = ["beds", "lawns"]

[[task]]
name = "garden.water"
path = "garden.new.water"
parameters = ["bed"]
queue = "beds"

  [[task.replaces]]
  system = "celery"
  name = "garden.old.water"
  parameters = ["bed"]

[[task]]
name = "garden.mow"
path = "garden.new.mow"
parameters = ["lawn"]
queue = "lawns"

  [[task.replaces]]
  system = "celery"
  name = "garden.old.mow"
  parameters = ["lawn"]

[[process]]
name = "old"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "garden", "worker", "--pool=solo", "-Q", "celery", "-n", "{node}"]

[[process]]
name = "new"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "garden", "worker", "--pool=solo", "-Q", "beds,lawns", "-n", "{node}"]
""",
}
SEND = """\
from garden.old import mow, water
water.delay("roses")
mow.delay("front")
"""


@pytest.fixture
def garden(tmp_path: Path, rabbit: RabbitServer) -> Iterator[tuple[Project, str]]:
    vhost = f"garden-{uuid.uuid4().hex[:8]}"
    project = make_project(tmp_path, GARDEN, {"GARDEN_BROKER": rabbit.make_host(vhost)})
    done = project.run(sys.executable, "-c", SEND)
    assert done.returncode == 0, done.stderr
    yield project, vhost
    project.migrator("workers", "stop", "unified", "--yes")


def arguments(rabbit: RabbitServer, vhost: str, queue: str) -> dict[str, object]:
    """Return the arguments of a queue as the server has them."""
    found: dict[str, object] = rabbit.manage("GET", f"queues/{vhost}/{queue}")["arguments"]
    return {name: value for name, value in found.items() if name != "x-queue-type"}


def test_the_queue_is_the_one_that_workers_declare(garden: tuple[Project, str], rabbit: RabbitServer) -> None:
    project, vhost = garden
    done = project.migrator("transfer", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert arguments(rabbit, vhost, "beds") == {"x-max-priority": 7, "x-max-length": 5000}
    assert arguments(rabbit, vhost, "lawns") == {"x-max-priority": 4}
    started = project.migrator("workers", "start", "unified", "--yes")
    assert started.returncode == 0, started.stdout + started.stderr
    watered = project.folder / "watered"
    wait_until(lambda: {path.name for path in watered.iterdir()} >= {"roses", "front"}, what="both tasks", timeout_s=60)


def test_where_the_app_cannot_be_asked_nothing_is_moved(garden: tuple[Project, str], rabbit: RabbitServer) -> None:
    project, _ = garden
    app = project.folder / "garden" / "celery.py"
    app.write_text(f"import a_module_that_is_not_there\n{app.read_text()}")
    done = project.migrator("transfer", "--yes")
    assert done.returncode == 4, done.stdout + done.stderr
    text = " ".join(done.stderr.split())
    assert "is missing, and how its app declares it can't be found out" in text
    assert "a_module_that_is_not_there" in text
    assert "`migrator workers start unified`" in text
    app.write_text(GARDEN["garden/celery.py"])
    done = project.migrator("transfer", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_queue_that_workers_would_be_refused_is_found(garden: tuple[Project, str], rabbit: RabbitServer) -> None:
    project, vhost = garden
    declared = {"durable": True, "arguments": {"x-max-priority": 9, "x-max-length": 5000}}
    rabbit.manage("PUT", f"queues/{vhost}/beds", declared)
    rabbit.manage("PUT", f"queues/{vhost}/lawns", {"durable": True, "arguments": {"x-max-priority": 4}})
    text = " ".join(project.migrator("cutover", "--dry-run").stdout.split())
    assert text.count("BROKER-QUEUE-ARGUMENTS") == 1
    assert "x-max-length=5000, x-max-priority=9; the app has x-max-length=5000, x-max-priority=7" in text
