"""Parity of a project with two Celery apps: what a task sends, and its retry, is seen once on either side.

A queue that a task names itself is its queue, whatever the app's default is.
"""

from __future__ import annotations

import json
from pathlib import Path

from small_projects import MANAGE, make_project

BAKERY = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="bakery.settings"),
    "bakery/__init__.py": "",
    "bakery/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CELERY_BROKER_URL = os.environ.get("BAKERY_REDIS", "redis://127.0.0.1:6379/0")
""",
    "bakery/ovens.py": """\
from celery import Celery

app = Celery("ovens")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def bake(loaves):
    if loaves > 5:
        raise bake.retry(countdown=7)
    cool.delay(loaves)


@app.task
def cool(loaves):
    return loaves
""",
    "bakery/tills.py": """\
from celery import Celery

app = Celery("tills")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def sell(loaves):
    if loaves > 5:
        raise sell.retry(countdown=7)
    count.delay(loaves)


@app.task
def count(loaves):
    return loaves
""",
    "bakery/celery.py": """\
from celery import Celery

app = Celery("bakery")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = "bakery"

# An app for tools that send nothing of what the worker runs; it is made last.
tools = Celery("tools")
tools.conf.task_default_queue = "tools"
""",
    "bakery/jobs.py": """\
from bakery import celery
from celery import shared_task


@shared_task(name="jobs.bake")
def bake(loaves):
    if loaves > 5:
        raise bake.retry(countdown=7)
    cool.delay(loaves)


@shared_task(name="jobs.cool")
def cool(loaves):
    return loaves


@shared_task(name="jobs.sell")
def sell(loaves):
    if loaves > 5:
        raise sell.retry(countdown=7)
    count.delay(loaves)


@shared_task(name="jobs.count", queue="tills")
def count(loaves):
    return loaves
""",
    "parity.toml": 'cases = "cases"\n\n[environment]\nBAKERY_REDIS = "{redis}/0"\n',
}
TASKS = {"bake": "ovens", "cool": "ovens", "sell": "tills", "count": "tills"}
PLAN = """\
[migration]
name = "bakery"

[project]
root = "."
settings = "bakery.settings"

[legacy.celery]
broker = "${BAKERY_REDIS:-redis://127.0.0.1:6379/0}"
queues = ["celery"]
modules = ["bakery.ovens", "bakery.tills"]

[unified]
broker = "${BAKERY_REDIS:-redis://127.0.0.1:6379/0}"
queues = ["bakery", "tills"]

[[process]]
name = "new"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "bakery.celery:app", "worker", "-Q", "bakery,tills", "-n", "{node}"]
"""
TASK = """
[[task]]
name = "jobs.{name}"
path = "bakery.jobs.{name}"
parameters = ["loaves"]
queue = "{queue}"

  [[task.replaces]]
  system = "celery"
  name = "bakery.{module}.{name}"
  parameters = ["loaves"]
"""
CASE = """\
title = "{name} {loaves}"
kind = "usual"

[[call]]
system = "celery"
task = "bakery.{module}.{name}"
args = [{loaves}]
"""


def test_what_is_sent_and_a_retry_are_seen_once(tmp_path: Path) -> None:
    files = dict(BAKERY)
    files["migration.toml"] = PLAN + "".join(
        TASK.format(name=name, module=module, queue="tills" if name == "count" else "bakery")
        for name, module in TASKS.items()
    )
    for name, module in TASKS.items():
        for loaves in (2, 9):
            text = CASE.format(name=name, module=module, loaves=loaves)
            files[f"cases/{name}-{loaves}/case.toml"] = text
    project = make_project(tmp_path, files)
    done = project.migrator("parity-check", "--format", "json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(found)[:6000] + done.stderr
