"""A rehearsal on PostgreSQL: in databases of its own, which are dropped at the end, and never in the real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from small_projects import MANAGE, MIGRATOR, Project, make_project
from waiting import wait_until

pytestmark = pytest.mark.xdist_group("postgresql")

#: A market: its own database by a URL, that of the stalls by host and name, and the same word for other things.
SETTINGS = """\
import os
from urllib.parse import parse_qs, urlsplit

url = urlsplit(os.environ["MARKET_DB"])
HOST = os.environ.get("STALLS_HOST") or parse_qs(url.query)["host"][0]
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "market"]
TITLE = os.environ.get("STALLS_TITLE", "stalls")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username,
        "HOST": HOST,
    },
    "stalls": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.getenv("STALLS_DB", "stalls"),
        "USER": os.environ.get("STALLS_USER", url.username),
        "HOST": HOST,
    },
}
assert TITLE != "other" and not TITLE.startswith("migrator"), "a word that is no database"
CELERY_BROKER_URL = os.environ["MARKET_REDIS"]
"""
MARKET = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="market.settings"),
    "market/__init__.py": "from .celery import app\n",
    "market/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "market.settings")
app = Celery("market")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["market"], related_name="new")
""",
    "market/settings.py": SETTINGS,
    "market/models.py": """\
from django.db import models


class Stall(models.Model):
    id = models.BigAutoField(primary_key=True)
""",
    "market/migrations/__init__.py": "",
    "market/migrations/0001_initial.py": """\
from django.db import migrations, models


class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Stall", [("id", models.BigAutoField(primary_key=True))])]
""",
    "market/tasks.py": """\
from market.celery import app


@app.task
def open_stall(number):
    return number
""",
    "market/new.py": """\
from celery import shared_task


@shared_task(name="stalls.open", queue="stalls")
def open_stall(number):
    return number
""",
    "migration.toml": """\
[migration]
name = "market"

[project]
root = "."
settings = "market.settings"

[legacy.celery]
broker = "${MARKET_REDIS}"
queues = ["celery"]
modules = ["market.tasks"]

[unified]
broker = "${MARKET_REDIS}"
queues = ["stalls"]

[[task]]
name = "stalls.open"
path = "market.new.open_stall"
parameters = ["number"]

  [[task.replaces]]
  system = "celery"
  name = "market.tasks.open_stall"
  parameters = ["number"]

[[process]]
name = "old"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "market", "worker", "--pool=solo", "-n", "{node}"]

[[process]]
name = "new"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "market", "worker", "--pool=solo", "-Q", "stalls", "-n", "{node}"]
""",
}

STOP = """\
from django.db import migrations


def stop(apps, schema_editor):
    raise RuntimeError("to be stopped")


class Migration(migrations.Migration):
    dependencies = [("market", "0001_initial")]
    operations = [migrations.RunPython(stop)]
"""


class Market:
    """The project, with two databases that have something in them, and the server's own word about all of them."""

    def __init__(self, project: Project, url: str, names: tuple[str, ...]) -> None:
        self.project = project
        self.url = url
        self.names = names

    def rows(self, name: str) -> list[tuple[object, ...]]:
        url = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        with psycopg.connect(url, connect_timeout=10) as connection:
            tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
            return [*connection.execute(tables).fetchall(), *connection.execute("SELECT * FROM mark").fetchall()]

    def stop_behind_the_checks(self) -> None:
        """Let the migrations fail, which are the first that a rehearsal does in its databases: tests needn't wait."""
        file = self.project.folder / "market" / "migrations" / "0002_stop.py"
        file.write_text(STOP)

    def rehearsals(self) -> list[str]:
        """Return the databases of rehearsals that are on the server."""
        with psycopg.connect(self.url, connect_timeout=10) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'migrator%' ORDER BY 1"
            ).fetchall()
        return [str(name) for (name,) in found]

    def ended(self, code: int = 4, *, left: Sequence[str] = (), **environ: str) -> str:
        """Rehearse, and return what that says at its end; afterwards only databases of others are there."""
        self.project.commit()
        project = Project(folder=self.project.folder, environ={**self.project.environ, **environ})
        done = project.migrator("rehearse", timeout_s=400)
        assert done.returncode == code, done.stdout + done.stderr
        assert self.rehearsals() == list(left)
        records = list((self.project.folder / ".migrator").glob("rehearsal-databases/*"))
        assert [record.stem for record in records] == list(left[:1])
        return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def market(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Market]:
    yield make_market(tmp_path, postgres_url, redis_url, MARKET)


def make_market(folder: Path, url: str, redis: str, files: Mapping[str, str]) -> Market:
    names = (urlsplit(url).path[1:], f"stalls_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(names[1])))
    for name in names:
        with psycopg.connect(urlsplit(url)._replace(path=f"/{name}").geturl(), connect_timeout=10) as connection:
            connection.execute("CREATE TABLE mark AS SELECT 7 AS number")
    # The title is the database's word as well, and the settings can't do with another one.
    words = {"STALLS_DB": names[1], "STALLS_TITLE": names[1]}
    project = make_project(folder / "market", files, {"MARKET_DB": url, "MARKET_REDIS": redis, **words})
    project.git("config", "user.name", "tester")
    project.git("config", "user.email", "tester@example.org")
    return Market(project, url, names)


@pytest.mark.acceptance
def test_databases_of_its_own_are_migrated_and_dropped_and_the_real_ones_not_touched(market: Market) -> None:
    before = [market.rows(name) for name in market.names]
    market.project.migrator("rewrite-imports")
    market.project.commit()
    prove = "from pathlib import Path; from migrator.plan.loader import load_plan; from migrator.state.proof import "
    prove += "write_proof; plan = load_plan(Path('migration.toml'))\n"
    prove += "write_proof(plan, case_paths=(), counts={'compared': 1}, versions={})"
    assert market.project.run(sys.executable, "-c", prove).returncode == 0
    done = market.project.migrator("rehearse", "--format", "json", timeout_s=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert [run["outcome"] for run in found["runs"]] == ["done"] * 3
    (note,) = found["notes"]
    assert note.count("migrator_rehearsal_") == 2
    assert all(name in note for name in market.names)
    assert [market.rows(name) for name in market.names] == before
    assert market.rehearsals() == []
    assert not list((market.project.folder / ".migrator" / "rehearsal-databases").iterdir())


def test_a_rehearsal_that_was_killed_leaves_databases_that_the_next_one_drops(market: Market) -> None:
    market.stop_behind_the_checks()
    market.project.commit()
    environ = {**os.environ, **market.project.environ}
    killed = subprocess.Popen(
        [str(MIGRATOR), "rehearse"],
        cwd=market.project.folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(market.rehearsals()) == 2, what="the databases of a rehearsal", timeout_s=200)
    killed.send_signal(signal.SIGSTOP)
    try:
        living = market.rehearsals()
        before = [market.rows(name) for name in market.names]
        assert "to be stopped" in market.ended(3, left=living)
    finally:
        killed.kill()
        killed.wait(timeout=10)
    assert market.rehearsals() == living
    assert "to be stopped" in market.ended(3)
    assert [market.rows(name) for name in market.names] == before


def test_names_that_no_variable_has_are_refused(market: Market) -> None:
    market.stop_behind_the_checks()
    settings = market.project.folder / "market" / "settings.py"
    literal = settings.read_text().replace('os.getenv("STALLS_DB", "stalls")', f'"{market.names[1]}"')
    settings.write_text(literal.replace('os.environ.get("STALLS_TITLE", "stalls")', '"none"'))
    text = market.ended()
    assert f"no variable that its settings read names that database (stalls: {market.names[1]}@" in text
    # A default is as good as a value: there is a variable to set.
    settings.write_text(SETTINGS.replace('"STALLS_DB", "stalls"', f'"STALLS_NAME", "{market.names[1]}"'))
    assert "to be stopped" in market.ended(3)


def test_a_role_that_may_not_create_databases_is_told_what_to_do(market: Market) -> None:
    role = f"clerk_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(market.url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(role)))
    text = market.ended(STALLS_USER=role)
    assert "database stalls: " in text
    assert "its role may not create the database of a rehearsal (it lacks CREATEDB)" in text
    assert "lead the settings to another PostgreSQL server" in text


def test_another_kind_of_server_is_refused(market: Market) -> None:
    backend = market.project.folder / "market" / "vessel"
    backend.mkdir()
    (backend / "__init__.py").write_text("")
    (backend / "base.py").write_text(
        "from django.db.backends.sqlite3 import base\n\n\nclass DatabaseWrapper(base.DatabaseWrapper):\n"
        '    vendor = "mysql"\n'
    )
    settings = market.project.folder / "market" / "settings.py"
    settings.write_text(settings.read_text() + 'DATABASES["stalls"]["ENGINE"] = "market.vessel"\n')
    text = market.ended()
    assert "can make scratch databases on PostgreSQL and SQLite only, and 'stalls' is on mysql" in text


def test_commands_and_processes_that_would_reach_a_real_database_are_refused(market: Market) -> None:
    market.stop_behind_the_checks()
    # A command that runs elsewhere, as in a container, does not get the variables of this one.
    manage, plan = market.project.folder / "manage.py", market.project.folder / "migration.toml"
    elsewhere = manage.read_text().replace("import sys\n", f'import sys\n\nos.environ["MARKET_DB"] = "{market.url}"\n')
    manage.write_text(elsewhere)
    text = market.ended()
    assert f"manage.py would use another database than that of the rehearsal for 'default' ({market.names[0]})" in text
    manage.write_text(MARKET["manage.py"])
    # A value of a process gives way to that of the rehearsal; settings of its own are looked at as well.
    own = 'system = "celery"\nenvironment = { MARKET_DB = "%s"%s }\n'
    other = market.project.folder / "market" / "real.py"
    other.write_text(f'from market.settings import *\n\nDATABASES["default"]["NAME"] = "{market.names[0]}"\n')
    plan.write_text(MARKET["migration.toml"].replace('system = "celery"\ncommand', own % (market.url, "") + "command"))
    assert "to be stopped" in market.ended(3)
    settings = ', DJANGO_SETTINGS_MODULE = "market.real"'
    plan.write_text(
        MARKET["migration.toml"].replace('system = "celery"\ncommand', own % (market.url, settings) + "command")
    )
    assert f"the project would use a real database ({market.names[0]}@" in market.ended()


def test_processes_of_a_manager_are_left_alone(market: Market) -> None:
    market.stop_behind_the_checks()
    plan = market.project.folder / "migration.toml"
    lines = plan.read_text().splitlines()
    lines[-1:] = ['driver = "supervisor"', 'program = "new"', 'manager = "unix:///nowhere/supervisor.sock"']
    plan.write_text("\n".join(lines) + "\n")
    text = market.ended()
    assert "process new: is started by supervisor, which a rehearsal must leave alone" in text
    # With its command the rehearsal starts it itself, and asks no manager.
    plan.write_text(plan.read_text() + MARKET["migration.toml"].splitlines()[-1] + "\n")
    assert "to be stopped" in market.ended(3)
