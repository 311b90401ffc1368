"""Schedules that are put together in pieces: all entries are drafted and rewritten where they stand."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from small_projects import MANAGE, make_project

APP = """\
from celery import Celery
from celery.schedules import crontab

app = Celery("mill")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
TASKS = """\
from mill.celery import app


@app.task(name="{prefix}grind")
def grind(days=1):
    return days


@app.task(name="{prefix}sweep")
def sweep():
    return 1
"""
SETTINGS = """\
from celery.schedules import crontab

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
CELERY_BROKER_URL = "redis://127.0.0.1:6379/1"
"""
MILL = {
    "manage.py": MANAGE.format(settings="mill.settings"),
    "mill/__init__.py": "",
    "mill/settings.py": SETTINGS,
    "mill/celery.py": APP,
    "flour/__init__.py": "",
    "flour/old.py": TASKS.format(prefix=""),
    "flour/tasks.py": TASKS.format(prefix="flour."),
}
GRIND = '{"task": "grind", "schedule": crontab(hour=3, minute=0), "args": [7], "options": {"expires": 60}}'
SPELLED: Mapping[str, tuple[str, str]] = {
    "a name that is filled": (
        "mill/celery.py",
        f'BEAT = {{}}\nBEAT["grind"] = {GRIND}\nBEAT["sweep"] = dict(task="sweep", schedule=30.0)\n'
        "app.conf.beat_schedule = BEAT\n",
    ),
    "a name that is filled later": (
        "mill/celery.py",
        f'BEAT = {{"sweep": {{"task": "sweep", "schedule": 30.0}}}}\napp.conf.beat_schedule = BEAT\n'
        f'if True:\n    BEAT["grind"] = {GRIND}\n',
    ),
    "an entry with a name of its own": (
        "mill/settings.py",
        f'GRIND = {GRIND}\nCELERY_BEAT_SCHEDULE = {{\n    "grind": GRIND,\n'
        '    "sweep": {"task": "sweep", "schedule": 30.0},\n}\n',
    ),
    "two dicts": (
        "mill/celery.py",
        f'ONE = {{"grind": {GRIND}}}\nTWO = {{"sweep": {{"task": "sweep", "schedule": 30.0}}}}\n'
        "app.conf.update(beat_schedule={**ONE, **TWO})\n",
    ),
}
#: Prints the schedule that beat would use.
SHOW = """\
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "mill.settings"
from mill.celery import app

for name, entry in sorted(app.conf.beat_schedule.items()):
    print(name, entry["task"], entry["schedule"], entry.get("args"), entry.get("options"))
"""


@pytest.mark.parametrize("how", SPELLED)
def test_each_entry_is_drafted_and_rewritten_where_it_stands(tmp_path: Path, how: str) -> None:
    file, text = SPELLED[how]
    project = make_project(tmp_path, {**MILL, file: MILL[file] + text, "show.py": SHOW})
    assert project.migrator("init", "--into", "flour.tasks").returncode == 0
    plan = tomllib.loads((tmp_path / "migration.toml").read_text())
    assert {entry["name"]: entry.get("crontab") or entry["every_s"] for entry in plan["schedule"]} == {
        "grind": "0 3 * * *",
        "sweep": 30.0,
    }
    assert "retired_schedule" not in plan
    project.commit()
    done = project.migrator("rewrite-imports")
    assert "SCHEDULE" not in done.stdout
    shown = project.run(sys.executable, "show.py").stdout.splitlines()
    assert shown == [
        "grind flour.grind <crontab: 0 3 * * * (m/h/dM/MY/d)> [7] {'expires': 60}",
        "sweep flour.sweep 30.0 None None",
    ]
    project.commit()
    assert "would rewrite 0 places" in project.migrator("rewrite-imports", "--check").stdout


def test_signatures_without_a_name_that_differ_are_asked_for(tmp_path: Path) -> None:
    text = """

@app.on_after_configure.connect
def periodic(sender, **kwargs):
    from flour.old import grind

    sender.add_periodic_task(60.0, grind.s(1))
    sender.add_periodic_task(90.0, grind.s(2))
"""
    project = make_project(tmp_path, {**MILL, "mill/celery.py": APP + text})
    assert project.migrator("init", "--into", "flour.tasks").returncode == 0
    (left,) = tomllib.loads((tmp_path / "migration.toml").read_text())["retired_schedule"]
    assert left["reason"].startswith("DECIDE: lines 12, 13 are called so: ")
    assert project.migrator("rewrite-imports").returncode == 2


#: A dict of the same shape that is no schedule, and an entry that two schedules share.
UNRELATED = f'{APP}GRIND = {GRIND}\nJOBS = {{}}\nJOBS["grind"] = GRIND\nregister(JOBS)\n'


def test_a_dict_that_no_schedule_is_given_is_left_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path, {**MILL, "mill/celery.py": UNRELATED})
    assert project.migrator("init", "--into", "flour.tasks").returncode == 0
    assert "schedule" not in tomllib.loads((tmp_path / "migration.toml").read_text())
    project.commit()
    project.migrator("rewrite-imports")
    assert (tmp_path / "mill/celery.py").read_text() == UNRELATED
