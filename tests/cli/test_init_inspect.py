"""Inventory and draft of a project that nobody described before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.inventory import check_complete, read_inventory
from migrator.message import System
from migrator.plan import load_plan

MIGRATOR = Path(sys.executable).with_name("migrator")
FILES = {
    "src/manage.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
    "src/shop/__init__.py": "",
    "src/shop/jobs.py": (
        "import dramatiq\n\n\n@dramatiq.actor\ndef send_mail_task(to, subject):\n    pass\n\n\n"
        "@dramatiq.actor(actor_name='count')\ndef count_stock(*, full=False):\n    pass\n"
    ),
    "src/shop/celery_jobs.py": (
        "from celery import Celery\napp = Celery('shop')\n\n\n@app.task\ndef send_mail_task(to):\n    pass\n\n\n"
        "app.conf.beat_schedule = {'mail': {'task': 'shop.celery_jobs.send_mail_task', 'schedule': 60}}\n"
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "repo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "repo"


def migrator(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MIGRATOR, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_inspect_lists_both_systems_without_a_plan(project: Path) -> None:
    result = migrator(project, "inspect", "--format", "json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "migrator/1"
    assert {(task["system"], task["name"]) for task in document["tasks"]} == {
        ("dramatiq", "send_mail_task"),
        ("dramatiq", "count"),
        ("celery", "shop.celery_jobs.send_mail_task"),
    }
    assert [entry["name"] for entry in document["schedule"]] == ["shop.celery_jobs:mail"]
    assert document["next_steps"] == ["migrator init"]


def test_the_draft_is_a_plan_that_is_silent_about_nothing(project: Path) -> None:
    result = migrator(project, "init")
    assert result.returncode == 0, result.stderr
    assert "DECIDE" in (project / "migration.toml").read_text()
    plan = load_plan(project / "migration.toml")
    assert plan.project.settings == "shop.settings"
    assert plan.project.root == "src"
    assert check_complete(plan, read_inventory(plan)).findings == ()
    mail = plan.task("tasks.send_mail")
    assert mail is not None and {m.system for m in mail.replaces} == set(System)
    assert mail.parameters == ("to", "subject")


def test_a_plan_is_not_written_over(project: Path) -> None:
    (project / "migration.toml").write_text("mine")
    result = migrator(project, "init")
    assert result.returncode == 4
    assert "there is a plan already" in result.stderr
    assert (project / "migration.toml").read_text() == "mine"
    assert migrator(project, "init", "--force").returncode == 0


def test_a_folder_without_tasks_is_an_error(tmp_path: Path) -> None:
    result = migrator(tmp_path, "init")
    assert result.returncode == 2
    assert "no Dramatiq actor and no Celery task" in result.stderr
    assert not (tmp_path / "migration.toml").exists()
