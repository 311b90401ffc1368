"""A converted actor is never retried sooner than Dramatiq retried it: no wait is shorter than its backoff."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from small_projects import MANAGE, make_project

FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "app/broker.py": """\
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url="redis://127.0.0.1:1/0"))
""",
    "app/celery.py": """\
import os

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"], include=["app.jobs"])
app.conf.task_default_queue = "unified"
app.set_default()
""",
    "app/jobs.py": """\
import os
import time

import dramatiq


@dramatiq.actor(min_backoff=1000, max_retries=2)
def flaky(key):
    with open(os.environ["OUT"] + key, "a") as out:
        out.write(f"{time.time()}\\n")
    raise OSError("not yet")
""",
    "migration.toml": """\
[migration]
name = "waits"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:1/0"
queues = ["default"]
modules = ["app.jobs"]

[unified]
broker = "redis://127.0.0.1:1/1"
queues = ["unified"]

[[task]]
name = "app.jobs.flaky"
path = "app.jobs.flaky"
parameters = ["key"]
max_retries = 2

  [[task.replaces]]
  system = "dramatiq"
  name = "flaky"
  path = "app.jobs.flaky"
  parameters = ["key"]
""",
}
KEYS = "abcdef"


def test_no_wait_is_shorter_than_dramatiqs(tmp_path: Path, redis_url: str) -> None:
    environ = {"BROKER": redis_url, "OUT": str(tmp_path / "tries-")}
    project = make_project(tmp_path / "project", FILES, environ)
    assert "rewrote app/jobs.py" in project.migrator("rewrite-imports").stdout
    code = f"import app.celery\nfrom app.jobs import flaky\nfor key in {KEYS!r}: flaky.delay(key)"
    assert project.run(sys.executable, "-c", code).returncode == 0
    tries = [Path(environ["OUT"] + key) for key in KEYS]
    with (tmp_path / "log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "app.celery", "worker", "--pool", "solo"],
            cwd=project.folder,
            env={**os.environ, **environ},
            stdout=log,
            stderr=log,
        )
        try:
            until = time.monotonic() + 60
            while not all(file.exists() and len(file.read_text().split()) == 3 for file in tries):
                assert time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.1)
        finally:
            worker.terminate()
            worker.wait(20)
    for file in tries:
        first, second, third = map(float, file.read_text().split())
        assert second - first >= 1 and third - second >= 2, (first, second, third)
