"""The label of the installed app, and the apps that a project has."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import PLAN, make_project

from codemods.report import Mode
from codemods.runner import rewrite

INSTALL = PLAN.replace(
    'settings = "conf.settings"',
    'settings = "conf.settings"\ninstall_package = "migrator.tasks"\ninstall_to = "src/unified"\napp_label = "tasks"',
)
CONFIG = (
    "from django.apps import AppConfig\n\n\nclass JobsConfig(AppConfig):\n    name = 'jobs'\n    label = '{label}'\n"
)


def findings(folder: Path, apps: str, files: dict[str, str]) -> list[str]:
    settings = f'SECRET_KEY = "x"\n{apps}\n'
    plan = make_project(folder, {"src/conf/__init__.py": "", "src/conf/settings.py": settings, **files}, plan=INSTALL)
    return [found.where for found in rewrite(plan, mode=Mode.CHECK).leftovers if found.code == "LABEL-TAKEN"]


@pytest.mark.parametrize(
    ("apps", "files"),
    [
        ('INSTALLED_APPS = ["django.contrib.auth", "shop.tasksets", "unified"]', {}),
        ('INSTALLED_APPS = ["unified.apps.TasksConfig"]', {}),
        ('QUEUES = ["tasks"]\nINSTALLED_APPS = []', {}),
        ('INSTALLED_APPS = ["shop.tasks"]', {"src/shop/tasks/apps.py": CONFIG.format(label="shoptasks")}),
    ],
    ids=["others", "ours", "another list", "a label of its own"],
)
def test_a_free_label_is_no_finding(tmp_path: Path, apps: str, files: dict[str, str]) -> None:
    assert findings(tmp_path, apps, files) == []


@pytest.mark.parametrize(
    ("apps", "files"),
    [
        ('INSTALLED_APPS = ["shop.tasks"]', {}),
        ('LOCAL_APPS = ("tasks",)\nINSTALLED_APPS = [*LOCAL_APPS]', {}),
        ('INSTALLED_APPS = ["jobs.apps.JobsConfig"]', {"src/jobs/apps.py": CONFIG.format(label="tasks")}),
        ('INSTALLED_APPS = ["jobs"]', {"src/jobs/apps.py": CONFIG.format(label="tasks")}),
    ],
    ids=["last part", "a list of its own", "configuration", "label of the package"],
)
def test_a_label_that_is_taken_is_left_for_you(tmp_path: Path, apps: str, files: dict[str, str]) -> None:
    assert findings(tmp_path, apps, files) == ["src/conf/settings.py:2"]
