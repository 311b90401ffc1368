"""Messages of every kind that real legacy code sends, carried, and run once by a real worker of the unified app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

from migrator.plan.loader import load_plan
from migrator.workers import legacy_aliases

RECORD = """

def done(*words):
    with open(os.environ["RUNS"], "a") as file:
        file.write(json.dumps(words) + "\\n")
"""
KINDS = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["app"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
""",
    "app/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor(max_age=60_000)
def greet(name):
    pass
""",
    "app/old.py": """\
import os

from celery import Celery

app = Celery("old", broker=os.environ["BROKER"])


@app.task(name="old.ping")
def ping(x, y=0):
    pass


@app.task(name="old.fetch")
def fetch(symbol):
    pass
""",
    "app/tasks.py": """\
import json
import os

from celery import Celery
from migrator.tasks.legacy_aliases import LegacyAliases

app = Celery("app", broker=os.environ["BROKER"])
app.conf.task_default_queue = "unified"
app.conf.worker_consumer = "migrator.tasks.consumer:DeadLetterConsumer"
app.steps["consumer"].add(LegacyAliases)
"""
    + RECORD
    + """

@app.task(name="app.ping")
def ping(x, y=0):
    done("ping", x, y)


@app.task(name="app.fetch")
def fetch(symbols, source):
    done("fetch", symbols, source)


@app.task(name="app.greet")
def greet(name):
    done("greet", name)
""",
    "migration.toml": """\
[migration]
name = "kinds"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["app.actors"]

[legacy.celery]
broker = "${BROKER}"
queues = ["celery", "mail"]
modules = ["app.old"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "app.ping"
path = "app.tasks.ping"
parameters = ["x", "y"]

  [[task.replaces]]
  system = "celery"
  name = "old.ping"
  path = "app.old.ping"
  parameters = ["x", "y"]

[[task]]
name = "app.fetch"
path = "app.tasks.fetch"
parameters = ["symbols", "source"]

  [[task.replaces]]
  system = "celery"
  name = "old.fetch"
  path = "app.old.fetch"
  parameters = ["symbol"]
  arguments = [{ wrap = "symbol", to = "symbols" }, { constant = "source", value = "auto" }]

[[task]]
name = "app.greet"
path = "app.tasks.greet"
parameters = ["name"]

  [[task.replaces]]
  system = "dramatiq"
  name = "greet"
  path = "app.actors.greet"
  parameters = ["name"]
  max_age_ms = 60000
""",
}
MAPPED = """
from app.old import fetch, ping
ping.map([1, 2]).apply_async()
ping.starmap([(3, 4), (5, 6)]).apply_async()
ping.chunks([(7, 8), (9, 10)], 1).apply_async()
fetch.map(["A", "B"]).apply_async()
fetch.starmap([("C",)]).apply_async()
"""
MAPPED_RUNS = [
    *(["ping", x, 0] for x in (1, 2)),
    *(["ping", x, x + 1] for x in (3, 5, 7, 9)),
    *(["fetch", [symbol], "auto"] for symbol in "ABC"),
]
LINKED = """
from celery import chain
from app.old import ping
chain(ping.si(20), ping.si(21, y=1).set(queue="mail", priority=9), ping.si(22)).apply_async()
ping.apply_async((23,), link=ping.si(24).set(queue="mail", priority=9))
from app.old import app
app.conf.task_protocol = 1
ping.apply_async((25,), headers={"tenant": "x"})
"""
LINKED_RUNS = [["ping", x, int(x == 21)] for x in range(20, 26)]
ACTORS = """
import json, math
from app.actors import greet
broker = greet.broker
greet.send("plain")
greet.send_with_options(args=("endless",), time_limit=math.inf, max_age=math.inf)
greet.send_with_options(args=("retried",), retries=2.0)
for without in ("message_id", "message_timestamp"):
    document = json.loads(greet.message(f"without {without}").encode())
    del document[without]
    document["options"]["redis_message_id"] = without
    broker.client.hset("dramatiq:default.msgs", without, json.dumps(document))
    broker.client.rpush("dramatiq:default", without)
late = greet.message("late")
broker.enqueue(late.copy(message_timestamp=late.message_timestamp - 61_000))
"""
ACTORS_RUNS = [
    ["greet", name] for name in ("plain", "endless", "retried", "without message_id", "without message_timestamp")
]


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    environ = {"BROKER": redis_url, "RUNS": str(tmp_path / "runs"), "PYTHONDONTWRITEBYTECODE": "1"}
    return make_project(tmp_path / "kinds", KINDS, {**environ, "DJANGO_SETTINGS_MODULE": "app.settings"})


def run_code(project: Project, code: str) -> None:
    done = project.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@contextmanager
def worker(project: Project) -> Iterator[None]:
    """Run a worker of the unified app on its own queue."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "app.tasks",
        "worker",
        "-Q",
        "unified",
        "--pool",
        "solo",
        "-l",
        "INFO",
    ]
    with (project.folder / "worker.log").open("ab") as log:
        environ = {**os.environ, **project.environ}
        process = subprocess.Popen(command, cwd=project.folder, env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def runs(project: Project) -> list[list[object]]:
    file = Path(project.environ["RUNS"])
    return sorted((json.loads(line) for line in file.read_text().splitlines()), key=str) if file.exists() else []


def all_ran_once(project: Project, expected: list[list[object]]) -> None:
    wanted = sorted(expected, key=str)
    wait_until(
        lambda: len(runs(project)) >= len(wanted),
        timeout_s=60,
        what=lambda: f"{runs(project)}\n{(project.folder / 'worker.log').read_text()[-3000:]}",
    )
    assert runs(project) == wanted
    with redis.Redis.from_url(project.environ["BROKER"], socket_timeout=5) as client:
        assert not [key for key in client.scan_iter() if client.type(key) == b"list"]


def test_carried_messages_run_once_with_their_arguments(project: Project) -> None:
    for code in (MAPPED, LINKED, ACTORS):
        run_code(project, code)
    moved = project.migrator("transfer", "--yes", "--format", "json")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    report = json.loads(moved.stdout)
    assert report["reasons"] == {"expired": 1}, report["quarantined_messages"]
    with worker(project):
        all_ran_once(project, [*MAPPED_RUNS, *LINKED_RUNS, *ACTORS_RUNS])


def test_late_calls_of_many_arguments_run_through_the_legacy_aliases(project: Project) -> None:
    legacy_aliases.enable(load_plan(project.folder / "migration.toml"), project.environ)
    run_code(project, MAPPED)
    run_code(project, LINKED)
    with worker(project):
        all_ran_once(project, [*MAPPED_RUNS, *LINKED_RUNS])


def test_a_quarantined_message_is_named_with_its_reason_and_the_way_forward(project: Project) -> None:
    run_code(project, "from app.old import app; app.send_task('nobody', task_id='the-id')")
    shown = project.migrator("transfer", "--dry-run")
    assert shown.returncode == 1, shown.stderr
    assert "the-id nobody: the task is not in the plan" in shown.stdout
    assert "what to do: name it under [[task.replaces]] or [[retired]] in the plan" in shown.stdout


def test_an_actors_own_age_limit_is_drafted_and_missed_where_a_plan_lacks_it(project: Project) -> None:
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text().replace("  max_age_ms = 60000\n", ""))
    missed = project.migrator("rewrite-imports", "--check")
    assert "PLAN-MAX-AGE" in missed.stdout + missed.stderr
    assert "max_age_ms = 60000" in missed.stdout + missed.stderr
    drafted = project.migrator("init", "--force")
    assert drafted.returncode == 0, drafted.stdout + drafted.stderr
    assert "max_age_ms = 60000" in plan.read_text()
