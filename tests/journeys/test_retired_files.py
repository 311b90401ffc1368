"""A cutover refuses to remove what something that stays imports, before anything is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project

#: Celery to Celery: the old module goes.
KIOSK = {
    "manage.py": MANAGE.format(settings="kiosk.settings"),
    "kiosk/__init__.py": "",
    "kiosk/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "kiosk/celery.py": 'from celery import Celery\n\napp = Celery("kiosk", broker="redis://127.0.0.1:6379/0")\n',
    "sales/__init__.py": "",
    "sales/old.py": """\
from kiosk.celery import app

LARGEST = 5


@app.task(name="sell")
def sell(amount):
    return min(amount, LARGEST)
""",
    "sales/tasks.py": """\
from kiosk.celery import app


@app.task(name="sales.sell", queue="unified")
def sell(amount):
    return amount
""",
    "sales/views.py": "from sales.old import sell\n\n\ndef view(request):\n    sell.delay(3)\n",
    "migration.toml": """\
[migration]
name = "kiosk"

[project]
root = "."
settings = "kiosk.settings"
retire = ["sales/old.py"]

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery"]
modules = ["sales.old"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "sales.sell"
path = "sales.tasks.sell"
parameters = ["amount"]

  [[task.replaces]]
  system = "celery"
  name = "sell"
  path = "sales.old.sell"
  parameters = ["amount"]
""",
}
IMPORTS = {
    "sales/tasks.py": KIOSK["sales/tasks.py"].replace("import app\n", "import app\nfrom sales.old import LARGEST\n"),
    "sales/limits.py": "def largest():\n    from . import old\n\n    return old.LARGEST\n",
    "sales/report.py": "import sales.old\n\nLARGEST = sales.old.LARGEST\n",
    "kiosk/apps.py": "try:\n    import json\nfinally:\n    from sales.old import LARGEST as LIMIT\n",
}
HARMLESS = {
    "sales/limits.py": "try:\n    from sales.old import LARGEST\nexcept ImportError:\n    LARGEST = 5\n",
    "sales/types.py": "import typing\n\nif typing.TYPE_CHECKING:\n    from sales.old import LARGEST\n",
    "sales/older.py": "from sales.olds import x\n\nold = x\n",
    "sales/olds.py": "x = 1\n",
}


def refused(project: Project) -> list[str]:
    """Rewrite the project and return the places for which the cutover is refused."""
    project.migrator("rewrite-imports")
    project.commit()
    done = project.migrator("cutover", "--dry-run")
    assert "Traceback" not in done.stderr
    text = done.stdout + done.stderr
    return [line.strip() for line in text.splitlines() if "imports a module that the plan retires" in line]


@pytest.mark.parametrize("place", IMPORTS)
def test_what_stays_needs_no_file_that_goes(tmp_path: Path, place: str) -> None:
    project = make_project(tmp_path, {**KIOSK, place: IMPORTS[place]})
    (line,) = refused(project)
    assert f"{place}:" in line
    assert "(sales.old)" in line


def test_an_import_of_nothing_but_retired_tasks_is_told(tmp_path: Path) -> None:
    """The rewrite lists their uses, and whether they matter is decided there."""
    task = '\n\n@app.task(name="audit")\ndef audit():\n    return 1\n'
    plan = KIOSK["migration.toml"] + '\n[[retired]]\nsystem = "celery"\nname = "audit"\npath = "sales.old.audit"\n'
    more = {"sales/old.py": KIOSK["sales/old.py"] + task, "migration.toml": plan + 'reason = "nobody reads it"\n'}
    views = "from sales.old import audit\n\n\ndef view(request):\n    audit.delay()\n"
    project = make_project(tmp_path, {**KIOSK, **more, "sales/audits.py": views})
    (line,) = refused(project)
    assert line.startswith("warning") and "sales/audits.py:1" in line


def test_an_import_that_may_fail_is_no_reason(tmp_path: Path) -> None:
    assert refused(make_project(tmp_path, {**KIOSK, **HARMLESS})) == []
