"""The rewrite of imports and names, by the installed command, in repositories as strangers have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_projects import MANAGE, MIGRATOR, Project, make_project

from codemods.runner import check_rewritten
from migrator.plan.loader import load_plan

Findings = list[dict[str, Any]]

PLAN = """\
[migration]
name = "shop"

[project]
root = "."
settings = "shop.settings"
retire = []

[legacy.dramatiq]
broker = "redis://127.0.0.1:6379/1"
queues = ["default"]
modules = ["jobs.tasks"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "core.ping"
path = "core.tasks.ping"
parameters = ["x"]

  [[task.replaces]]
  system = "dramatiq"
  name = "ping"
  path = "jobs.tasks.ping"
  parameters = ["x"]

[[task]]
name = "{pong}"
path = "{pong}"
parameters = ["x"]

  [[task.replaces]]
  system = "dramatiq"
  name = "pong"
  path = "jobs.tasks.pong"
  parameters = ["x"]
"""

SHOP = {
    "manage.py": MANAGE.format(settings="shop.settings"),
    "shop/__init__.py": "",
    "shop/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\nCELERY_TASK_DEFAULT_QUEUE = "unified"\n',
    "shop/celery.py": 'from celery import Celery\n\napp = Celery("shop", broker="redis://127.0.0.1:6379/0")\n',
    "jobs/__init__.py": "",
    "jobs/tasks.py": """\
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url="redis://127.0.0.1:6379/1"))


@dramatiq.actor
def ping(x):
    return x


@dramatiq.actor
def pong(x):
    return x
""",
    "core/__init__.py": "",
    "core/tasks.py": """\
from shop.celery import app


@app.task(name="core.ping")
def ping(x):
    return x


@app.task(name="core.tasks.pong")
def pong(x):
    return x
""",
    "migration.toml": PLAN.format(pong="core.tasks.pong"),
}
RETIRED = PLAN.format(pong="core.tasks.pong").replace("retire = []", 'retire = ["jobs/tasks.py"]')


def rewritten(folder: Path, files: dict[str, str]) -> tuple[Project, Findings]:
    """Rewrite the shop with more files, once and again; return it with the first findings."""
    project = make_project(folder, {**SHOP, **files})
    done = project.migrator("rewrite-imports", "--format", "json")
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    project.commit()
    again = project.migrator("rewrite-imports", "--check")
    assert "would rewrite 0 places in 0 files" in again.stdout, again.stdout
    return project, json.loads(done.stdout)["findings"]


def codes(findings: Findings, path: str) -> list[str]:
    """Return code and line of each finding in a file or folder."""
    return [f"{item['code']} {item['line']}" for item in findings if str(item["path"]).startswith(path)]


def source(project: Project, path: str) -> str:
    """Return what a file holds now."""
    return (project.folder / path).read_text(encoding="utf-8")


SECOND = {
    "billing/jobs/__init__.py": "",
    "billing/jobs/tasks.py": "def ping(x):\n    return x\n",
    "billing/jobs/views.py": "from .tasks import ping\n\nping(1)\n",
    "billing/app.py": "import jobs.tasks\nfrom jobs.tasks import ping\n\nping(1)\njobs.tasks.ping(2)\n",
}


def test_modules_of_another_project_in_the_repository_are_its_own(tmp_path: Path) -> None:
    files = {**SECOND, "billing/manage.py": MANAGE.format(settings="billing.settings")}
    project, printed = rewritten(tmp_path, files)
    assert {path: source(project, path) for path in files} == files
    assert codes(printed, "billing/") == []


def test_tasks_beside_the_import_root_are_named_once(tmp_path: Path) -> None:
    actors = "import dramatiq\n\n\n@dramatiq.actor\ndef bill(x):\n    return x\n\n\n@dramatiq.actor\ndef pay(): ...\n"
    files = {**SECOND, "billing/manage.py": MANAGE.format(settings="billing.settings"), "billing/jobs/more.py": actors}
    web = {f"web/{path}": text for path, text in SHOP.items() if path != "migration.toml"}
    plan = SHOP["migration.toml"].replace('root = "."', 'root = "web"')
    project = make_project(tmp_path, {**web, **files, "migration.toml": plan})
    printed = project.migrator("rewrite-imports").stdout
    assert {path: source(project, path) for path in files} == files
    assert [line for line in printed.splitlines() if "billing/" in line] == [
        "warning OTHER-PROJECT  billing/jobs/more.py:5: tasks of another project in the repository, which this plan "
        "does not touch: 2 in billing (bill, pay)"
    ]


def test_a_module_that_two_folders_have_is_listed_and_not_guessed(tmp_path: Path) -> None:
    project, printed = rewritten(tmp_path, SECOND)
    assert {path: source(project, path) for path in SECOND} == SECOND
    assert codes(printed, "billing/") == ["AMBIGUOUS 1", "AMBIGUOUS 2"]


def test_the_plans_modules_are_found_from_a_folder_beside_the_root(tmp_path: Path) -> None:
    project, _ = rewritten(tmp_path, {"scripts/run.py": "from jobs.tasks import ping\n\nping.send(1)\n"})
    assert source(project, "scripts/run.py") == "from core.tasks import ping\n\nping.delay(1)\n"


DELEGATING = {
    "core/tasks.py": """\
from shop.celery import app

import jobs.tasks as legacy
from core.parts import do_ping


@app.task(name="core.ping")
def ping(x):
    return do_ping(x)


@app.task(name="core.tasks.pong")
def pong(x):
    from jobs.tasks import pong as old

    return old(x) or legacy.pong.fn(x)
""",
    "core/parts.py": "from jobs.tasks import ping as old\n\n\ndef do_ping(x):\n    return old(x)\n",
    "shop/views.py": "from jobs.tasks import ping\n\nping(1)\nping.send(2)\n",
}


def test_a_unified_task_that_is_made_of_the_legacy_one_stays(tmp_path: Path) -> None:
    project, printed = rewritten(tmp_path, DELEGATING)
    assert source(project, "core/tasks.py") == DELEGATING["core/tasks.py"]
    assert source(project, "core/parts.py") == DELEGATING["core/parts.py"]
    assert source(project, "shop/views.py") == "from core.tasks import ping\n\nping(1)\nping.delay(2)\n"
    assert codes(printed, "core/") == []


def test_a_unified_task_that_calls_what_the_plan_retires_is_refused(tmp_path: Path) -> None:
    project, printed = rewritten(tmp_path, {**DELEGATING, "migration.toml": RETIRED})
    assert source(project, "core/tasks.py") == DELEGATING["core/tasks.py"]
    places = [f"{item['path']}:{item['line']}" for item in printed if item["code"] == "DELEGATES"]
    assert places == ["core/parts.py:5", "core/tasks.py:16"]
    source_report = check_rewritten(load_plan(tmp_path / "migration.toml"))
    assert [finding.where for finding in source_report.errors] == places


def test_an_import_stays_for_the_task_that_stays(tmp_path: Path) -> None:
    plan = PLAN.format(pong="jobs.tasks.pong")
    before = (
        "from jobs import other, tasks\n\n\ndef run():\n    tasks.ping.send(1)\n    tasks.pong.send(2)\n    other.x\n"
    )
    core = SHOP["core/tasks.py"].partition('\n\n\n@app.task(name="core.tasks.pong")')[0]
    files = {"core/tasks.py": core, "jobs/other.py": "x = 1\n", "jobs/views.py": before, "migration.toml": plan}
    project, _ = rewritten(tmp_path, files)
    after = source(project, "jobs/views.py")
    assert "from jobs import other, tasks\n" in after
    assert "    ping.delay(1)\n    tasks.pong.delay(2)\n" in after


def test_names_that_a_package_passes_on_by_a_star_keep_their_names(tmp_path: Path) -> None:
    package = 'from .tasks import *\n\n__all__ = ["ping", "pong"]\n'
    reader = "from jobs import ping\n\nping.send(1)\n"
    project, _ = rewritten(tmp_path, {"jobs/__init__.py": package, "shop/views.py": reader})
    assert source(project, "jobs/__init__.py") == package
    assert source(project, "shop/views.py") == "from core.tasks import ping\n\nping.delay(1)\n"


def test_a_star_of_a_module_that_goes_becomes_the_names_that_are_passed_on(tmp_path: Path) -> None:
    package = 'from .tasks import *\n\n__all__ = ["ping", "pong"]\n'
    project, printed = rewritten(tmp_path, {"jobs/__init__.py": package, "migration.toml": RETIRED})
    assert source(project, "jobs/__init__.py") == package.replace(".tasks import *", "core.tasks import ping, pong")
    assert codes(printed, "jobs/__init__.py") == []


CELERY = {
    "jobs/old.py": """\
from shop.celery import app


@app.task
def quote(symbol):
    return symbol


@app.task(name="report")
def report(days):
    return days
""",
    "core/more.py": """\
from shop.celery import app


@app.task(name="core.quote")
def quote(symbols):
    return symbols


@app.task(name="core.report")
def report(days):
    return days
""",
    "migration.toml": PLAN.format(pong="core.tasks.pong").replace(
        "[unified]",
        """\
[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery", "slow", "fast"]
modules = ["jobs.old"]

[unified]""",
    )
    + """
[[task]]
name = "core.quote"
path = "core.more.quote"
parameters = ["symbols"]

  [[task.replaces]]
  system = "celery"
  name = "jobs.old.quote"
  parameters = ["symbol"]
  arguments = [{ wrap = "symbol", to = "symbols" }]

[[task]]
name = "core.report"
path = "core.more.report"
parameters = ["days"]

  [[task.replaces]]
  system = "celery"
  name = "report"
  path = "jobs.old.report"
  parameters = ["days"]
""",
}
USES = "from shop.celery import app\n\nQUOTE = 'jobs.old.quote'\n\n\n"


def test_a_name_stays_where_one_of_its_uses_stays(tmp_path: Path) -> None:
    one = (
        USES + "def one():\n    app.send_task(QUOTE, args=['A'])\n\n\ndef two(args):\n    app.send_task(QUOTE, args)\n"
    )
    handed = USES + "def one(enqueue):\n    app.send_task(QUOTE, args=['A'])\n    enqueue(QUOTE, 'A')\n"
    names = "LATER = 'jobs.old.quote'\n"
    reads = "from shop import names\nfrom shop.celery import app\n\n"
    first, second = reads + "app.send_task(names.LATER, ['A'])\n", reads + "x = []\napp.send_task(names.LATER, x)\n"
    files = {"one.py": one, "handed.py": handed, "shop/names.py": names, "first.py": first, "second.py": second}
    project, printed = rewritten(tmp_path, {**CELERY, **files})
    assert {path: source(project, path) for path in files} == files
    assert codes(printed, "one.py") == ["LEGACY-STRING 3", "LINKED 7", "COMPUTED-ARGUMENTS 11"]
    assert codes(printed, "handed.py") == ["LEGACY-STRING 3", "LINKED 7"]
    assert codes(printed, "first.py") == ["LINKED 4"]
    assert codes(printed, "second.py") == ["COMPUTED-ARGUMENTS 5"]


def test_a_name_changes_with_all_of_its_uses_in_every_file(tmp_path: Path) -> None:
    names = "import enum\n\nREPORT = 'report'\n\n\nclass Names(str, enum.Enum):\n    QUOTE = 'jobs.old.quote'\n"
    reads = "from shop.celery import app\nfrom shop.names import REPORT, Names\n\napp.send_task(REPORT, [3])\n"
    view = "from shop.celery import app\n\n\nclass View:\n    task = 'report'\n\n    def get(self):\n"
    files = {
        "shop/names.py": names,
        "reads.py": reads + "app.send_task(Names.QUOTE.value, args=['A'])\n",
        "view.py": view + "        app.send_task(self.task, args=[1])\n",
    }
    project, printed = rewritten(tmp_path, {**CELERY, **files})
    assert source(project, "shop/names.py") == names.replace("'report'", "'core.report'").replace("jobs.old", "core")
    assert source(project, "reads.py") == reads + "app.send_task(Names.QUOTE.value, kwargs={\"symbols\": ['A']})\n"
    assert source(project, "view.py") == files["view.py"].replace("'report'", "'core.report'")
    assert not [code for path in files for code in codes(printed, path)]


def test_a_computed_name_is_listed_and_not_changed_by_half(tmp_path: Path) -> None:
    text = """\
from jobs.old import quote
from jobs.tasks import ping
from shop.celery import app

NAME = f"{ping.__module__}.{ping.__name__}"
OTHER = "%s.%s" % (quote.__module__, quote.__name__)


def run(kind, rows):
    app.send_task("jobs.old." + kind)
    app.send_task("jobs.old.%s" % kind)
    app.send_task("{}.{}".format("jobs.old", kind))
    rows.create(task=f"jobs.old.{kind}")
    print("see jobs.old.")
"""
    project, printed = rewritten(tmp_path, {**CELERY, "computed.py": text})
    assert source(project, "computed.py") == text
    computed = [code for code in codes(printed, "computed.py") if code.startswith("COMPUTED-NAME")]
    assert computed == [f"COMPUTED-NAME {line}" for line in (5, 6, 10, 11, 12, 13)]


def test_what_needs_dramatiq_is_listed_whatever_else_the_file_holds(tmp_path: Path) -> None:
    site = ".venv/lib/python3.11/site-packages/tokeo-1.0.dist-info"
    listed = {
        "tests/test_jobs.py": "from django_dramatiq import test\n\n\nclass Case(test.DramatiqTestCase): ...\n",
        "shop/monitoring.py": "from sentry_sdk.integrations.dramatiq import DramatiqIntegration\n",
        "shop/extension.py": "from flask_melodramatiq import Broker\n",
        "shop/mail.py": 'EMAIL_BACKEND = "django_dramatiq_email.backends.DramatiqEmailBackend"\n',
        "shop/other.py": "import tokeo\n",
    }
    own = {
        "jobs/dramatiq_parts.py": "X = 1\n",
        "jobs/reader.py": "from jobs.dramatiq_parts import X\nfrom .dramatiq_parts import X as Y\n",
        "jobs/log.py": "LOGGER = 'dramatiq.worker'\n",
        ".venv/pyvenv.cfg": "",
        f"{site}/METADATA": "Name: tokeo\nRequires-Dist: dramatiq[redis]>=1.16\n\nA framework.\n",
        f"{site}/RECORD": "tokeo/__init__.py,,\ntokeo-1.0.dist-info/METADATA,,\n",
    }
    _, printed = rewritten(tmp_path, {**listed, **own})
    lines = {path: codes(printed, path) for path in (*listed, *own) if codes(printed, path)}
    assert lines == {path: ["DRAMATIQ-PACKAGE 1"] for path in listed} | {"tests/test_jobs.py": ["DRAMATIQ-USE 4"]}


QUEUES = """\
import enum

SLOW = "slow"
FAST = "fast"
OLD = "celery"


class Queue(str, enum.Enum):
    SLOW = "slow"
    ELSEWHERE = "elsewhere"
"""
SENDS = """\
from django.conf import settings
from jobs.old import report
from shop import queues
from shop.celery import app
from shop.queues import FAST, OLD, Queue

report.apply_async((1,), queue=FAST)
report.apply_async((1,), queue=queues.SLOW)
report.apply_async((1,), queue=Queue.SLOW.value)
report.apply_async((1,), queue=OLD)
report.apply_async((1,), queue="slow")
report.apply_async((1,), queue=settings.SLOW_QUEUE)
app.send_task("report", (1,), queue=Queue.SLOW)
app.conf.task_routes = {"report": {"queue": queues.SLOW}, "jobs.old.quote": {"queue": "celery"}}
"""
LEFT = """\
from jobs.old import report
from shop.queues import Queue


def run(queue):
    report.apply_async((1,), queue=Queue.ELSEWHERE.value)
    report.apply_async((1,), queue=queue)
"""


def test_queues_in_constants_are_those_of_the_plan(tmp_path: Path) -> None:
    settings = SHOP["shop/settings.py"] + 'SLOW_QUEUE = "slow"\n'
    plan = CELERY["migration.toml"].replace('["unified"]', '["unified", "slow", "fast"]')
    plan = plan.replace('path = "core.more.quote"', 'path = "core.more.quote"\nqueue = "fast"')
    files = {"shop/queues.py": QUEUES, "sends.py": SENDS, "left.py": LEFT, "shop/settings.py": settings}
    project, printed = rewritten(tmp_path, {**CELERY, **files, "migration.toml": plan})
    after = SENDS.replace("jobs.old import", "core.more import").replace('"report"', '"core.report"')
    after = after.replace("queue=OLD", 'queue="unified"')
    after = after.replace('"jobs.old.quote": {"queue": "celery"}', '"core.quote": {"queue": "fast"}')
    assert source(project, "sends.py") == after
    assert source(project, "shop/queues.py") == QUEUES
    assert codes(printed, "sends.py") == []
    assert codes(printed, "left.py") == ["QUEUE-OPTION 6", "QUEUE-OPTION 7"]


def test_a_queue_that_both_sides_read_stays_in_both_systems(tmp_path: Path) -> None:
    plan = PLAN.format(pong="jobs.tasks.pong").replace('["default"]', '["default", "slow"]')
    plan = plan.replace('["unified"]', '["unified", "slow"]')
    actors = SHOP["jobs/tasks.py"].replace("@dramatiq.actor\ndef pong", '@dramatiq.actor(queue_name="slow")\ndef pong')
    core = SHOP["core/tasks.py"].partition('\n\n\n@app.task(name="core.tasks.pong")')[0]
    project, _ = rewritten(tmp_path, {"migration.toml": plan, "jobs/tasks.py": actors, "core/tasks.py": core})
    assert 'queue="slow"' in source(project, "jobs/tasks.py")


def test_a_file_that_is_too_large_is_listed_by_both(tmp_path: Path) -> None:
    large = "from jobs.tasks import ping  # dramatiq\nDATA = [" + "1, " * 600_000 + "]\n"
    texts = "from jobs.tasks import ping\nTEXT = '''" + "dramatiq, a word\n" * 100_000 + "'''\nping.send(1)\n"
    files = {"large.py": large, "texts.py": texts, "broken.py": "from jobs.tasks import ping\nprint 1\n"}
    project = make_project(tmp_path, {**SHOP, **files})
    printed = project.migrator("rewrite-imports", "--check", "--format", "json").stdout
    findings = json.loads(printed)["findings"]
    assert codes(findings, "large.py") == ["TOO-LARGE 1"]
    assert codes(findings, "broken.py") == ["UNPARSABLE 1"]
    assert "+ping.delay(1)" in printed
    inspected = project.migrator("inspect").stdout
    listed = [line for line in inspected.splitlines() if line.startswith("could not read")]
    assert [line.partition(":")[0].rpartition("/")[2] for line in listed] == ["large.py"]
    assert "1.8 MB; its parse would take about 2.5 GiB, and at most 2 are used" in listed[0]


FORMATTED = {
    "shop/views.py": """\
import os

import dramatiq

from jobs.tasks import (
    ping,
    pong,
)
from shop.celery import app
from shop.zebra import stripes


def view(request):
    ping.send(1)
    pong.send(os.getpid())
    dramatiq.group([ping.message(1), pong.message(stripes)]).run()
    return app
""",
    "shop/zebra.py": "stripes = 1\n",
    "shop/loose.py": "from jobs.tasks import ping\nimport os\n\nping.send( os.getpid() )\n",
}


@pytest.mark.parametrize("table", ["[tool.ruff]\nline-length = 79\n", "[tool.black]\nline-length = 79\n"])
def test_a_formatted_file_stays_formatted(tmp_path: Path, table: str) -> None:
    files = {**SHOP, **FORMATTED, "pyproject.toml": table}
    project, _ = rewritten(tmp_path, files)
    ruff = [str(MIGRATOR.with_name("ruff"))]
    options = ["--no-cache", "--config", "line-length=79", "shop/views.py"]
    for words in (["format", "--check"], ["check", "--select", "I"]):
        done = project.run(*ruff, *words, *options)
        assert done.returncode == 0, done.stdout + source(project, "shop/views.py")
    assert "from core.tasks import (\n    ping,\n    pong,\n)\n" in source(project, "shop/views.py")
    assert source(project, "shop/loose.py") == FORMATTED["shop/loose.py"].replace("jobs", "core").replace(
        "send", "delay"
    )


def test_a_long_import_is_written_over_lines(tmp_path: Path) -> None:
    names = "ping as the_first_name_that_is_long, pong as the_second_name_that_is_long"
    text = "from jobs.tasks import (\n    " + names.replace(", ", ",\n    ") + ",\n    x_1,\n)\n\n"
    sends = "the_first_name_that_is_long.send(x_1)\nthe_second_name_that_is_long.send(x_1)\n"
    tasks = SHOP["jobs/tasks.py"] + "\n\nx_1 = 1\n"
    project, _ = rewritten(tmp_path, {"jobs/tasks.py": tasks, "shop/run.py": text + sends})
    new = "from core.tasks import (\n    " + names.replace(", ", ",\n    ") + ",\n)\n"
    after = new + "from jobs.tasks import (\n    x_1,\n)\n\n" + sends.replace(".send(", ".delay(")
    assert source(project, "shop/run.py") == after


def test_a_new_import_stands_in_its_section(tmp_path: Path) -> None:
    before = "import os\n\nimport dramatiq\n\nfrom jobs.tasks import ping\n\n"
    text = before + "dramatiq.group([ping.message(os.getpid())]).run()\ndramatiq.get_broker().flush_all()\n"
    project, _ = rewritten(tmp_path, {"shop/run.py": text})
    head = "import os\n\nimport dramatiq\nfrom celery import group\n\nfrom core.tasks import ping\n\n"
    assert source(project, "shop/run.py").startswith(head)


def test_deployment_text_is_named_whatever_the_plan_retires(tmp_path: Path) -> None:
    logging = 'LOGGING = {"loggers": {"dramatiq": {"level": "INFO"}, "shop": {}}}\n'
    rows = '[{"model": "django_dramatiq.task"},\n{"model": "shop.order", "note": "dramatiq"}]\n'
    files = {
        "requirements.txt": "Django\n# dramatiq was slow\ndramatiq[redis]>=1.16\n",
        "requirements/prod.in": "periodiq\n",
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = [\n  "django-dramatiq",\n]\n',
        "compose.yml": 'services:\n  worker:\n    command: ["dramatiq", "jobs.tasks"]\n',
        "fixtures/rows.json": rows,
        "README.md": "We use dramatiq.\n",
        "shop/settings.py": SHOP["shop/settings.py"] + logging,
    }
    _, printed = rewritten(tmp_path, files)
    found = {path: codes(printed, path) for path in files}
    assert found == {
        "requirements.txt": ["DRAMATIQ-TEXT 3"],
        "requirements/prod.in": ["DRAMATIQ-TEXT 1"],
        "pyproject.toml": ["DRAMATIQ-TEXT 5"],
        "compose.yml": ["DRAMATIQ-TEXT 3"],
        "fixtures/rows.json": ["DRAMATIQ-TEXT 1"],
        "README.md": [],
        "shop/settings.py": ["DRAMATIQ-SETTING 4"],
    }
