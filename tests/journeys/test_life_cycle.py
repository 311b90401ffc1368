"""A migration from its plan to its end, as the installed console script tells it."""

from __future__ import annotations

import json
from pathlib import Path

from small_projects import MANAGE, make_project

CASE = """\
title = "{title}"
kind = "usual"

[[call]]
system = "celery"
task = "old_add"
args = {args}
"""

LIFE = {
    "manage.py": MANAGE.format(settings="app.settings"),
    ".gitignore": "*.pyc\n__pycache__/\n*.sqlite3\n",
    "app/__init__.py": "",
    "app/celery.py": """\
import os

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"], include=["app.jobs", "app.new"])
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "app/jobs.py": """\
from app.celery import app


@app.task(name="old_add")
def add(a, b=1):
    return a + b
""",
    "app/new.py": """\
from app.celery import app


@app.task(name="new.add")
def add(a, b=1):
    return a + b
""",
    "app/migrations/__init__.py": "",
    "app/migrations/0001_initial.py": """\
from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = []
""",
    "app/views.py": "from app.jobs import add\n\n\ndef view(request):\n    add.delay(1, b=2)\n",
    "app/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["app"]
CELERY_TASK_ROUTES = {"new.*": {"queue": "unified"}}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
""",
    "migration.toml": """\
[migration]
name = "life"

[project]
root = "."
settings = "app.settings"
app_label = "app"

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["app.jobs"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "new.add"
path = "app.new.add"
parameters = ["a", "b"]

  [[task.replaces]]
  system = "celery"
  name = "old_add"
  path = "app.jobs.add"
  parameters = ["a", "b"]

[[process]]
name = "old-worker"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "celery", "--pool", "solo", "-n", "{node}"]

[[process]]
name = "new-worker"
side = "unified"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "unified", "--pool", "solo", "-n", "{node}"]
""",
    "parity.toml": """\
cases = "cases"

[environment]
BROKER = "{redis}/0"
""",
    "cases/add/case.toml": CASE.format(title="one", args=[1]),
    "cases/both/case.toml": CASE.format(title="both", args=[1, 2]),
}

#: Nothing listens there: for what asks no broker.
NOWHERE = {"BROKER": "redis://127.0.0.1:1/0"}


def test_a_run_over_some_cases_leaves_proof_and_report_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path / "life", LIFE, NOWHERE)
    green = project.migrator("parity-check", "--no-waiting")
    assert green.returncode == 0, green.stdout + green.stderr
    proof, report = (project.folder / ".migrator" / name for name in ("proof.json", "reports/parity.json"))
    before = proof.read_bytes(), report.read_bytes()
    for words, meant in ((["--case", "botj"], "did you mean 'both'?"), (["new.ad"], "did you mean 'new.add'?")):
        refused = project.migrator("parity-check", "--no-waiting", *words)
        assert refused.returncode == 2, refused.stdout
        assert meant in refused.stderr
    part = project.migrator("parity-check", "--no-waiting", "--case", "both", "--format", "json")
    assert part.returncode == 0, part.stdout
    assert not json.loads(part.stdout)["parity"]["whole"]
    assert (proof.read_bytes(), report.read_bytes()) == before
