"""Celery to Celery with two pools of workers: queues are drafted from routes, and each task's own queue is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from small_projects import MANAGE, Project, make_project

FILES = {
    "manage.py": MANAGE.format(settings="post.settings"),
    "Procfile": "fast: celery -A post worker -Q mail\nslow: celery -A post worker -Q reports\n",
    "post/__init__.py": "",
    "post/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["stamps"]
CELERY_TASK_DEFAULT_QUEUE = "mail"
CELERY_TASK_ROUTES = {"stamps.sheet": "reports", "stamps.tasks.lab*": {"queue": "reports"}}
""",
    "post/names.py": """\
from enum import Enum

PURGE = "stamps.purge"


class Job(str, Enum):
    SHEET = "stamps.sheet"
""",
    "post/celery.py": """\
from celery import Celery
from post.names import PURGE, Job

app = Celery("post", broker="redis://127.0.0.1:6379/0")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = {
    "purge": {"task": PURGE, "schedule": 60.0, "options": {"queue": "reports"}},
    "sheet": {"task": Job.SHEET.value, "schedule": 60.0},
}
""",
    "stamps/__init__.py": "",
    "stamps/tasks.py": """\
from post.celery import app
from post.names import PURGE, Job


@app.task
def letter(ref):
    return ref


@app.task
def label(ref):
    return ref


@app.task(name=Job.SHEET.value)
def sheet():
    return None


@app.task(name=PURGE, queue="reports")
def purge():
    return None
""",
    "stamps/sends.py": """\
from post.celery import app
from post.names import Job
from stamps.tasks import purge


def run():
    app.send_task(Job.SHEET.value, queue="reports")
    purge.apply_async(queue="reports")
""",
}
UNIFIED = "from celery import shared_task\n" + "".join(
    f'\n\n@shared_task(name="{queue}.{name}", queue="{queue}")\ndef {name}({args}):\n    return None\n'
    for queue, name, args in (
        ("fast", "letter", "ref"),
        ("slow", "label", "ref"),
        ("slow", "sheet", ""),
        ("slow", "purge", ""),
    )
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path, {**FILES, "post/jobs.py": UNIFIED})
    done = made.migrator("init", "--into", "post.jobs")
    assert done.returncode == 0, done.stdout + done.stderr
    made.commit()
    return made


def test_queues_are_drafted_from_routes_and_the_written_tasks(project: Project) -> None:
    plan = tomlkit.parse((project.folder / "migration.toml").read_text()).unwrap()
    assert (plan["legacy"]["celery"]["queues"], plan["unified"]["queues"]) == (["mail", "reports"], ["fast", "slow"])
    tasks = {task["replaces"][0]["name"]: task for task in plan["task"]}
    moved = {name: (task["replaces"][0].get("queue"), task.get("queue")) for name, task in tasks.items()}
    assert moved == {
        "stamps.tasks.letter": (None, None),
        "stamps.tasks.label": ("reports", "slow"),
        "stamps.sheet": ("reports", "slow"),
        "stamps.purge": ("reports", "slow"),
    }
    assert [entry["task"] for entry in plan["schedule"]] == ["slow.purge", "slow.sheet"]
    workers = [p["command"] for p in plan["process"] if p["side"] == "unified" and p["role"] == "worker"]
    assert sorted(words[words.index("-Q") + 1] for words in workers) == ["fast", "slow"]


def test_a_tasks_own_queue_is_written_and_the_legacy_task_keeps_its_name(project: Project) -> None:
    done = project.migrator("rewrite-imports")
    celery = (project.folder / "post/celery.py").read_text()
    assert '{"task": "slow.purge", "schedule": 60.0, "options": {"queue": "slow"}}' in celery, done.stdout
    assert '"sheet": {"task": Job.SHEET.value, "schedule": 60.0}' in celery
    assert "SCHEDULE-DIFFERS" not in done.stdout
    assert 'SHEET = "slow.sheet"' in (project.folder / "post/names.py").read_text()
    # The constant has the new name now; two tasks of one name would be one too many.
    assert '@app.task(name="stamps.sheet")' in (project.folder / "stamps/tasks.py").read_text()
    assert "@app.task(name=PURGE, " in (project.folder / "stamps/tasks.py").read_text()
    sends = (project.folder / "stamps/sends.py").read_text()
    assert sends.count('queue="slow"') == 2
    assert '"slow.sheet": "slow"' in (project.folder / "post/settings.py").read_text()
