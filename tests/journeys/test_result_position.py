"""Arguments keep their meaning where legacy and unified parameters have another order, and where a result comes last.

Dramatiq gives the result of a pipeline's step behind the next step's own arguments, Celery in front of them. The legacy
code and the converted code run in real workers, and messages are moved between them in both directions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project

ROOT = Path(__file__).parents[2]
RESULT_LAST = (ROOT / "migrator" / "tasks" / "result_last.py").read_text()

PLAN = """\
[migration]
name = "pay"

[project]
root = "."
settings = "pay.settings"

[legacy.dramatiq]
broker = "${BROKER}/0"
queues = ["default"]
modules = ["pay.actors"]

[unified]
broker = "${BROKER}/1"
queues = ["unified"]
"""
TASK = """
[[task]]
name = "{unified}"
path = "{unified}"
parameters = {after}
{option}

  [[task.replaces]]
  system = "dramatiq"
  name = "{name}"
  path = "pay.actors.{name}"
  parameters = {before}
"""
LEGACY = {
    "reserve": '["ref", "sku"]',
    "charge": '["currency", "reservation"]',
    "notify": '["channel", "charge", "loud"]',
}
RESULT_FIRST = {
    "reserve": '["ref", "sku"]',
    "charge": '["reservation", "currency"]',
    "notify": '["charge", "channel", "loud"]',
}


def plan(module: str, after: Mapping[str, str], option: str = "") -> str:
    tasks = (
        TASK.format(name=name, unified=f"{module}.{name}", before=LEGACY[name], after=after[name], option=option)
        for name in LEGACY
    )
    return PLAN + "".join(tasks)


BODIES = """\
{head}
from pay.notes import note

{above}
def reserve(ref, sku):
    return f"{{ref}}/{{sku}}"


{above}
def charge({charge}):
    return f"{{reservation}}+{{currency}}"


{above}
def notify({notify}, loud=False):
    note(f"{{charge}} by {{channel}} {{loud}}")
"""
FILES = {
    "manage.py": MANAGE.format(settings="pay.settings"),
    "pay/__init__.py": "",
    "pay/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
CELERY_BROKER_URL = os.environ["BROKER"] + "/1"
CELERY_TASK_DEFAULT_QUEUE = "unified"
CELERY_TASK_IGNORE_RESULT = True
""",
    "pay/broker.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"] + "/0"))
""",
    "pay/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pay.settings")
app = Celery("pay", include=["pay.actors"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
""",
    "pay/notes.py": """\
import os


def note(line):
    with open(os.environ["OUT"], "a") as out:
        out.write(line + "\\n")
""",
    "pay/actors.py": BODIES.format(
        head="import dramatiq",
        above="\n@dramatiq.actor",
        charge="currency, reservation",
        notify="channel, charge",
    ),
    "pay/checkout.py": """\
import dramatiq

from pay.actors import charge, notify, reserve


def checkout(ref):
    dramatiq.pipeline([
        reserve.message(ref, sku="book"),
        charge.message("EUR"),
        notify.message_with_options(args=("mail",), kwargs={"loud": True}),
    ]).run()


def one_by_one(ref):
    charge.send("EUR", ref)
    notify.send_with_options(args=("mail", ref), delay=100)
""",
}
UNIFIED_CELERY = FILES["pay/celery.py"].replace("pay.actors", "pay.unified")
#: The unified module takes the result first.
OTHER_ORDER = {
    **FILES,
    "pay/celery.py": UNIFIED_CELERY,
    "pay/unified.py": BODIES.format(
        head="from celery import shared_task",
        above="\n@shared_task",
        charge="reservation, currency",
        notify="charge, channel",
    ),
    "migration.toml": plan("pay.unified", RESULT_FIRST),
}
#: The unified module keeps the order of the actors, and the plan says so.
SAME_ORDER = {
    **FILES,
    "pay/celery.py": UNIFIED_CELERY,
    "pay/result_last.py": RESULT_LAST,
    "pay/unified.py": BODIES.format(
        head="from celery import shared_task\nfrom pay.result_last import result_last",
        above="\n@shared_task\n@result_last",
        charge="currency, reservation",
        notify="channel, charge",
    ),
    "migration.toml": plan("pay.unified", LEGACY, "result_last = true"),
}
IN_PLACE = {**FILES, "migration.toml": plan("pay.actors", LEGACY, "result_last = true")}
PIPED, CALLED = "{}/book+EUR by mail True", "{} by mail False"


@contextmanager
def worker(folder: Path, environ: Mapping[str, str], *words: str) -> Iterator[None]:
    """Run a worker in a folder; it is ended by its pid."""
    with Path(environ["OUT"]).with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env={**os.environ, **environ, "PYTHONPATH": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def wait_for(environ: Mapping[str, str], expected: set[str]) -> None:
    out = Path(environ["OUT"])
    until = time.monotonic() + 60
    while (found := set(out.read_text().splitlines() if out.exists() else [])) != expected:
        assert time.monotonic() < until, (found, out.with_suffix(".log").read_text()[-3000:])
        time.sleep(0.1)


def python(project: Project, code: str) -> None:
    done = project.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("files", [OTHER_ORDER, SAME_ORDER, IN_PLACE], ids=["other order", "same order", "in place"])
def test_a_pipeline_with_arguments_of_its_own_there_and_back(
    tmp_path: Path, redis_url: str, files: Mapping[str, str]
) -> None:
    environ = {"BROKER": redis_url.removesuffix("/0"), "OUT": str(tmp_path / "out")}
    project = make_project(tmp_path / "project", files, environ)
    project.git("worktree", "add", "-q", str(tmp_path / "before"))
    python(project, "import pay.broker; from pay.checkout import *; checkout('waited'); one_by_one('single')")

    done = project.migrator("rewrite-imports")
    assert "PIPELINE" not in done.stdout, done.stdout
    assert "chain(" in (project.folder / "pay/checkout.py").read_text()
    moved = project.migrator("transfer", "--yes", "--no-snapshot", "--format", "json")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    python(project, "import pay.celery; from pay.checkout import *; checkout('fresh'); one_by_one('other')")
    expected = {
        *(PIPED.format(ref) for ref in ("waited", "fresh")),
        *(CALLED.format(ref) for ref in ("single", "other")),
    }
    with worker(project.folder, environ, "celery", "-A", "pay.celery", "worker", "--pool", "solo", "-l", "INFO"):
        wait_for(environ, expected)

    Path(environ["OUT"]).unlink()
    module = "pay.actors" if files is IN_PLACE else "pay.unified"
    # The second one is what a worker sends when it has run the first step of a chain.
    python(
        project,
        "import pay.celery; from pay.checkout import *; checkout('back'); one_by_one('returned')\n"
        f"from {module} import charge, notify\n"
        "(charge.s(currency='EUR') | notify.s(channel='mail')).apply_async(('half/book',))",
    )
    moved = project.migrator("transfer", "--back", "--yes", "--no-snapshot", "--format", "json")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    expected = {PIPED.format("back"), "half/book+EUR by mail False", CALLED.format("returned")}
    with worker(tmp_path / "before", environ, "dramatiq", "pay.broker", "pay.actors", "-p", "1", "-t", "1"):
        wait_for(environ, expected)


def test_a_task_that_would_get_the_result_first_is_refused(tmp_path: Path) -> None:
    files = {**SAME_ORDER, "pay/unified.py": SAME_ORDER["pay/unified.py"].replace("\n@result_last", "")}
    project = make_project(tmp_path / "project", files, {"BROKER": "redis://127.0.0.1:1"})
    done = project.migrator("rewrite-imports")
    assert done.returncode == 2, done.stdout
    assert "PLAN-RESULT-LAST" in done.stderr and "pay/unified.py:13" in done.stderr, done.stderr
