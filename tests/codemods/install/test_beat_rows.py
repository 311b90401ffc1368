"""Rows of django_celery_beat: the generated migration, run there and back on a real database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from corpus_project import PLAN, make_project

from codemods.install.beat_rows import FILE, installs_beat_rows
from codemods.report import Mode
from codemods.runner import rewrite
from codemods.undo import undo_rewrite
from migrator.plan.arguments import adapt
from migrator.plan.loader import load_plan
from migrator.wire.message import System

INSTALL = PLAN.replace(
    'settings = "conf.settings"',
    'settings = "conf.settings"\ninstall_package = "migrator.tasks"\ninstall_to = "src/tasks"',
)
SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
USE_TZ = True
"""
#: Name of the row: what it is before, and what the migration changes.
ROWS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"task": "legacy.jobs.add_task", "args": "[1, 2]"}, {"task": "u.add"}),
    "wrapped": (
        {"task": "legacy.jobs.quote_task", "args": '["AAPL"]', "kwargs": '{"limit": 3}'},
        {"task": "u.quote", "args": "[]", "kwargs": '{"limit": 3, "symbols": ["AAPL"]}'},
    ),
    "constant": (
        {"task": "legacy.jobs.sweep_task", "kwargs": '{"days": 3}'},
        {"task": "u.sweep", "kwargs": '{"days": 3, "mode": "soft"}'},
    ),
    "off": ({"task": "legacy.jobs.add_task", "enabled": False}, {"task": "u.add"}),
    "described": ({"task": "legacy.jobs.add_task", "description": "ours\nsince 2019"}, {"task": "u.add"}),
    "queued": ({"task": "legacy.jobs.add_task", "queue": "celery"}, {"task": "u.add", "queue": "unified"}),
    "retired": ({"task": "legacy.jobs.old_task"}, {"enabled": False}),
    # beat made it from an entry of the source that the plan replaces: the unified entry runs instead
    "nightly": (
        {"task": "legacy.jobs.sweep_task", "args": "[30]"},
        {"task": "u.sweep", "args": "[]", "kwargs": '{"days": 30, "mode": "soft"}', "enabled": False},
    ),
    "unknown": ({"task": "somebody.else", "kwargs": '{"symbol": "AAPL"}'}, {}),
    "cleanup": ({"task": "celery.backend_cleanup"}, {}),
    "elsewhere": ({"task": "legacy.jobs.add_task", "queue": "imports"}, {}),
    "routed": ({"task": "legacy.jobs.add_task", "routing_key": "high"}, {}),
    "broken": ({"task": "legacy.jobs.add_task", "args": "[1,"}, {}),
    "too many": ({"task": "legacy.jobs.quote_task", "args": '["A", 1, 2]'}, {}),
    "unknown argument": ({"task": "legacy.jobs.quote_task", "kwargs": '{"ticker": "A"}'}, {}),
}
LEFT = {"elsewhere", "routed", "broken", "too many", "unknown argument"}
FIELDS = ("task", "args", "kwargs", "queue", "enabled", "description")

FILL = """
import json, sys
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
for name, values in json.loads(sys.argv[-1]).items():
    PeriodicTask.objects.create(name=name, interval=every, **values)
"""
DUMP = """
import json
from django_celery_beat.models import PeriodicTask, PeriodicTasks
fields = ("task", "args", "kwargs", "queue", "enabled", "description")
rows = {row.name: {field: getattr(row, field) for field in fields} for row in PeriodicTask.objects.all()}
print(json.dumps({"rows": rows, "changed": str(PeriodicTasks.last_change())}))
"""


def django(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'conf.settings'; django.setup()\n"
    return subprocess.run(
        [sys.executable, "-c", start + code, *arguments],
        cwd=folder / "src",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def migrate(folder: Path, *target: str) -> str:
    call = f"from django.core.management import call_command; call_command('migrate', *{target!r}, verbosity=0)"
    return django(folder, call).stderr


def dump(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(django(folder, DUMP).stdout)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beat")
    plan = make_project(folder, {"src/conf/__init__.py": "", "src/conf/settings.py": SETTINGS}, plan=INSTALL)
    report = rewrite(plan)
    assert f"src/tasks/migrations/{FILE}" in report.created
    migrate(folder, "django_celery_beat")
    django(folder, FILL, json.dumps({name: before for name, (before, _) in ROWS.items()}))
    return folder


def test_nothing_is_generated_where_no_rows_are_kept(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/conf/settings.py": "INSTALLED_APPS = []\n# django_celery_beat\n"}, plan=INSTALL)
    assert installs_beat_rows(plan) is None
    assert not [name for name in rewrite(plan, mode=Mode.CHECK).created if name.endswith(FILE)]


def test_without_an_app_to_hold_a_migration_the_rows_are_named(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/conf/settings.py": SETTINGS})
    report = rewrite(plan, mode=Mode.CHECK)
    assert [finding.where for finding in report.leftovers if finding.code == "PERIODIC-ROW"] == [
        "src/conf/settings.py:1"
    ]


def test_settings_are_followed_and_undo_takes_the_migration_back(tmp_path: Path) -> None:
    files = {
        "src/conf/__init__.py": "",
        "src/conf/settings.py": "from .base import *\n",
        "src/conf/base.py": "INSTALLED_APPS = ['django_celery_beat.apps.BeatConfig']\n",
    }
    plan = make_project(tmp_path, files, plan=INSTALL)
    assert installs_beat_rows(plan) == tmp_path / "src/conf/base.py"
    rewrite(plan)
    generated = tmp_path / "src/tasks/migrations" / FILE
    compile(generated.read_text(), FILE, "exec")
    again = rewrite(plan)
    assert not again.created and not again.changed
    undo_rewrite(plan)
    assert not generated.exists()


def test_rows_become_unified_and_come_back_as_they_were(project: Path) -> None:
    before = dump(project)
    said = migrate(project, "tasks")
    after = dump(project)
    for name, (_, expected) in ROWS.items():
        row = {**before["rows"][name], **expected}
        found = after["rows"][name]
        assert {field: found[field] for field in FIELDS[:-1]} == {field: row[field] for field in FIELDS[:-1]}, name
        assert found["description"].startswith(row["description"])
        assert bool(expected) is ("[migrator] " in found["description"])
        assert (f"PERIODIC-ROW '{name}'" in said) is (name in LEFT or expected.get("enabled") is False), name
    assert after["changed"] != before["changed"], "a running beat would not read its rows again"
    migrate(project, "tasks", "zero")
    assert dump(project)["rows"] == before["rows"]


def test_rows_made_or_changed_since_get_their_legacy_form_or_are_named(project: Path) -> None:
    before = dump(project)["rows"]
    migrate(project, "tasks")
    since = {
        "new": {"task": "u.quote", "kwargs": '{"symbols": ["MSFT"], "limit": 2}'},
        "no legacy form": {"task": "u.quote", "kwargs": '{"symbols": ["A", "B"]}'},
        "only an actor": {"task": "u.news", "kwargs": '{"query": "q"}'},
    }
    django(project, FILL, json.dumps(since))
    change = (
        "from django_celery_beat.models import PeriodicTask as P\n"
        "P.objects.filter(name='wrapped').update(kwargs='{\"symbols\": [\"IBM\"]}')\n"
    )
    django(project, change)
    said = migrate(project, "tasks", "zero")
    rows = dump(project)["rows"]
    assert (rows["new"]["task"], json.loads(rows["new"]["kwargs"])) == (
        "legacy.jobs.quote_task",
        {"symbol": "MSFT", "limit": 2},
    )
    assert (rows["wrapped"]["task"], json.loads(rows["wrapped"]["kwargs"])) == (
        "legacy.jobs.quote_task",
        {"symbol": "IBM"},
    )
    assert rows["wrapped"]["description"] == ""
    for name in ("no legacy form", "only an actor"):
        assert rows[name] == {**rows[name], **since[name]}
        assert f"PERIODIC-ROW '{name}'" in said
    assert {name: row for name, row in rows.items() if name in before and name != "wrapped"} == {
        name: row for name, row in before.items() if name != "wrapped"
    }


def test_arguments_change_as_everywhere_else(project: Path) -> None:
    scope: dict[str, Any] = {}
    exec((project / "src/tasks/migrations" / FILE).read_text(), scope)
    plan = load_plan(project / "migration.toml")
    calls = [([], {}), (["A"], {}), (["A", 1], {}), ([], {"symbol": "A"}), (["A"], {"limit": None}), ([1], {"y": 2})]
    compared = 0
    for mapping in plan.mappings():
        for args, kwargs in calls:
            if mapping.system is not System.CELERY or len(args) > len(mapping.parameters):
                continue
            if set(kwargs) - set(mapping.parameters[len(args) :]):
                continue
            _, parameters, operations, *_ = scope["TASKS"][mapping.name]
            found = scope["forward_arguments"](parameters, operations, args, kwargs)
            assert (tuple(found[0]), found[1]) == adapt(mapping, args, kwargs)
            compared += 1
    assert compared >= 8
