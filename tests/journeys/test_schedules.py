"""Schedules and settings by the installed console script, on small projects as strangers write them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from small_projects import MANAGE, Project, make_project

from migrator.embedded_redis import EmbeddedServer

PLAN = """\
[migration]
name = "clinic"

[project]
root = "."
settings = "clinic.settings"
app_label = "visits"

[legacy.celery]
broker = "{redis}/0"
queues = ["celery"]
modules = ["visits.old_tasks"]

[unified]
broker = "{redis}/0"
queues = ["unified"]

[[task]]
name = "visits.remind"
path = "visits.tasks.remind"
parameters = ["days"]

  [[task.replaces]]
  system = "celery"
  name = "visits.old_tasks.remind"
  parameters = ["days"]

[[task]]
name = "visits.count"
path = "visits.tasks.count"
parameters = []

  [[task.replaces]]
  system = "celery"
  name = "visits.old_tasks.count"
  parameters = []
"""

REMIND = """
[[schedule]]
name = "remind-daily"
task = "visits.remind"
crontab = "0 7 * * *"
replaces = ["{module}:remind"]
"""

APP = """\
import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")

app = Celery("clinic", broker="redis://127.0.0.1:6379/0")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["visits"])
"""

TASKS = """\
from clinic.celery import app


@app.task({name})
def remind(days=1):
    return days


@app.task({other})
def count():
    return 0
"""

CLINIC = {
    ".gitignore": ".migrator/\n__pycache__/\n",
    "manage.py": MANAGE.format(settings="clinic.settings"),
    "clinic/__init__.py": "",
    "clinic/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["visits"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
""",
    "clinic/celery.py": APP,
    "visits/__init__.py": "",
    "visits/old_tasks.py": TASKS.format(name="", other=""),
    "visits/tasks.py": TASKS.format(name='name="visits.remind"', other='name="visits.count"'),
    "migration.toml": PLAN.format(redis="redis://127.0.0.1:6379"),
}

#: Written by hand: the settings are right, and an assignment in code wins over them.
BY_HAND = """
CELERY_TASK_DEFAULT_QUEUE = "unified"
CELERY_BEAT_SCHEDULE = {"remind-daily": {"task": "visits.remind", "schedule": 3600.0}}
"""

PROCESSES = """
[[process]]
name = "legacy-clock"
side = "legacy"
role = "scheduler"
system = "celery"
command = ["{{python}}", "-m", "celery", "-A", "clinic.celery", "beat", "-s", ".migrator/beat"]

[[process]]
name = "unified-worker"
side = "unified"
role = "worker"
system = "celery"
command = ["{{python}}", "-m", "celery", "-A", "clinic.celery", "worker", "-n", "{{node}}"]

[[process]]
name = "unified-beat"
side = "unified"
role = "scheduler"
system = "celery"
command = ["{{python}}", "-m", "celery", "-A", "clinic.celery", "beat"]
"""


def rewrite(project: Project, code: int = 0) -> str:
    """Rewrite a project, see that a second run finds nothing to do, and return what the first printed."""
    done = project.migrator("rewrite-imports")
    assert done.returncode == code, done.stdout + done.stderr
    again = project.migrator("rewrite-imports", "--check")
    assert again.returncode == code, again.stdout + again.stderr
    assert "would rewrite" not in again.stdout
    return done.stdout + done.stderr


def beat(project: Project, app: str = "clinic.celery", settings: str = "clinic.settings") -> dict[str, dict[str, str]]:
    """Return the schedule that beat would use, as the project's own code gives it."""
    lines = (
        "import json, os",
        f"os.environ['DJANGO_SETTINGS_MODULE'] = '{settings}'",
        "import django; django.setup()",
        f"from {app} import app",
        "app.loader.import_default_modules(); app.finalize()",
        "found = {name: {key: repr(value) for key, value in entry.items()} for name, entry in "
        "app.conf.beat_schedule.items()}",
        "print(json.dumps(found))",
    )
    done = project.run(sys.executable, "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_app_that_shadows_the_settings_is_refused_before_anything_is_stopped(
    tmp_path: Path, redis_server: EmbeddedServer
) -> None:
    url = redis_server.url().rpartition("/")[0]
    files = {
        **CLINIC,
        "clinic/settings.py": CLINIC["clinic/settings.py"] + BY_HAND,
        "clinic/celery.py": APP.replace("redis://127.0.0.1:6379", url) + "app.conf.beat_schedule = {}\n",
        "migration.toml": PLAN.format(redis=url)
        + REMIND.format(module="clinic.settings").replace('replaces = ["clinic.settings:remind"]\n', "")
        + PROCESSES.format(),
    }
    project = make_project(tmp_path, files)
    started = project.migrator("workers", "start", "legacy", "--yes")
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        refused = project.migrator("cutover", "--yes")
        assert refused.returncode == 4, refused.stdout + refused.stderr
        assert "SCHEDULE-MISSING" in refused.stdout + refused.stderr
        assert "remind-daily" in refused.stdout + refused.stderr
        processes = project.migrator("workers", "--format", "json")
        (clock,) = (p for p in json.loads(processes.stdout)["processes"] if p["name"] == "legacy-clock")
        assert clock["state"] == "running"
        (project.folder / "clinic/celery.py").write_text(APP.replace("redis://127.0.0.1:6379", url))
        planned = project.migrator("cutover", "--dry-run")
        assert "SCHEDULE-MISSING" not in planned.stdout + planned.stderr
    finally:
        project.migrator("workers", "stop", "legacy", "--yes")
