"""A project whose legacy and unified beat remember what they have sent, in files or in rows, without any process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrator.plan.loader import load_plan
from migrator.state.journal import EntryKind, Phase, entry, open_journal
from migrator.steps.protocol import Context

SETTINGS = """\
SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
"""
APP = """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conf.settings")
app = Celery("x", broker="memory://")
app.conf.beat_schedule = {schedule}
"""
LEGACY = {"hourly": {"task": "old.job", "schedule": 3600.0}, "daily": {"task": "old.job", "schedule": 86400.0}}
UNIFIED = {"each-hour": {"task": "new.job", "schedule": 3600.0}, "daily": {"task": "new.job", "schedule": 86400.0}}
PLAN = """\
[migration]
name = "scheduled"

[project]
root = "."
settings = "conf.settings"

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery"]
modules = ["old"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[cutover]
missed_firings = "run"

[[task]]
name = "new.job"
path = "new.job"
parameters = ["n"]

  [[task.replaces]]
  system = "celery"
  name = "old.job"
  parameters = ["n"]

[[schedule]]
name = "each-hour"
task = "new.job"
every_s = 3600
replaces = ["conf.legacy:hourly"]

[[schedule]]
name = "daily"
task = "new.job"
every_s = 86400
replaces = ["conf.legacy:daily"]
"""
PROCESS = """
[[process]]
name = "{side}-beat"
side = "{side}"
role = "scheduler"
system = "celery"
command = ["{{python}}", "-m", "celery", "-A", "conf.{side}", "beat", {words}]
"""
ROWS = '"-S", "django_celery_beat.schedulers:DatabaseScheduler"'


def scheduled_context(folder: Path, *, legacy: str = "", unified: str = "", plan: str = PLAN) -> Context:
    """Write the project, and return the context of a run that has begun.

    Args:
        folder: Where.
        legacy: Words of the command of the legacy beat; by default it has a file of its own.
        unified: Of the unified one.
        plan: Without processes.
    """
    words = {"legacy": legacy or '"-s", "old-state"', "unified": unified or '"-s", "new-state"'}
    files = {
        "conf/__init__.py": "",
        "conf/settings.py": SETTINGS,
        "conf/legacy.py": APP.format(schedule=repr(LEGACY)),
        "conf/unified.py": APP.format(schedule=repr(UNIFIED)),
        "migration.toml": plan + "".join(PROCESS.format(side=side, words=text) for side, text in words.items()),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    found = load_plan(folder / "migration.toml")
    context = Context(plan=found, environ=dict(os.environ), journal=open_journal(found), run=1)
    begin(context)
    return context


def begin(context: Context) -> None:
    """Begin a run in which the legacy beat was running."""
    data = {"running": ["legacy-beat"]}
    context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.RUN_BEGUN, data=data))


def run_code(folder: Path, code: str, *arguments: str) -> Any:
    """Run code in the project, and return what it prints as JSON."""
    start = "import os, json, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'conf.settings'; django.setup()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def remember(folder: Path, app: str, file: str, ran_s_ago: Mapping[str, float]) -> None:
    """Let a beat's own scheduler write its file, as if entries had run so long ago."""
    code = f"""
from datetime import timedelta
from celery.beat import PersistentScheduler
from conf.{app} import app
scheduler = PersistentScheduler(app, schedule_filename={file!r}, lazy=True)
scheduler.setup_schedule()
for name, ago in {dict(ran_s_ago)!r}.items():
    scheduler.schedule[name].last_run_at = app.now() - timedelta(seconds=ago)
    scheduler.schedule[name].total_run_count += 5
scheduler.close()
"""
    run_code(folder, code)


def remembered(folder: Path, app: str, file: str) -> dict[str, tuple[float, int]]:
    """Return how many seconds ago each entry ran for a beat that starts now, and how often."""
    code = f"""
from celery.beat import PersistentScheduler
from conf.{app} import app
scheduler = PersistentScheduler(app, schedule_filename={file!r}, lazy=True)
scheduler.setup_schedule()
now, found = app.now(), scheduler.schedule.items()
print(json.dumps({{n: ((now - e.last_run_at).total_seconds(), e.total_run_count) for n, e in found}}))
scheduler.close()
"""
    return {name: (ago, count) for name, (ago, count) in run_code(folder, code).items()}


def migrate(folder: Path) -> None:
    """Make the tables."""
    run_code(folder, "from django.core.management import call_command; call_command('migrate', verbosity=0)")


def make_rows(folder: Path, rows: Mapping[str, Mapping[str, Any]], *, ran_s_ago: float = 100) -> None:
    """Make rows that run each hour."""
    code = f"""
from datetime import timedelta
from django.utils.timezone import now
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=3600, period="seconds")
for name, values in json.loads(sys.argv[-1]).items():
    PeriodicTask.objects.create(name=name, interval=every, last_run_at=now() - timedelta(seconds={ran_s_ago}), **values)
"""
    run_code(folder, code, json.dumps(rows))


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what counts of each row."""
    code = """
from django_celery_beat.models import PeriodicTask
fields = ("task", "args", "kwargs", "queue", "enabled", "description", "total_run_count")
print(json.dumps({r.name: {**{f: getattr(r, f) for f in fields}, "last": str(r.last_run_at)}
    for r in PeriodicTask.objects.all()}))
"""
    found: dict[str, dict[str, Any]] = run_code(folder, code)
    return found
