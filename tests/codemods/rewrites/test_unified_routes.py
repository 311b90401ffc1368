"""Cases of `codemods/rewrites/unified_routes.py`, first what it leaves untouched."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import Project, make_project

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan

PLAN = """\
[migration]
name = "shop"

[project]
root = "."
settings = "settings"

[scope]
modules = ["orders"]

[legacy.celery]
broker = "redis://127.0.0.1:1"
queues = ["celery"]

[unified]
broker = "redis://127.0.0.1:1"
queues = ["unified"]

[[task]]
name = "orders.confirm"
path = "orders.confirm"

[[task.replaces]]
system = "celery"
name = "orders.confirm"
path = "orders.confirm"
"""
TASK = "from celery import shared_task\n\n\n@shared_task\ndef {name}():\n    pass\n"
ENTRY = '"orders.confirm": {"queue": "unified"},'


def settings_after(folder: Path, text: str, *, stays: str = TASK.format(name="nightly")) -> tuple[str, set[str]]:
    """Return the settings after a rewrite of which nothing else is seen here, and the codes of what was left."""
    app = 'from celery import Celery\n\napp = Celery("shop")\n'
    app += 'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    files = {
        "app.py": app,
        "orders.py": TASK.format(name="confirm"),
        "reports.py": stays,
        "settings.py": text,
        "migration.toml": PLAN,
    }
    project: Project = make_project(folder, files)
    plan = load_plan(project.folder / "migration.toml")
    report = rewrite(plan, mode=Mode.WRITE)
    again = rewrite(plan, mode=Mode.CHECK)
    assert not again.changed
    return (project.folder / "settings.py").read_text(encoding="utf-8"), {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    "text",
    [
        'CELERY_TASK_ROUTES = {"orders.confirm": {"queue": "unified"}}\n',
        'class Common:\n    CELERY_TASK_ROUTES = {\n        "orders.confirm": "unified",\n    }\n',
    ],
)
def test_routes_that_are_complete_are_left_alone(tmp_path: Path, text: str) -> None:
    assert settings_after(tmp_path, text) == (text, set())


def test_where_no_task_of_celery_stays_there_is_a_default_queue(tmp_path: Path) -> None:
    after, codes = settings_after(tmp_path, "DEBUG = False\n", stays="")
    assert "CELERY_TASK_ROUTES" not in after
    assert 'CELERY_TASK_DEFAULT_QUEUE = "unified"' in after
    assert codes == set()


@pytest.mark.parametrize(
    "text",
    [
        "CELERY_TASK_ROUTES = routes()\n",
        "class Common:\n    CELERY_TASK_ROUTES = routes()\n",
    ],
)
def test_what_cannot_be_completed_is_listed(tmp_path: Path, text: str) -> None:
    assert settings_after(tmp_path, text) == (text, {"SETTINGS"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CELERY_TASK_ROUTES = {}\n", f"CELERY_TASK_ROUTES = {{\n    {ENTRY}\n}}\n"),
        (
            'CELERY_TASK_ROUTES = {\n    "reports.*": {"queue": "slow"},  # at night\n}\n',
            f'CELERY_TASK_ROUTES = {{\n    {ENTRY}\n    "reports.*": {{"queue": "slow"}},  # at night\n}}\n',
        ),
        (
            'CELERY_TASK_ROUTES = {"reports.*": "slow"}\n',
            f'CELERY_TASK_ROUTES = {{\n    {ENTRY}\n    "reports.*": "slow"}}\n',
        ),
        (
            'class Common:\n    CELERY_TASK_ROUTES = {\n        "reports.*": "slow",\n    }\n\n\n'
            "class Test(Common):\n    A = 1\n",
            f'class Common:\n    CELERY_TASK_ROUTES = {{\n        {ENTRY}\n        "reports.*": "slow",\n    }}\n\n\n'
            "class Test(Common):\n    A = 1\n",
        ),
        (
            'class Common:\n    CELERY_BROKER_URL = "redis://x"\n\n\nclass Test(Common):\n    A = 1\n',
            'class Common:\n    CELERY_BROKER_URL = "redis://x"\n'
            "    # --- the queues of unified tasks; tasks that stay keep theirs ---\n"
            f"    CELERY_TASK_ROUTES = {{\n        {ENTRY}\n    }}\n\n\nclass Test(Common):\n    A = 1\n",
        ),
        (
            "DEBUG = False\n",
            "DEBUG = False\n\n# --- the queues of unified tasks; tasks that stay keep theirs ---\n"
            f"CELERY_TASK_ROUTES = {{\n    {ENTRY}\n}}\n",
        ),
    ],
)
def test_routes_are_completed_or_written(tmp_path: Path, before: str, after: str) -> None:
    assert settings_after(tmp_path, before) == (after, set())


def test_routes_of_a_module_that_the_settings_import_from_are_completed_there(tmp_path: Path) -> None:
    """A second table in the settings module would take away the routes of tasks that stay."""
    base = 'CELERY_TASK_ROUTES = {\n    "reports.*": {"queue": "slow"},\n}\n'
    (tmp_path / "base.py").write_text(base, encoding="utf-8")
    text = "from base import *\n\nDEBUG = False\n"
    assert settings_after(tmp_path, text) == (text, set())
    assert ENTRY in (tmp_path / "base.py").read_text(encoding="utf-8")
