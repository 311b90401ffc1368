"""Messages outside of the plan's queues: seen by every command that looks, refused by those that move."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import redis
from small_projects import MANAGE, Project, make_project

POST = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="post.settings"),
    "post/__init__.py": "",
    "post/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "post/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor
def frank(x):
    return x
""",
    "post/tasks.py": """\
import os

from celery import Celery

app = Celery("post", broker=os.environ["BROKER"])
app.conf.task_default_queue = "unified"


@app.task(name="post.frank")
def frank(x):
    return x
""",
    "migration.toml": """\
[migration]
name = "post"

[project]
root = "."
settings = "post.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["post.actors"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "post.frank"
path = "post.tasks.frank"
parameters = ["x"]

  [[task.replaces]]
  system = "dramatiq"
  name = "frank"
  path = "post.actors.frank"
  parameters = ["x"]
""",
}
ELSEWHERE = (
    "from post.actors import frank; frank.send(1); frank.broker.enqueue(frank.message(2).copy(queue_name='air'))"
)
SETUP = "from post.actors import frank; frank.broker.declare_queue('air'); "


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    project = make_project(tmp_path / "post", POST, {"BROKER": redis_url})
    done = project.run(sys.executable, "-c", SETUP + ELSEWHERE)
    assert done.returncode == 0, done.stderr
    return project


def waiting(project: Project, key: str) -> int:
    with redis.Redis.from_url(project.environ["BROKER"], socket_timeout=5) as client:
        return client.llen(key)


def test_a_transfer_is_refused_with_the_line_to_add_and_moves_all_with_it(project: Project) -> None:
    refused = project.migrator("transfer", "--yes")
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "QUEUE-OUTSIDE" in refused.stdout
    assert 'queues = ["default", "air"] under [legacy.dramatiq]' in refused.stdout
    assert (waiting(project, "dramatiq:default"), waiting(project, "dramatiq:air")) == (1, 1)
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text().replace('queues = ["default"]', 'queues = ["default", "air"]'))
    moved = project.migrator("transfer", "--yes", "--format", "json")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert json.loads(moved.stdout)["moved"] == 2


def test_what_is_left_alone_on_purpose_stays_where_it_is(project: Project) -> None:
    plan = project.folder / "migration.toml"
    text = plan.read_text()
    plan.write_text(text + '\n[[leave]]\nbroker = "legacy.dramatiq"\nqueue = "dramatiq:air"\nreason = ""\n')
    assert "leave[0].reason: needs a non-empty string" in project.migrator("transfer", "--yes").stderr
    plan.write_text(text + '\n[[leave]]\nbroker = "legacy"\nqueue = "air"\nreason = "of the airline"\n')
    assert "leave[0].broker: names no broker of the plan" in project.migrator("transfer", "--yes").stderr
    plan.write_text(
        text + '\n[[leave]]\nbroker = "legacy.dramatiq"\nqueue = "dramatiq:air"\nreason = "of the airline"\n'
    )
    moved = project.migrator("transfer", "--yes")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert (waiting(project, "dramatiq:default"), waiting(project, "dramatiq:air")) == (0, 1)


def test_one_queue_that_is_asked_for_is_moved(project: Project) -> None:
    moved = project.migrator("transfer", "--yes", "--queue", "default")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert project.migrator("transfer", "--yes", "--task", "frank").returncode == 4


@pytest.mark.parametrize("command", [("cutover", "--dry-run"), ("status",), ("inspect",)])
def test_every_command_that_looks_shows_it(project: Project, command: tuple[str, ...]) -> None:
    shown = project.migrator(*command)
    assert "dramatiq:air" in shown.stdout, shown.stdout + shown.stderr
    if command[0] == "cutover":
        assert shown.returncode == 4
        assert "QUEUE-OUTSIDE" in shown.stdout


def test_a_draft_says_what_else_its_servers_hold(project: Project) -> None:
    actors = project.folder / "post/actors.py"
    url = project.environ["BROKER"]
    actors.write_text(actors.read_text().replace('os.environ["BROKER"]', repr(url)))
    drafted = project.migrator("init", "--force")
    assert drafted.returncode == 0, drafted.stdout + drafted.stderr
    assert "dramatiq:air" in drafted.stdout


def test_a_queue_that_the_source_names_and_the_plan_does_not_is_an_error_of_the_plan(project: Project) -> None:
    actors = project.folder / "post/actors.py"
    actors.write_text(actors.read_text().replace("@dramatiq.actor\n", '@dramatiq.actor(queue_name="air")\n'))
    refused = project.migrator("cutover", "--dry-run")
    assert "PLAN-MISSING-QUEUE" in refused.stdout + refused.stderr
