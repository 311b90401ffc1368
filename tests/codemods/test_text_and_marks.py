"""Deployment files are named, and rewritten where it is sure; marks and the registry of rewrites."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import PLAN, make_project

from codemods.engine.registry import DuplicateRewriteError, Rewrite, handlers, rewrites
from codemods.runner import Mode, rewrite
from migrator.message import System

INSTALL = PLAN.replace(
    'settings = "conf.settings"',
    'settings = "conf.settings"\ninstall_package = "migrator.tasks"\ninstall_to = "src/tasks"',
)
FILES = {
    "Procfile": "worker: celery -A legacy.jobs worker\nold: dramatiq legacy.actors\n",
    "deploy/x.service": "ExecStart=/venv/bin/celery --app=legacy.jobs beat\n",
    "run.sh": "celery -A legacy.jobs call legacy.jobs.add_task\n",
    "cases.json": '{"task": "legacy.jobs.add_task"}\n',
    "other.sh": "celery -A shop worker\n",
}


def test_text_files_are_named_and_not_touched(tmp_path: Path) -> None:
    plan = make_project(tmp_path, FILES, plan=INSTALL)
    report = rewrite(plan, mode=Mode.CHECK)
    named = sorted(finding.where for finding in report.findings if finding.code == "TEXT-NAME")
    assert named == ["Procfile:1", "Procfile:2", "deploy/x.service:1", "run.sh:1"]
    assert not [change for change in report.changed if not change.shown.endswith(".py")]


def test_with_text_the_sure_ones_are_rewritten(tmp_path: Path) -> None:
    plan = make_project(tmp_path, FILES, plan=INSTALL)
    report = rewrite(plan, text=True)
    assert (tmp_path / "Procfile").read_text() == "worker: celery -A tasks worker\nold: dramatiq legacy.actors\n"
    assert (tmp_path / "deploy/x.service").read_text() == "ExecStart=/venv/bin/celery --app=tasks beat\n"
    assert (tmp_path / "run.sh").read_text() == "celery -A tasks call u.add\n"
    assert (tmp_path / "cases.json").read_text() == FILES["cases.json"]
    assert [finding.where for finding in report.findings if finding.code == "TEXT-NAME"] == ["Procfile:2"]


def test_a_mark_stands_above_each_place_and_only_once(tmp_path: Path) -> None:
    source = "from legacy.actors import old_actor\n\n\ndef run():\n    old_actor.send()\n"
    plan = make_project(tmp_path, {"src/app.py": source})
    rewrite(plan, mark=True)
    first = (tmp_path / "src/app.py").read_text()
    assert "    # migrator: RETIRED-TASK: the task has no successor; remove the call" in first
    compile(first, "app.py", "exec")
    assert rewrite(plan, mark=True).changed == ()


def test_each_rewrite_is_found_under_its_file_name() -> None:
    folder = Path(rewrite.__code__.co_filename).parent
    for found in rewrites():
        assert (folder / f"{found.name}.py").is_file()
    assert len(rewrites()) >= 15


def test_one_method_has_one_owner() -> None:
    def handle(context: object, use: object) -> None: ...

    key = (System.CELERY, "delay")
    with pytest.raises(DuplicateRewriteError, match="claimed by"):
        handlers((Rewrite(name="a", methods={key: handle}), Rewrite(name="b", methods={key: handle})))
