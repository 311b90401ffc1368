"""Tasks as strangers declare them: found, or listed with their place, by the installed command."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from journeys.small_projects import IN_PLACE, MANAGE, Project, make_project

SETTINGS = 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n'
BASE = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": SETTINGS,
}
#: An application that is built by a class of another module, and one that comes from a package of the company.
EXTENSION = {
    **BASE,
    "app/ext.py": """\
from celery import Celery


class Queue(Celery):
    pass


class Jobs:
    def __init__(self):
        self.celery = Queue("app", broker="redis://127.0.0.1:6379/0")


jobs = Jobs()


def make_celery():
    made = Queue("other")
    return made
""",
    "app/tasks.py": """\
from app.ext import jobs, make_celery

queue = make_celery()


@jobs.celery.task
def mail(to):
    return to


@queue.task
def daily(*days, **options):
    return days
""",
    "app/more.py": """\
from company_queue import app


@app.task
def clean(days):
    return days
""",
}
#: One decorator for many actors, whose names are its first argument.
FACTORY = {
    **BASE,
    "app/jobs.py": """\
import dramatiq


def job(name, retries=3):
    def decorate(function):
        return dramatiq.actor(actor_name=name, max_retries=retries)(function)

    return decorate
""",
    "app/actors.py": "from app.jobs import job\n"
    + "".join(f'\n\n@job("mail.send-{i}")\ndef send_{i}(to):\n    return to\n' for i in range(30)),
    "app/unified.py": "from celery import Celery\n\napp = Celery('unified')\n"
    + "".join(f'\n\n@app.task(name="unified.send_{i}")\ndef send_{i}(to):\n    return to\n' for i in range(29)),
}
PLAN = """\
[migration]
name = "small"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:6379/1"
queues = ["default"]
modules = ["app.actors"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]
"""
TASK = """
[[task]]
name = "unified.{function}"
path = "app.unified.{function}"
parameters = ["to"]

  [[task.replaces]]
  system = "dramatiq"
  name = "{name}"
  path = "{path}"
  parameters = ["to"]
{more}
"""


def inspected(project: Project) -> dict[str, list[dict[str, str]]]:
    done = project.migrator("inspect", "--format", "json")
    document: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return document


def test_an_application_of_a_class_or_function_is_followed_and_a_foreign_one_listed(tmp_path: Path) -> None:
    project = make_project(tmp_path, EXTENSION)
    found = inspected(project)
    assert [(task["name"], task["parameters"]) for task in found["tasks"]] == [
        ("app.tasks.mail", "to"),
        ("app.tasks.daily", "*args, **kwargs"),
    ]
    assert [(Path(place["file"]).name, place["path"]) for place in found["unseen"]] == [("more.py", "app.more.clean")]
    assert "app/more.py:5: a task is made here, or may be" in project.migrator("inspect").stdout


def test_what_can_not_be_followed_is_a_leftover_until_the_plan_names_it(tmp_path: Path) -> None:
    project = make_project(tmp_path, EXTENSION)
    assert project.migrator("init", "--in-place").returncode == 0
    plan = tmp_path / "migration.toml"
    checked = project.migrator("rewrite-imports", "--check")
    assert checked.returncode == 1, checked.stderr
    assert "PLAN-UNSEEN-TASK" in checked.stdout and "app/more.py:5" in checked.stdout
    named = '[[retired]]\nsystem = "celery"\nname = "app.more.clean"\nreason = "of another team"\n'
    plan.write_text(f"{plan.read_text()}\n{named}")
    checked = project.migrator("rewrite-imports", "--check")
    assert "PLAN-UNSEEN-TASK" not in checked.stdout + checked.stderr
    plan.write_text(plan.read_text().replace(named, ""))
    more = tmp_path / "app/more.py"
    more.write_text(more.read_text().replace("@app.task", "# migrator: ignore[PLAN-UNSEEN-TASK] theirs\n@app.task"))
    checked = project.migrator("rewrite-imports", "--check")
    assert "PLAN-UNSEEN-TASK" not in checked.stdout + checked.stderr
    assert "0 leftovers" in checked.stdout


def test_the_users_of_a_decorator_with_computed_names_are_ordinary_tasks(tmp_path: Path) -> None:
    project = make_project(tmp_path, FACTORY)
    names = {f"mail.send-{i}" for i in range(30)}
    found = inspected(project)
    assert {task["name"] for task in found["tasks"] if task["system"] == "dramatiq"} == names
    mapped = (
        TASK.format(function=f"send_{i}", name=f"mail.send-{i}", path=f"app.actors.send_{i}", more="")
        for i in range(29)
    )
    retired = '\n[[retired]]\nsystem = "dramatiq"\nname = "mail.send-29"\npath = "app.actors.send_29"\nreason = "old"\n'
    (tmp_path / "migration.toml").write_text(PLAN + "".join(mapped) + retired)
    (tmp_path / "app/views.py").write_text(
        "from app.actors import send_3\n\n\ndef view(request):\n    send_3.send('a')\n"
    )
    done = project.migrator("rewrite-imports")
    assert "PLAN-" not in done.stdout + done.stderr, done.stderr
    assert "from app.unified import send_3" in (tmp_path / "app/views.py").read_text()


def test_calls_of_an_actor_stay_where_its_own_decorator_can_not_be_converted(tmp_path: Path) -> None:
    views = "from app.actors import send_3\n\n\ndef view(request):\n    send_3.send('a')\n"
    project = make_project(tmp_path, {**FACTORY, "app/unified.py": "", "app/views.py": views})
    assert project.migrator("init", "--in-place").returncode == 0
    done = project.migrator("rewrite-imports")
    assert done.returncode == 1, done.stdout + done.stderr
    assert (tmp_path / "app/views.py").read_text() == views
    assert "app/jobs.py:6" in done.stdout and "app/views.py:5" in done.stdout


COMPUTED = {
    **BASE,
    "app/actors.py": """\
import dramatiq

from app.shops import SHOPS


def make(shop):
    @dramatiq.actor(actor_name=f"pack.{shop}")
    def pack(to):
        return shop, to

    return 1


for shop in SHOPS:
    make(shop)
""",
    "app/unified.py": "from celery import Celery\n\napp = Celery('unified')\n"
    "\n\n@app.task(name='unified.pack')\ndef pack(to):\n    return to\n",
}


def test_the_plan_states_the_names_that_the_source_computes(tmp_path: Path) -> None:
    project = make_project(tmp_path, COMPUTED)
    plan = tmp_path / "migration.toml"
    stated = TASK.format(function="pack", name="pack.north", path="app.actors.pack", more="  computed = true")
    retired = '[[retired]]\nsystem = "dramatiq"\nname = "pack.south"\npath = "app.actors.pack"\nreason = "closed"\n'
    plan.write_text(PLAN + stated.replace("  computed = true", "") + retired)
    refused = project.migrator("rewrite-imports", "--check")
    assert refused.returncode == 2 and "PLAN-COMPUTED-NAME" in refused.stderr
    assert "`computed = true`" in refused.stderr
    plan.write_text(PLAN + stated + retired + "computed = true\n")
    checked = project.migrator("rewrite-imports", "--check")
    assert "PLAN-" not in checked.stdout + checked.stderr
    assert checked.returncode in (0, 1), checked.stderr


def test_functions_of_one_name_in_different_modules_stay_different_tasks(tmp_path: Path) -> None:
    actor = "import dramatiq\n\n\n@dramatiq.actor(actor_name='{}')\ndef ping(x):\n    return x\n"
    files = {**BASE, "app/a.py": actor.format("a_ping"), "app/b.py": actor.format("b_ping")}
    project = make_project(tmp_path, files)
    done = project.migrator("init")
    assert done.returncode == 0, done.stderr
    plan = tomllib.loads((tmp_path / "migration.toml").read_text())
    assert [task["name"] for task in plan["task"]] == ["app.a.ping", "app.b.ping"]


def test_one_name_on_the_wire_for_two_functions_is_asked_for(tmp_path: Path) -> None:
    actor = "import dramatiq\n\n\n@dramatiq.actor\ndef ping(x):\n    return x\n"
    project = make_project(tmp_path, {**BASE, "app/a.py": actor, "app/b.py": actor})
    done = project.migrator("init", "--in-place")
    assert done.returncode == 0, done.stderr
    assert 'path = "DECIDE: app.a.ping or app.b.ping"' in (tmp_path / "migration.toml").read_text()


def test_a_task_with_any_number_of_arguments_is_drafted_and_rewritten_with_them(tmp_path: Path) -> None:
    source = IN_PLACE["app/tasks.py"].replace(
        "def ping(x):\n    return x", "def ping(*args, **kwargs):\n    return args"
    )
    views = IN_PLACE["app/views.py"].replace("ping.send(1)", "ping.send(1, 2, mode='fast')")
    project = make_project(tmp_path, {**IN_PLACE, "app/tasks.py": source, "app/views.py": views})
    assert project.migrator("init", "--in-place").returncode == 0
    assert (tmp_path / "migration.toml").read_text().count('parameters = ["*args", "**kwargs"]') == 2
    done = project.migrator("rewrite-imports")
    assert "ping.delay(1, 2, mode='fast')" in (tmp_path / "app/views.py").read_text(), done.stdout + done.stderr


def test_inspect_shows_the_name_of_the_task_and_marks_an_entry_without_one(tmp_path: Path) -> None:
    source = """\
from celery import Celery

app = Celery("app")
app.conf.beat_schedule = {"gone": {"task": "app.tasks.gone", "schedule": 60}}


@app.task(name="nightly")
def run_nightly():
    pass


@app.on_after_configure.connect
def setup(sender, **options):
    sender.add_periodic_task(60.0, run_nightly.s(), name="night")
"""
    project = make_project(tmp_path, {**BASE, "app/tasks.py": source, "app/old.py": 'import celery\nprint "old"\n'})
    done = project.migrator("inspect", "--format", "json")
    found = json.loads(done.stdout)
    assert {entry["name"]: entry["task"] for entry in found["schedule"]} == {
        "app.tasks:gone": "app.tasks.gone (no such task was found)",
        "app.tasks:night": "nightly",
    }
    assert [Path(file["file"]).name for file in found["unreadable"]] == ["old.py"]
    assert done.returncode == 1
