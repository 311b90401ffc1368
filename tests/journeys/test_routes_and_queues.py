"""Queues that are chosen by routes of any form, and by options of commands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_projects import MANAGE, Project, make_project

FARM = {
    "manage.py": MANAGE.format(settings="farm.settings"),
    "farm/__init__.py": "",
    "farm/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = ["milk"]\n',
    "farm/celery.py": """\
from celery import Celery

app = Celery("farm", broker="redis://127.0.0.1:6379/0")
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "farm/routers.py": 'def route(name, args, kwargs, options, task=None, **kw):\n    return {"queue": "cows"}\n',
    "milk/__init__.py": "",
    "milk/tasks.py": """\
from celery import shared_task


@shared_task
def milk(cow):
    return cow


@shared_task
def sell(litres, price):
    return litres


@shared_task
def feed(cow):
    return cow
""",
}
#: What the settings say: the queues of milk, sell and feed.
ROUTES: Mapping[str, str] = {
    "a list of dicts": '[{"milk.tasks.milk": {"queue": "cows"}}, {"milk.tasks.sell": "shop"}]',
    "pairs": '([("milk.tasks.milk", {"queue": "cows"}), ("milk.tasks.s*", {"queue": "shop"})],)',
    "patterns": '{"milk.tasks.m*": {"queue": "cows"}, "*.sell": {"queue": "shop"}}',
    "the first that fits": '[{"milk.tasks.milk": "cows", "milk.tasks.sell": "shop"}, {"milk.tasks.m*": "late"}]',
}
COMPUTED: Mapping[str, str] = {
    "a path": '"farm.routers.route"',
    "a function": "route",
    "one of several": '[{"milk.tasks.milk": "cows"}, "farm.routers.route"]',
    "an object": "Router()",
    "a regular expression": '{re.compile(r"milk\\..*"): {"queue": "cows"}}',
}


def drafted(folder: Path, files: Mapping[str, str], *options: str) -> tuple[Project, dict[str, Any]]:
    """Return the project and what `init` drafts for it."""
    project = make_project(folder, {**FARM, **files})
    done = project.migrator("init", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    project.commit()
    return project, tomllib.loads((folder / "migration.toml").read_text())


@pytest.mark.parametrize("how", ROUTES)
def test_queues_come_from_routes_of_every_form(tmp_path: Path, how: str) -> None:
    text = f"{FARM['farm/settings.py']}CELERY_TASK_ROUTES = {ROUTES[how]}\n"
    _, plan = drafted(tmp_path, {"farm/settings.py": text})
    assert plan["legacy"]["celery"]["queues"][:3] == ["celery", "cows", "shop"]
    own = {task["replaces"][0]["name"]: task["replaces"][0].get("queue") for task in plan["task"]}
    assert own == {"milk.tasks.milk": "cows", "milk.tasks.sell": "shop", "milk.tasks.feed": None}


@pytest.mark.parametrize("how", COMPUTED)
def test_a_router_that_decides_while_it_runs_is_asked_for(tmp_path: Path, how: str) -> None:
    text = f"import re\n\nfrom farm.routers import Router, route\n\n{FARM['farm/settings.py']}"
    text += f"CELERY_TASK_ROUTES = {COMPUTED[how]}\n"
    _, plan = drafted(tmp_path, {"farm/settings.py": text})
    assert [queue for queue in plan["legacy"]["celery"]["queues"] if queue.startswith("DECIDE: ")]


BEAT = """\
CELERY_BEAT_SCHEDULE = {
    "sale": {"task": "milk.tasks.sell", "schedule": 60, "args": (5,), "kwargs": {"price": 2}},
}
"""
WRITTEN = """\
from celery import shared_task


@shared_task(name="farm.milk", queue="fresh")
def milk(cow):
    return cow


@shared_task(name="farm.sell", queue="sales")
def sell(amount, price):
    return amount


@shared_task(name="farm.feed", queue="fresh")
def feed(cow):
    return cow
"""


def test_arguments_of_an_entry_wait_for_the_name_of_their_parameter(tmp_path: Path) -> None:
    files = {"farm/settings.py": FARM["farm/settings.py"] + BEAT, "farm/jobs.py": WRITTEN}
    _, plan = drafted(tmp_path, files, "--into", "farm.jobs")
    (entry,) = plan["schedule"]
    assert entry["kwargs"] == {"price": 2, "DECIDE: the unified name of litres": 5}


COMMANDS = """\
web: gunicorn farm.wsgi
both: celery -A milk.queue worker -Q cows,shop -c 4
sales: celery -A milk.queue worker -Q shop -c 1
other: celery -A milk.queue worker -Q goats
"""
LEGACY_APP = """\
from celery import Celery

app = Celery("milk", broker="redis://127.0.0.1:6379/0")


@app.task(queue="cows")
def milk(cow):
    return cow


@app.task(queue="shop")
def sell(amount, price):
    return amount
"""


def test_a_command_reads_the_queues_of_the_tasks_that_it_ran(tmp_path: Path) -> None:
    files = {"milk/queue.py": LEGACY_APP, "milk/tasks.py": ""}
    files["farm/jobs.py"] = WRITTEN.partition('\n\n\n@shared_task(name="farm.feed"')[0] + "\n"
    files["Makefile"] = COMMANDS.replace(":", ":\n\t")
    project, plan = drafted(tmp_path, files, "--into", "farm.jobs")
    assert plan["unified"]["queues"] == ["fresh", "sales"]
    file = project.folder / "migration.toml"
    text = file.read_text().replace("[project]\n", '[project]\nretire = ["milk/queue.py"]\n')
    file.write_text(
        text + '\n[[process]]\nname = "w"\nside = "unified"\nrole = "worker"\nsystem = "celery"\ndirectory = "."\n'
        'command = ["{python}", "-m", "celery", "-A", "farm", "worker", "-Q", "fresh,sales", "-n", "{node}"]\n'
    )
    project.commit()
    done = project.migrator("rewrite-imports", "--text")
    assert done.returncode in {0, 1}, done.stderr
    after = (project.folder / "Makefile").read_text()
    assert "celery -A farm worker -Q fresh,sales -c 4\n" in after
    assert "celery -A farm worker -Q sales -c 1\n" in after
    assert "celery -A milk.queue worker -Q goats\n" in after
