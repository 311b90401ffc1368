"""A migration from its plan to its end, as the installed console script tells it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
import redis
from killing import killed
from small_projects import MANAGE, Project, make_project

CASE = """\
title = "{title}"
kind = "usual"

[[call]]
system = "celery"
task = "old_add"
args = {args}
"""

LIFE = {
    "manage.py": MANAGE.format(settings="app.settings"),
    ".gitignore": "*.pyc\n__pycache__/\n*.sqlite3\n",
    "app/__init__.py": "",
    "app/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")
app = Celery("app", broker=os.environ["BROKER"], include=["app.jobs", "app.new"])
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "app/jobs.py": """\
from app.celery import app


@app.task(name="old_add")
def add(a, b=1):
    return a + b
""",
    "app/new.py": """\
from app.celery import app


@app.task(name="new.add")
def add(a, b=1):
    return a + b
""",
    "app/migrations/__init__.py": "",
    "app/migrations/0001_initial.py": """\
from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = []
""",
    "app/views.py": "from app.jobs import add\n\n\ndef view(request):\n    add.delay(1, b=2)\n",
    "app/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["app"]
CELERY_TASK_ROUTES = {"new.*": {"queue": "unified"}}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DB", "db.sqlite3")}}
""",
    "migration.toml": """\
[migration]
name = "life"

[project]
root = "."
settings = "app.settings"
app_label = "app"

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["app.jobs"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "new.add"
path = "app.new.add"
parameters = ["a", "b"]

  [[task.replaces]]
  system = "celery"
  name = "old_add"
  path = "app.jobs.add"
  parameters = ["a", "b"]

[rehearsal.environment]
DB = "{scratch}/db.sqlite3"

[[process]]
name = "old-worker"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "celery", "--pool", "solo", "-n", "{node}"]

[[process]]
name = "new-worker"
side = "unified"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "unified", "--pool", "solo", "-n", "{node}"]
""",
    "parity.toml": """\
cases = "cases"

[environment]
BROKER = "{redis}/0"
""",
    "cases/add/case.toml": CASE.format(title="one", args=[1]),
    "cases/both/case.toml": CASE.format(title="both", args=[1, 2]),
}

#: Nothing listens there: for what asks no broker.
NOWHERE = {"BROKER": "redis://127.0.0.1:1/0"}


def test_a_run_over_some_cases_leaves_proof_and_report_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path / "life", LIFE, NOWHERE)
    green = project.migrator("parity-check", "--no-waiting")
    assert green.returncode == 0, green.stdout + green.stderr
    proof, report = (project.folder / ".migrator" / name for name in ("proof.json", "reports/parity.json"))
    before = proof.read_bytes(), report.read_bytes()
    for words, meant in ((["--case", "botj"], "did you mean 'both'?"), (["new.ad"], "did you mean 'new.add'?")):
        refused = project.migrator("parity-check", "--no-waiting", *words)
        assert refused.returncode == 2, refused.stdout
        assert meant in refused.stderr
    part = project.migrator("parity-check", "--no-waiting", "--case", "both", "--format", "json")
    assert part.returncode == 0, part.stdout
    assert not json.loads(part.stdout)["parity"]["whole"]
    assert (proof.read_bytes(), report.read_bytes()) == before


def stands(project: Project, stage: str, step: str, *told: str) -> None:
    """Check what `status` says: its stage, the one next command, and what else is told."""
    done = project.migrator("status", "--format", "json")
    answer = json.loads(done.stdout)
    assert (answer["stage"], answer["next_steps"]) == (stage, [step] if step else []), answer.get("text")
    for text in told:
        assert text in done.stdout


def edit(project: Project, path: str, old: str, new: str) -> None:
    file = project.folder / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def prove(project: Project) -> int:
    return project.migrator("parity-check", "--no-waiting").returncode


def test_status_names_the_next_command_until_the_source_is_proved(tmp_path: Path, redis_url: str) -> None:
    plan = LIFE["migration.toml"]
    files = {path: text for path, text in LIFE.items() if path != "migration.toml"}
    project = make_project(tmp_path / "life", files, {"BROKER": redis_url})
    stands(project, "no plan", "migrator init")
    file = project.folder / "migration.toml"
    file.write_text(plan.replace('queues = ["unified"]', 'queues = ["DECIDE: which"]'))
    stands(project, "drafted", f"edit {file}", "line ")
    file.write_text(plan.replace('name = "old_add"', 'name = "old_ad"'))
    stands(project, "drafted", "migrator rewrite-imports --check", "PLAN-MISSING-TASK")
    file.write_text(plan)
    project.commit()
    stands(project, "planned", "migrator rewrite-imports", "files would change")
    assert "\nnext: migrator rewrite-imports\n" in project.migrator("status").stdout
    assert killed(project, tmp_path / "killer", 1).returncode == -signal.SIGKILL
    stands(project, "rewrite interrupted", "migrator rewrite-imports", "broken off")
    assert project.migrator("rewrite-imports").returncode == 0
    stands(project, "rewritten", "git add -A && git commit")
    project.commit()
    stands(project, "committed", "migrator parity-check", "there is no parity proof")
    assert prove(project) == 0
    stands(project, "proved", "migrator rehearse", "parity is proved until ")
    edit(project, "app/new.py", "return a + b", "return a - b")
    project.commit()
    stands(project, "committed", "migrator parity-check", "the project's source was changed since the proof")
    assert prove(project) == 1
    stands(project, "committed", "migrator parity-check", "the last parity check was red: see ")
    file.write_text(plan[: plan.index("[rehearsal.environment]")])
    edit(project, "app/new.py", "return a - b", "return a + b")
    project.commit()
    assert prove(project) == 0
    stands(project, "proved", f"edit {file}", "the plan has no legacy celery worker and no unified worker")


def test_a_checkout_that_does_not_know_the_rewrite_says_what_a_rollback_would_leave(
    tmp_path: Path, redis_url: str
) -> None:
    project = make_project(tmp_path / "life", LIFE, {"BROKER": redis_url})
    assert project.migrator("rewrite-imports").returncode == 0
    project.commit()
    assert "REWRITE-NOT-RECORDED" not in project.migrator("cutover", "--dry-run").stdout
    (project.folder / ".migrator/rewrite.json").unlink()
    looked = project.migrator("cutover", "--dry-run").stdout
    assert "REWRITE-NOT-RECORDED" in looked
    assert "SOURCE-NOT-CONVERTED" not in looked


SEND = "from app.jobs import add; add.apply_async((1,), countdown=3000)"


@pytest.mark.journey
@pytest.mark.timeout(1500)
def test_status_names_the_next_command_through_two_cutovers_to_the_end(tmp_path: Path, redis_url: str) -> None:
    project = make_project(tmp_path / "life", LIFE, {"BROKER": redis_url})
    assert project.run(sys.executable, "-c", SEND).returncode == 0
    assert project.migrator("rewrite-imports").returncode == 0
    project.commit()
    assert prove(project) == 0
    assert project.migrator("rehearse", timeout_s=500).returncode == 0
    stands(project, "rehearsed", "migrator cutover", "rehearsed ")
    project.git("config", "user.name", "tester")
    project.git("config", "user.email", "tester@example.org")
    try:
        assert project.migrator("workers", "start", "legacy", "--yes").returncode == 0
        paused = project.migrator("cutover", "--yes", "--until", "stop_workers", timeout_s=300)
        assert paused.returncode == 5, paused.stdout + paused.stderr
        stands(project, "running", "migrator cutover", "migrating at step stop_workers")
        assert project.migrator("cutover", "--yes", timeout_s=300).returncode == 0
        stands(project, "cut over", "migrator complete --dry-run", "left of before the cutover: 1 ")
        early = project.migrator("complete", "--dry-run")
        assert early.returncode == 4
        assert "COMPLETE-CARRIED" in early.stdout
        assert "new.add may go on being retried for 540 s after a failure (3 retries)" in early.stdout
        back = project.migrator("rollback", "--yes", timeout_s=300)
        assert "next: migrator rewrite-imports\n" in back.stdout
        stands(project, "planned", "migrator rewrite-imports", "rolled back (run 1)")
        project.git("revert", "--no-edit", "HEAD")
        stands(project, "rehearsed", "migrator cutover")
        assert project.migrator("cutover", "--yes", timeout_s=300).returncode == 0
        second = project.migrator("rollback", "--yes", timeout_s=300)
        assert second.returncode == 0, second.stdout
        assert (project.folder / "app/views.py").read_text() == LIFE["app/views.py"], "a revert is undone as well"
        assert project.migrator("rewrite-imports").returncode == 0
        project.commit()
        assert project.migrator("cutover", "--yes", timeout_s=300).returncode == 0
        with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
            client.delete("unacked", "unacked_index", "unified", "unified\x06\x163")  # as if it had run
        stands(project, "cut over", "migrator complete", "nothing of before it is left")
        done = project.migrator("complete", "--name", "life")
        assert done.returncode == 0, done.stdout + done.stderr
        stands(project, "completed", "")
    finally:
        for side in ("legacy", "unified"):
            project.migrator("workers", "stop", side, "--yes")
