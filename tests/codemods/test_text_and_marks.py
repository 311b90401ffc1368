"""Deployment files are named, and rewritten where that is certain; marks and the registry of rewrites."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import PLAN, make_project

from codemods.pipeline.registry import DuplicateRewriteError, handlers, rewrites
from codemods.protocol import Rewrite
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.wire.message import System

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


def test_with_text_the_certain_ones_are_rewritten(tmp_path: Path) -> None:
    plan = make_project(tmp_path, FILES, plan=INSTALL)
    report = rewrite(plan, text=True)
    assert (tmp_path / "Procfile").read_text() == "worker: celery -A tasks worker\nold: dramatiq legacy.actors\n"
    assert (tmp_path / "deploy/x.service").read_text() == "ExecStart=/venv/bin/celery --app=tasks beat\n"
    assert (tmp_path / "run.sh").read_text() == "celery -A tasks call u.add\n"
    assert (tmp_path / "cases.json").read_text() == FILES["cases.json"]
    assert [finding.where for finding in report.findings if finding.code == "TEXT-NAME"] == ["Procfile:2"]


PROCESSES = (
    INSTALL
    + """
[[process]]
name = "worker"
side = "unified"
role = "worker"
system = "celery"
directory = "src"
command = ["{python}", "-m", "celery", "-A", "tasks", "worker", "--loglevel=info", "-n", "{node}"]
"""
)
STAYS = [
    "worker: celery -A shop worker -Q celery",
    "x: dramatiq shop.actors --processes 2",
    "# the actors of the theatre use dramatiq",
    "pip install celery dramatiq",
    "systemctl restart celery",
    'command: ["celery", "-A", "shop", "worker"]',
]
#: Named, with the reason, and not touched.
NAMED = {
    "celery -A legacy.jobs worker -Q imports": "names a queue",
    "celery -A legacy.jobs worker\n    --queues=celery": "next line",
    "celery -A legacy.jobs purge -f": "purge",
    "dramatiq legacy.actors shop.actors": "leaves as they are",
    "dramatiq legacy.actors --watch .": "--watch",
    "dramatiq legacy.actors -p $WORKERS": "computed",
    "dramatiq legacy.actors -Q imports": "names a queue",
    "celery call legacy.jobs.quote_task --args='[\"A\"]'": "arguments change",
    "legacy.jobs.add_task.delay(1, 2)": "",
    "CELERY_APP=legacy.jobs": "",
}
BECOMES = {
    "worker: celery -A legacy.jobs worker -Q celery -c 4": "worker: celery -A tasks worker -Q unified -c 4",
    "celery -A legacy.jobs:app worker --queues=celery": "celery -A tasks worker --queues=unified",
    "celery --app=legacy.jobs.app beat -l info &": "celery --app=tasks beat -l info &",
    "ExecStart=/v/bin/celery -A legacy.jobs beat": "ExecStart=/v/bin/celery -A tasks beat",
    "celery -A legacy.jobs \\\n  worker \\\n  -Q celery": "celery -A tasks \\\n  worker \\\n  -Q unified",
    'command: ["celery", "-A", "legacy.jobs", "worker"]': 'command: ["celery", "-A", "tasks", "worker"]',
    "    poetry run dramatiq legacy.actors -p 2 -t 8": "    poetry run celery -A tasks worker --loglevel=info",
    "/v/bin/python -m dramatiq legacy.actors; x": "/v/bin/python -m celery -A tasks worker --loglevel=info; x",
    "cmd=python manage.py rundramatiq -Q default": "cmd=python -m celery -A tasks worker --loglevel=info",
    "CMD ['dramatiq', 'legacy.actors', '-p', '2']": "CMD ['celery', '-A', 'tasks', 'worker', '--loglevel=info']",
    "Run `dramatiq legacy.actors` first.": "Run `celery -A tasks worker --loglevel=info` first.",
    "celery call legacy.jobs.add_task --args='[1, 2]'": "celery call u.add --args='[1, 2]'",
    "The task `legacy.jobs.quote_task` quotes.": "The task `u.quote` quotes.",
}


@pytest.mark.parametrize("line", STAYS)
def test_commands_of_others_stay_and_are_not_named(tmp_path: Path, line: str) -> None:
    plan = make_project(tmp_path, {"run.sh": f"{line}\n"}, plan=PROCESSES)
    report = rewrite(plan, text=True)
    assert (tmp_path / "run.sh").read_text() == f"{line}\n"
    assert not [finding for finding in report.findings if finding.where.startswith("run.sh")]


@pytest.mark.parametrize("line", NAMED)
def test_what_is_not_certain_is_named_and_stays(tmp_path: Path, line: str) -> None:
    plan = make_project(tmp_path, {"run.sh": f"set -e\n{line}\n"}, plan=PROCESSES)
    report = rewrite(plan, text=True)
    assert (tmp_path / "run.sh").read_text() == f"set -e\n{line}\n"
    (finding,) = (finding for finding in report.findings if finding.where == "run.sh:2")
    assert finding.code == "TEXT-NAME"
    assert NAMED[line] in finding.what


@pytest.mark.parametrize("line", BECOMES)
def test_commands_become_those_of_the_plan(tmp_path: Path, line: str) -> None:
    around = "\tcaf\xe9 \r\n".encode("latin-1")
    plan = make_project(tmp_path, {}, plan=PROCESSES)
    file = tmp_path / "run.sh"
    file.write_bytes(around + line.encode() + b"\n" + around)
    assert "TEXT-NAME" in {finding.code for finding in rewrite(plan, mode=Mode.CHECK).findings}
    report = rewrite(plan, text=True)
    assert file.read_bytes() == around + BECOMES[line].encode() + b"\n" + around
    assert not [finding for finding in report.findings if finding.where.startswith("run.sh")]
    assert not rewrite(plan, text=True, mode=Mode.CHECK).changed


def test_two_workers_never_come_from_one_deployment(tmp_path: Path) -> None:
    files = {
        "etc/a.service": "ExecStart=/bin/celery -A legacy.jobs worker\n",
        "etc/b.service": "ExecStart=/bin/dramatiq legacy.actors\n",
        "compose.yml": "a:\n  command: dramatiq legacy.actors\n",
    }
    plan = make_project(tmp_path, files, plan=PROCESSES)
    report = rewrite(plan, text=True)
    assert (tmp_path / "etc/b.service").read_text() == files["etc/b.service"]
    (finding,) = (finding for finding in report.findings if finding.where == "etc/b.service:1")
    assert "replaces it" in finding.what
    assert "command: celery -A tasks worker" in (tmp_path / "compose.yml").read_text()


def test_rows_of_beat_in_fixtures_are_named(tmp_path: Path) -> None:
    row = '[{"model": "django_celery_beat.periodictask",\n  "fields": {"task": "legacy.jobs.add_task"}}]\n'
    plan = make_project(tmp_path, {"src/shop/fixtures/rows.json": row}, plan=PROCESSES)
    report = rewrite(plan, text=True)
    assert [f.where for f in report.findings if f.code == "PERIODIC-ROW"] == ["src/shop/fixtures/rows.json:2"]
    assert (tmp_path / "src/shop/fixtures/rows.json").read_text() == row


def test_a_mark_stands_above_each_place_and_only_once(tmp_path: Path) -> None:
    source = "from legacy.actors import old_actor\n\n\ndef run():\n    old_actor.send()\n"
    plan = make_project(tmp_path, {"src/app.py": source})
    rewrite(plan, mark=True)
    first = (tmp_path / "src/app.py").read_text()
    assert "    # migrator: RETIRED-TASK: the task has no successor; remove the call" in first
    compile(first, "app.py", "exec")
    assert rewrite(plan, mark=True).changed == ()


def test_each_rewrite_is_found_under_its_file_name() -> None:
    folder = Path(rewrite.__code__.co_filename).parent / "rewrites"
    for found in rewrites():
        assert (folder / f"{found.name}.py").is_file()
    assert len(rewrites()) >= 15


def test_one_method_has_one_owner() -> None:
    def handle(context: object, use: object) -> None: ...

    key = (System.CELERY, "delay")
    with pytest.raises(DuplicateRewriteError, match="claimed by"):
        handlers((Rewrite(name="a", methods={key: handle}), Rewrite(name="b", methods={key: handle})))
