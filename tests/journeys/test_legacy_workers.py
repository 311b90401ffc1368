"""``migrator workers start legacy`` in a tree that no longer defines the tasks whose messages wait."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import redis
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

ACTOR = """

@dramatiq.actor(max_retries=0)
def ping(x):
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{x}\\n")
"""
PINGS = {
    ".gitignore": "__pycache__/\n",
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "app/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))
"""
    + ACTOR,
    "app/tasks.py": """\
import os

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"])


@app.task(name="app.ping")
def ping(x):
    return x
""",
    "migration.toml": """\
[migration]
name = "pings"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["app.actors"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "app.ping"
path = "app.tasks.ping"
parameters = ["x"]

  [[task.replaces]]
  system = "dramatiq"
  name = "ping"
  path = "app.actors.ping"
  parameters = ["x"]

[[process]]
name = "old-worker"
side = "legacy"
role = "worker"
system = "dramatiq"
command = ["{python}", "-m", "dramatiq", "app.actors", "-p", "1", "-t", "1"]
""",
}


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    environ = {"BROKER": redis_url, "RUNS": str(tmp_path / "runs"), "PYTHONDONTWRITEBYTECODE": "1"}
    project = make_project(tmp_path / "pings", PINGS, environ)
    code = "from app.actors import ping; [ping.send(x) for x in range(5)]"
    assert project.run(sys.executable, "-c", code).returncode == 0
    return project


def ready(project: Project) -> int:
    with redis.Redis.from_url(project.environ["BROKER"], socket_timeout=5) as client:
        return client.llen("dramatiq:default")


@pytest.mark.parametrize("how", ["actor removed", "module removed"])
def test_it_is_refused_and_the_messages_go_on_waiting(project: Project, how: str) -> None:
    actors = project.folder / "app/actors.py"
    if how == "actor removed":
        actors.write_text(actors.read_text().replace(ACTOR, ""))
    else:
        actors.unlink()
    done = project.migrator("workers", "start", "legacy", "--yes")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "would start without its actors" in done.stderr
    assert "does not define ping" in done.stderr
    assert ready(project) == 5
    assert "stopped" in project.migrator("workers", "list").stdout


def test_it_starts_where_they_are_defined(project: Project) -> None:
    done = project.migrator("workers", "start", "legacy", "--yes")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        runs = Path(project.environ["RUNS"])
        wait_until(lambda: runs.exists() and len(runs.read_text().splitlines()) == 5)
    finally:
        assert project.migrator("workers", "stop", "legacy", "--yes").returncode == 0
