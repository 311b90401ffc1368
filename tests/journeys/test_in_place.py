"""Actors that become Celery tasks where they stand: plan, rewrite, and what needs the legacy side afterwards."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import redis
from small_projects import MANAGE, SAME_KEY, Project, make_project

#: A clinic that sends reminders with Dramatiq, and has no Celery anywhere. Its broker is set up by code.
CLINIC = {
    "manage.py": MANAGE.format(settings="clinic.settings"),
    ".gitignore": "*.sqlite3\n.migrator/\n__pycache__/\n",
    "clinic/__init__.py": '"""The clinic."""\n\n__version__ = "1.4"\n',
    "clinic/settings.py": """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["reminders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
QUEUE_URL = os.environ.get("QUEUE_URL", "redis://127.0.0.1:6379/3")
""",
    "reminders/__init__.py": "",
    "reminders/broker.py": """\
import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=settings.QUEUE_URL))
""",
    "reminders/actors.py": """\
import os

import dramatiq

import reminders.broker  # noqa: F401


@dramatiq.actor(max_retries=5)
def remind(patient, note="soon"):
    if os.environ.get("REMINDED"):
        with open(os.environ["REMINDED"], "a") as file:
            file.write(f"{__file__} {patient} {note}\\n")
    return f"{patient}: {note}"
""",
    "reminders/views.py": """\
from reminders.actors import remind


def book(request, patient):
    remind.send(patient, note="tomorrow")
""",
}
CASES = {
    "parity/cases/remind/case.toml": """\
title = "a reminder"
kind = "usual"

[[call]]
system = "dramatiq"
task = "remind"
args = ["Ada"]
""",
}


def converted(folder: Path, environ: dict[str, str] | None = None) -> Project:
    """A clinic whose source is rewritten and not yet committed."""
    project = make_project(folder, {**CLINIC, **CASES}, environ)
    assert project.migrator("init").returncode == 0
    decide(project)
    project.commit()
    assert project.migrator("rewrite-imports").returncode in (0, 1)
    return project


def decide(project: Project) -> None:
    """Write the broker that the settings name into the plan."""
    plan = project.folder / "migration.toml"
    lines = plan.read_text().splitlines()
    lines = ['broker = "${QUEUE_URL:-redis://127.0.0.1:6379/3}"' if "broker =" in line else line for line in lines]
    plan.write_text("\n".join(line.partition(" # DECIDE")[0] for line in lines) + "\n")


def outcome_of(project: Project) -> str:
    """Return how the case ended in a parity check."""
    done = project.migrator("parity-check", "--no-noise", "--no-waiting", "--format", "json")
    assert done.returncode in (0, 1), done.stdout[-800:] + done.stderr[-800:]
    comparisons = json.loads(done.stdout)["parity"]["comparisons"]
    (found,) = (str(item["outcome"]) for item in comparisons if item["case"] == "remind")
    return found


def test_init_maps_each_task_to_itself_and_the_project_can_be_imported_afterwards(tmp_path: Path) -> None:
    project = converted(tmp_path)
    assert 'path = "reminders.actors.remind"' in (project.folder / "migration.toml").read_text()
    done = project.run(sys.executable, "-c", IMPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["redis://127.0.0.1:6379/3", "unified", "clinic", "True"]


IMPORT = """\
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "clinic.settings"
import django
django.setup()
from reminders.actors import remind
app = remind.app
app.loader.import_default_modules()
print(app.conf.broker_url, app.conf.task_default_queue, app.main, remind.name in app.tasks)
"""


def test_the_written_app_is_written_once_and_stays_the_persons(tmp_path: Path) -> None:
    project = converted(tmp_path)
    app, package = project.folder / "clinic/celery.py", project.folder / "clinic/__init__.py"
    assert package.read_text().startswith('"""The clinic."""\n')
    assert package.read_text().count("from .celery import app as celery_app") == 1
    project.commit()
    app.write_text(app.read_text() + "app.conf.worker_prefetch_multiplier = 1\n")
    project.commit()
    assert project.migrator("rewrite-imports").returncode in (0, 1)
    assert project.changed() == ""


def test_a_project_with_an_app_gets_no_second_one(tmp_path: Path) -> None:
    app = 'from celery import Celery\n\n\nclass Own(Celery):\n    pass\n\n\nqueue = Own("clinic", broker="redis://x")\n'
    project = make_project(tmp_path, {**CLINIC, "clinic/queue.py": app})
    assert project.migrator("init").returncode == 0
    decide(project)
    done = project.migrator("rewrite-imports")
    assert done.returncode in (0, 1), done.stderr
    assert not (project.folder / "clinic/celery.py").exists()
    assert "CELERY_BROKER_URL" not in (project.folder / "clinic/settings.py").read_text()


def test_settings_outside_of_a_package_are_an_error_that_says_so(tmp_path: Path) -> None:
    files = {name.replace("clinic/settings.py", "conf.py"): text for name, text in CLINIC.items()}
    project = make_project(tmp_path, {**files, "manage.py": MANAGE.format(settings="conf")})
    assert project.migrator("init").returncode == 0
    decide(project)
    done = project.migrator("rewrite-imports")
    assert done.returncode == 1
    assert "CELERY-APP  conf.py:1" in done.stdout


def test_a_unified_module_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    project = make_project(tmp_path, CLINIC)
    assert project.migrator("init", "--into", "reminders.unified").returncode == 0
    decide(project)
    project.commit()
    for words in (["--check"], ["--diff"], []):
        done = project.migrator("rewrite-imports", *words)
        assert done.returncode == 2
        assert "PLAN-NO-TARGET" in done.stderr
        assert project.changed() == ""
    unified = 'from celery import shared_task\n\n\n@shared_task(name="remind")\ndef remind(patient, note="soon"): ...\n'
    (project.folder / "reminders/unified.py").write_text(unified)
    done = project.migrator("rewrite-imports")
    assert done.returncode == 2
    assert "PLAN-NAME" in done.stderr
    assert project.migrator("init", "--into", "reminders.unified", "--force").returncode == 0
    assert 'name = "remind"\npath = "reminders.unified.remind"' in (project.folder / "migration.toml").read_text()
    decide(project)
    assert project.migrator("rewrite-imports").returncode in (0, 1)
    assert "from reminders.unified import remind" in (project.folder / "reminders/views.py").read_text()
    assert project.migrator("init", "--into", "x", "--in-place", "--force").returncode == 2


def test_a_celery_task_keeps_the_name_that_it_registers(tmp_path: Path) -> None:
    files = {name: text for name, text in SAME_KEY.items() if name not in ("migration.toml", "app/new.py")}
    project = make_project(tmp_path, files)
    assert project.migrator("init").returncode == 0
    plan = project.folder / "migration.toml"
    assert 'name = "old_nightly"\npath = "app.jobs.nightly"' in plan.read_text()
    other = plan.read_text().replace('name = "old_nightly"\npath', 'name = "app.jobs.nightly"\npath', 1)
    plan.write_text(other.replace('task = "old_nightly"', 'task = "app.jobs.nightly"'))
    done = project.migrator("rewrite-imports", "--check")
    assert done.returncode == 2
    assert "PLAN-NAME" in done.stderr
    assert "registers 'old_nightly'" in done.stderr


def test_parity_compares_with_the_actors_as_they_were(tmp_path: Path) -> None:
    project = make_project(tmp_path / "clinic", {**CLINIC, **CASES})
    assert project.migrator("init").returncode == 0
    decide(project)
    project.commit()
    done = project.migrator("parity-check")
    assert done.returncode == 2
    assert "migrator rewrite-imports" in done.stderr
    assert project.migrator("rewrite-imports").returncode in (0, 1)
    assert outcome_of(project) == "matched"
    project.commit()
    assert outcome_of(project) == "matched"
    body = project.folder / "reminders/actors.py"
    body.write_text(body.read_text().replace("{patient}: {note}", "{note}: {patient}"))
    assert outcome_of(project) == "mismatched"
    project.git("checkout", "-q", "--", ".")
    project.git("clone", "-q", str(project.folder), str(tmp_path / "clone"))
    assert outcome_of(Project(folder=tmp_path / "clone")) == "matched"


WORKER = """
[[process]]
name = "legacy"
side = "legacy"
role = "worker"
system = "dramatiq"
command = ["{python}", "-m", "dramatiq", "reminders.actors", "--processes", "1", "--threads", "1"]
environment = { DJANGO_SETTINGS_MODULE = "clinic.settings" }
"""


def test_a_legacy_worker_of_converted_source_runs_the_actors(tmp_path: Path, redis_url: str) -> None:
    reminded = tmp_path / "reminded"
    project = converted(tmp_path / "clinic", {"QUEUE_URL": redis_url, "REMINDED": str(reminded)})
    (project.folder / "db.sqlite3").write_text("")
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text() + WORKER)
    project.git("stash", "-q")
    sent = project.run(sys.executable, "-c", SEND)
    assert sent.returncode == 0, sent.stderr
    project.git("stash", "pop", "-q")
    project.commit()
    try:
        done = project.migrator("workers", "start", "legacy", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        end = time.monotonic() + 20
        while not reminded.exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        assert project.migrator("workers", "stop", "legacy", "--yes").returncode == 0
    place, *words = reminded.read_text().split()
    assert words == ["Grace", "soon"]
    assert ".migrator/legacy/" in place
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("dramatiq:default") == client.zcard("dramatiq:default.XQ") == 0


SEND = """\
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "clinic.settings"
import django
django.setup()
from reminders.actors import remind
remind.send("Grace")
"""


@pytest.mark.parametrize("driver", ["supervisor", "systemd"])
def test_a_manager_does_not_start_a_legacy_worker_from_converted_source(tmp_path: Path, driver: str) -> None:
    project = converted(tmp_path)
    where = 'program = "w"' if driver == "supervisor" else 'unit = "w.service"'
    process = f'\n[[process]]\nname = "legacy"\nside = "legacy"\nrole = "worker"\nsystem = "dramatiq"\n{where}\n'
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text() + process + f'driver = "{driver}"\n')
    done = project.migrator("workers", "start", "legacy", "--yes")
    assert done.returncode == 4
    assert "would start without its actors" in done.stderr


@pytest.mark.parametrize("given", ["missing", "tracked", "ignored", "in the plan"])
def test_a_legacy_worker_is_not_led_to_files_that_only_its_tree_has(tmp_path: Path, redis_url: str, given: str) -> None:
    project = converted(tmp_path / "clinic", {"QUEUE_URL": redis_url})
    settings = project.folder / "clinic/settings.py"
    if given == "tracked":
        settings.write_text(settings.read_text().replace("db.sqlite3", "db.file"))
        (project.folder / "db.file").write_text("")
        project.git("stash", "-q", "--", "reminders")
        project.commit()
        project.git("stash", "pop", "-q")
    elif given == "ignored":
        (project.folder / "db.sqlite3").write_text("")
    elif given == "in the plan":
        text = 'os.environ.get("DB", BASE_DIR / "db.sqlite3")'
        settings.write_text(settings.read_text().replace('BASE_DIR / "db.sqlite3"', text))
        project.git("stash", "-q", "--", "reminders")
        project.commit()
        project.git("stash", "pop", "-q")
    variable = f', DB = "{tmp_path}/db" }}' if given == "in the plan" else " }"
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text() + WORKER.replace(" }", variable))
    project.commit()
    try:
        done = project.migrator("workers", "start", "legacy", "--yes")
    finally:
        project.migrator("workers", "stop", "legacy", "--yes")
    if given in ("ignored", "in the plan"):
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 4
        assert "DATABASES: " in done.stderr
