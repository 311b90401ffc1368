"""Who fires when, around a cutover, a rollback and a second cutover, with real beats and an independent watcher.

The state of a schedule is in a file of beat's own, in rows on SQLite, or in rows on PostgreSQL.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

#: How late a worker may run what was sent in time.
TOLERANCE_S = 1.0
TICK_S, SLOW_S = 2, 9

TASKS = """\
import os
import time

from {app} import app


@app.task(name="{name}")
def mark(entry, {extra}):
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{{entry}} {side} {{time.time()}}\\n")
"""
APP = """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clock.settings")

app = Celery("{name}", include=["{tasks}"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = "{queue}"
"""
FILES = {
    ".gitignore": ".migrator/\n__pycache__/\n*.sqlite3*\nbeat-state*\n",
    "manage.py": MANAGE.format(settings="clock.settings"),
    "clock/__init__.py": "",
    "clock/settings.py": """\
import os

import dj_url

SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DATABASES = {"default": dj_url.database(os.environ["DATABASE"])}
CELERY_BROKER_URL = os.environ["BROKER"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "old.mark", "schedule": 2.0, "kwargs": {"entry": "tick"}},
    "slow": {"task": "old.mark", "schedule": 9.0, "kwargs": {"entry": "slow"}},
    "hourly": {"task": "old.mark", "schedule": 3600.0, "kwargs": {"entry": "hourly"}},
}
""",
    "dj_url.py": """\
from urllib.parse import parse_qs, urlsplit


def database(text):
    if not text.startswith("postgresql"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": text, "OPTIONS": {"timeout": 20}}
    url = urlsplit(text)
    host = parse_qs(url.query).get("host", [url.hostname or ""])[0]
    return {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username or "", "HOST": host}
""",
    "clock/legacy.py": APP.format(name="old", tasks="clock.jobs", queue="celery"),
    "clock/celery.py": APP.format(name="new", tasks="clock.work", queue="unified"),
    "clock/jobs.py": TASKS.format(app="clock.legacy", name="old.mark", extra="note=''", side="legacy"),
    "clock/work.py": TASKS.format(app="clock.celery", name="new.mark", extra="remark=''", side="unified"),
    "migration.toml": """\
[migration]
name = "clock"

[project]
root = "."
settings = "clock.settings"

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["clock.jobs"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "new.mark"
path = "clock.work.mark"
parameters = ["entry", "remark"]

  [[task.replaces]]
  system = "celery"
  name = "old.mark"
  path = "clock.jobs.mark"
  parameters = ["entry", "note"]
  arguments = [{ rename = "note", to = "remark" }]

[[schedule]]
name = "tick"
task = "new.mark"
every_s = 2
kwargs = { entry = "tick" }
replaces = ["clock.settings:tick"]

[[schedule]]
name = "slow-one"
task = "new.mark"
every_s = 9
kwargs = { entry = "slow" }
replaces = ["clock.settings:slow"]

[[schedule]]
name = "each-hour"
task = "new.mark"
every_s = 3600
kwargs = { entry = "hourly" }
replaces = ["clock.settings:hourly"]
""",
    "parity.toml": """\
cases = "cases"

[environment]
RUNS = "/dev/null"
DATABASE = ":memory:"
BROKER = "{redis}/0"
""",
    "cases/mark/case.toml": """\
title = "a mark"
kind = "usual"

[[call]]
system = "celery"
task = "old.mark"
kwargs = { entry = "x", note = "n" }
""",
}
PROCESS = """
[[process]]
name = "{side}-{role}"
side = "{side}"
role = "{role}"
system = "celery"
command = ["{{python}}", "-m", "celery", "-A", "{app}", {words}]
"""
WORKER = '"worker", "-Q", "{queue}", "--pool", "solo", "-n", "{{node}}"'
BEAT = {
    "file": '"beat", "-s", "beat-state-{side}"',
    "rows": '"beat", "-S", "django_celery_beat.schedulers:DatabaseScheduler"',
}
ROWS = """
import sys
from datetime import timedelta
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

def every(seconds):
    return IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")[0]

now = timezone.now()
def row(name, seconds, **more):
    PeriodicTask.objects.create(
        name=name, task="old.mark", kwargs='{"entry": "%s", "note": "n"}' % name, interval=every(seconds), **more
    )

row("op-tick", 2)
row("op-queue", 2, queue="celery")
row("op-off", 1, enabled=False)
row("op-expired", 1, expires=now - timedelta(days=1))
row("op-once", 1, one_off=True)
row("op-hour", 3600, last_run_at=now - timedelta(seconds=3600 - 25))
PeriodicTask.objects.create(name="op-other", task="celery.ping", interval=every(3600))
"""


class Clock:
    """The project, and who fired when."""

    def __init__(self, project: Project, kind: str) -> None:
        self.project = project
        self.kind = kind
        self.runs = Path(project.environ["RUNS"])

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = self.project.migrator(*words, timeout_s=300)
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout + done.stderr

    def django(self, code: str) -> str:
        done = self.project.run(sys.executable, "manage.py", "shell", "-c", code, timeout_s=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fired(self) -> dict[str, list[tuple[str, float]]]:
        found: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for line in self.runs.read_text().splitlines() if self.runs.exists() else ():
            entry, side, moment = line.split()
            found[entry].append((side, float(moment)))
        return found

    def wait_for(self, entry: str, side: str, times: int = 2) -> None:
        """Wait until one side has fired an entry so many times from now on."""
        before = len([at for at in self.fired()[entry] if at[0] == side])
        wait_until(
            lambda: len([at for at in self.fired()[entry] if at[0] == side]) >= before + times,
            what=lambda: f"{entry} by {side}: {self.fired()[entry]}",
            timeout_s=40,
        )

    def logs(self) -> str:
        return "".join(file.read_text(errors="replace") for file in self.project.folder.glob(".migrator/**/*.log"))


@pytest.fixture
def clock(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Clock]:
    kind = request.param
    database = str(tmp_path / "clock.sqlite3")
    if kind == "postgresql":
        database = request.getfixturevalue("postgres_url")
    store = "file" if kind == "file" else "rows"
    plan = FILES["migration.toml"]
    for side, app, queue in (("legacy", "clock.legacy", "celery"), ("unified", "clock.celery", "unified")):
        plan += PROCESS.format(side=side, role="worker", app=app, words=WORKER.format(queue=queue))
        plan += PROCESS.format(side=side, role="scheduler", app=app, words=BEAT[store].format(side=side))
    environ = {"BROKER": redis_url, "RUNS": str(tmp_path / "runs"), "DATABASE": database}
    project = make_project(tmp_path / "clock", {**FILES, "migration.toml": plan}, environ)
    project.git("config", "user.name", "tester")
    project.git("config", "user.email", "tester@example.org")
    found = Clock(project, store)
    found.project.run(sys.executable, "manage.py", "migrate", "--noinput", timeout_s=120)
    yield found
    for side in ("legacy", "unified"):
        project.migrator("workers", "stop", side, "--yes", timeout_s=120)


def prepare(clock: Clock) -> None:
    """Write the source, commit and prove it."""
    clock.run("rewrite-imports", codes=(0, 1))
    clock.project.commit()
    clock.run("parity-check")


def held_hook(folder: Path, seconds: float) -> Path:
    """Return a folder of hooks that hold a cutover while no scheduler runs."""
    folder.mkdir()
    hook = folder / "before-hand_over_schedule"
    hook.write_text(f"#!/bin/sh\nsleep {seconds}\n")
    hook.chmod(0o755)
    return folder


@pytest.mark.journey
@pytest.mark.timeout(500)
@pytest.mark.xdist_group("postgresql")
@pytest.mark.parametrize("clock", ["file", "sqlite", "postgresql"], indirect=True)
def test_none_is_discarded_doubled_or_resurrected(clock: Clock, tmp_path: Path) -> None:
    if clock.kind == "rows":
        clock.django(ROWS)
    clock.run("workers", "start", "legacy", "--yes")
    clock.wait_for("tick", "legacy")
    prepare(clock)
    clock.wait_for("slow", "legacy", 1)
    said = clock.run("cutover", "--yes", "--hooks", str(held_hook(tmp_path / "hooks", SLOW_S + 1)))
    assert "run once by the unified one" in said and "slow-one" in said, said
    clock.wait_for("tick", "unified")
    clock.wait_for("slow", "unified", 2)
    clock.run("rollback", "--yes")
    clock.wait_for("slow", "legacy", 1)
    prepare(clock)
    clock.run("cutover", "--yes")
    clock.wait_for("slow", "unified", 1)
    clock.run("workers", "stop", "unified", "--yes")
    fired = clock.fired()
    for entry, every_s in {"tick": TICK_S, "slow": SLOW_S, "op-tick": TICK_S, "op-queue": TICK_S}.items():
        # From the second on: the first one waited until the worker was ready.
        moments = [at for _, at in fired[entry]][1:]
        if clock.kind == "file" and entry.startswith("op-"):
            assert not moments
        else:
            assert len(moments) - 1 <= (moments[-1] - moments[0] + TOLERANCE_S) / every_s, (entry, moments)
    assert "unregistered task" not in clock.logs()
    assert not fired["hourly"] and not fired["op-off"] and not fired["op-expired"]
    if clock.kind == "rows":
        assert len(fired["op-hour"]) == 1 and len(fired["op-once"]) == 1, fired
