"""Schedules and settings by the installed console script, on small projects as strangers write them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
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
    assert "0 places in 0 files" in again.stdout
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


ENTRY = (
    '{"task": "visits.old_tasks.remind", "schedule": crontab(minute=0, hour=7), "args": (3,), '
    '"options": {"queue": "celery", "expires": 60, "priority": 3}}'
)

#: Each way to give an app its schedule in code; ``%s`` is the entry.
IN_CODE = {
    "assigned": 'app.conf.beat_schedule = {"remind": %s}',
    "item of conf": 'app.conf["beat_schedule"] = {"remind": %s}',
    "update by keyword": 'app.conf.update(timezone="UTC", beat_schedule={"remind": %s})',
    "update with a dict": 'app.conf.update({"beat_schedule": {"remind": %s}})',
    "update of the schedule": 'app.conf.beat_schedule.update({"remind": %s})',
    "merged": 'app.conf.beat_schedule |= {"remind": %s}',
    "item of the schedule": 'app.conf.beat_schedule["remind"] = %s',
    "default": 'app.conf.beat_schedule.setdefault("remind", %s)',
    "call": "app.conf.beat_schedule = dict(remind=%s)",
    "constant": 'SCHEDULE = {"remind": %s}\napp.conf.beat_schedule = SCHEDULE',
    "defaults": 'app.add_defaults({"beat_schedule": {"remind": %s}})',
    "preset": 'app = Celery("clinic", beat_schedule={"remind": %s})\napp.autodiscover_tasks(["visits"])',
    "dict": 'app.config_from_object({"beat_schedule": {"remind": %s}})',
    "class": 'class Config:\n    beat_schedule = {"remind": %s}\n\n\napp.config_from_object(Config)',
}


@pytest.mark.parametrize("form", IN_CODE)
def test_an_entry_in_code_becomes_the_plans_where_beat_reads_it(tmp_path: Path, form: str) -> None:
    code = IN_CODE[form] % ENTRY
    plan = PLAN.format(redis="redis://127.0.0.1:6379") + REMIND.format(module="clinic.celery")
    project = make_project(tmp_path, {**CLINIC, "clinic/celery.py": APP + code + "\n", "migration.toml": plan})
    rewrite(project)
    found = beat(project)
    assert set(found) == {"remind-daily"}
    assert found["remind-daily"]["task"] == "'visits.remind'"
    assert found["remind-daily"]["args"] == "(3,)"
    assert found["remind-daily"]["schedule"] == "<crontab: 0 7 * * * (m/h/dM/MY/d)>"
    assert found["remind-daily"]["options"] == "{'queue': 'unified', 'expires': 60, 'priority': 3}"
    assert "BEAT_SCHEDULE" not in (project.folder / "clinic/settings.py").read_text()


def project_of(folder: Path, files: dict[str, str], *plan: str) -> Project:
    """Write the clinic with other files, and more in its plan."""
    text = PLAN.format(redis="redis://127.0.0.1:6379") + "".join(plan)
    return make_project(folder, {**CLINIC, **files, "migration.toml": text})


def test_an_entry_of_an_app_that_goes_moves_with_all_it_says_and_shadows_nothing(tmp_path: Path) -> None:
    old = APP.replace("app = Celery", "old = Celery").replace("app.", "old.")
    files = {
        "clinic/old.py": f'{old}\nold.conf.beat_schedule = {{"remind": {ENTRY}}}\n',
        "visits/old_tasks.py": TASKS.format(name="", other="").replace(
            "clinic.celery import app", "clinic.old import old as app"
        ),
    }
    project = project_of(tmp_path, files, REMIND.format(module="clinic.old"), "kwargs = { days = 3 }\n")
    rewrite(project)
    assert "beat_schedule" not in (project.folder / "clinic/old.py").read_text()
    found = beat(project)
    assert found["remind-daily"]["kwargs"] == "{'days': 3}"
    assert found["remind-daily"]["options"] == "{'queue': 'unified', 'expires': 60, 'priority': 3}"


def test_a_schedule_that_the_plan_cannot_state_stays(tmp_path: Path) -> None:
    code = """
from celery.schedules import schedule


class Workdays(schedule):
    pass


app.conf.beat_schedule = {
    "remind": {"task": "visits.old_tasks.remind", "relative": True, "schedule": Workdays(3600)},
}
"""
    project = project_of(tmp_path, {"clinic/celery.py": APP + code}, REMIND.format(module="clinic.celery"))
    assert "SCHEDULE-KEPT" in rewrite(project)
    assert "Workdays(3600)" in (project.folder / "clinic/celery.py").read_text()
    assert beat(project)["remind-daily"]["relative"] == "True"


COUNT = """
[[schedule]]
name = "count-hourly"
task = "visits.count"
every_s = 3600
{replaces}
"""


def test_a_new_entry_goes_into_the_dict_that_wins(tmp_path: Path) -> None:
    code = f'app.conf.beat_schedule = {{\n    "remind": {ENTRY},\n}}\n'
    plan = (REMIND.format(module="clinic.celery"), COUNT.format(replaces=""))
    project = project_of(tmp_path, {"clinic/celery.py": APP + code}, *plan)
    rewrite(project)
    assert set(beat(project)) == {"remind-daily", "count-hourly"}


def test_a_settings_package_has_its_schedule_in_one_module(tmp_path: Path) -> None:
    base = CLINIC["clinic/settings.py"]
    beats = f'from celery.schedules import crontab\n\nCELERY_BEAT_SCHEDULE = {{"remind": {ENTRY}}}\n'
    files = {
        "clinic/settings.py": "from clinic.conf.prod import *\n",
        "clinic/conf/__init__.py": "",
        "clinic/conf/base.py": base + beats,
        "clinic/conf/prod.py": "from .base import *\n\nDEBUG = False\n",
        "clinic/conf/test.py": "from .base import *\n\nCELERY_TASK_ALWAYS_EAGER = True\n",
    }
    plan = (REMIND.format(module="clinic.conf.base"), COUNT.format(replaces=""))
    project = project_of(tmp_path, files, *plan)
    before = {name: text for name, text in files.items() if not name.endswith("base.py")}
    rewrite(project)
    assert {name: (project.folder / name).read_text() for name in before} == before
    for settings in ("clinic.settings", "clinic.conf.prod", "clinic.conf.test"):
        assert set(beat(project, settings=settings)) == {"remind-daily", "count-hourly"}
    assert 'CELERY_TASK_DEFAULT_QUEUE = "unified"' in (project.folder / "clinic/conf/base.py").read_text()


def test_a_computed_schedule_keeps_its_entries_and_is_listed(tmp_path: Path) -> None:
    settings = CLINIC["clinic/settings.py"] + "\n\ndef make():\n    return {}\n\n\nCELERY_BEAT_SCHEDULE = make()\n"
    jobs = """
from apscheduler.schedulers.background import BackgroundScheduler
from visits.old_tasks import count

scheduler = BackgroundScheduler()
scheduler.add_job(count.delay, "interval", hours=1)
"""
    plan = COUNT.format(replaces='replaces = ["clinic.jobs:count"]')
    project = project_of(tmp_path, {"clinic/settings.py": settings, "clinic/jobs.py": jobs}, plan)
    printed = rewrite(project, code=1)
    assert "CELERY_BEAT_SCHEDULE is no literal" in printed
    assert "SCHEDULE-JOB" in printed
    assert "add_job(count.delay" in (project.folder / "clinic/jobs.py").read_text()


CONFIGURATIONS = """
from configurations import Configuration


class Common(Configuration):
    SECRET_KEY = "only for tests"
    INSTALLED_APPS = ["visits"]


class Prod(Common):
    CELERY_BEAT_SCHEDULE = {"remind": {"task": "visits.old_tasks.remind", "schedule": 25200.0}}
"""


def test_settings_in_a_class_are_edited_in_the_class(tmp_path: Path) -> None:
    plan = (
        REMIND.format(module="clinic.settings").replace('crontab = "0 7 * * *"', "every_s = 25200"),
        COUNT.format(replaces=""),
    )
    project = project_of(tmp_path, {"clinic/settings.py": CONFIGURATIONS}, *plan)
    rewrite(project)
    written = (project.folder / "clinic/settings.py").read_text()
    scope: dict[str, type] = {}
    exec(
        compile(written.replace("from configurations import Configuration", "Configuration = object"), "s", "exec"),
        scope,
    )
    assert set(scope["Prod"].CELERY_BEAT_SCHEDULE) == {"remind-daily", "count-hourly"}
    assert scope["Prod"].CELERY_TASK_DEFAULT_QUEUE == "unified"
    assert not hasattr(scope["Common"], "CELERY_BEAT_SCHEDULE")
