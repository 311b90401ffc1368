"""The inventory reads source without importing it; the plan must name all that it finds."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from migrator.inventory.plan_check import check_complete
from migrator.inventory.scan import Inventory, scan
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Severity

PLAN = """
[migration]
name = "t"
[project]
root = "src"
settings = "conf.settings"
[legacy.dramatiq]
broker = "redis://localhost/0"
queues = ["default"]
modules = ["old.actors"]
[legacy.celery]
broker = "redis://localhost/0"
queues = ["celery"]
modules = ["old.jobs"]
[unified]
broker = "redis://localhost/0"
queues = ["unified"]
[[task]]
name = "tasks.ping"
path = "tasks.unified.ping"
parameters = ["host", "count"]
  [[task.replaces]]
  system = "dramatiq"
  name = "ping"
  path = "old.actors.ping"
  parameters = ["host", "count"]
  primary = true
  [[task.replaces]]
  system = "celery"
  name = "old.jobs.ping"
  parameters = ["host", "count"]
[[schedule]]
name = "ping-hourly"
task = "tasks.ping"
crontab = "0 * * * *"
replaces = ["old.jobs:ping"]
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
    return root


def found(root: Path) -> dict[str, tuple[str, ...]]:
    return {f"{task.system.value}:{task.name}": task.parameters for task in scan(root).tasks}


def names(root: Path) -> list[str]:
    return [f"{entry.name} -> {entry.task}" for entry in scan(root).schedule]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import dramatiq\n@dramatiq.actor\ndef a(x, y=1): ...", {"dramatiq:a": ("x", "y")}),
        ("import dramatiq as d\n@d.actor()\nasync def a(x): ...", {"dramatiq:a": ("x",)}),
        ("from dramatiq import actor\n@actor(actor_name='b')\ndef a(): ...", {"dramatiq:b": ()}),
        ("from dramatiq import actor as task\n@task\ndef a(*, k): ...", {"dramatiq:a": ("k",)}),
        ("import dramatiq\nactor = dramatiq.actor\n@actor\ndef a(): ...", {"dramatiq:a": ()}),
        (
            "import dramatiq\nfrom functools import partial\nact = partial(dramatiq.actor, queue_name='q')\n"
            "@act(actor_name='z')\ndef a(): ...",
            {"dramatiq:z": ()},
        ),
        ("import dramatiq\ndef f(x): ...\nsend_f = dramatiq.actor(f)", {"dramatiq:f": ("x",)}),
        (
            "from celery import Task, shared_task\nclass Base(Task):\n  def perform(self, x): ...\n"
            "class A(Base): ...\nA = shared_task(name='a', bind=True)(A.perform)",
            {"celery:a": ("x",)},
        ),
        (
            "import dramatiq\nclass Job:\n  __name__ = 'job'\n  def __call__(self, x, *, k): ...\n"
            "a = dramatiq.actor(Job())",
            {"dramatiq:job": ("x", "k")},
        ),
        ("import dramatiq\nclass Job: ...\na = dramatiq.actor(Job())", {"dramatiq:": ()}),
        ("import dramatiq\nclass Job: ...\na = dramatiq.actor(Job(), actor_name='z')", {"dramatiq:z": ()}),
        ("import dramatiq\nNAME = 'n'\n@dramatiq.actor(actor_name=NAME)\ndef a(): ...", {"dramatiq:n": ()}),
        ("import dramatiq\n@dramatiq.actor(actor_name=__name__ + 'x')\ndef a(): ...", {"dramatiq:": ()}),
        (
            "from dramatiq import GenericActor\nclass B(GenericActor):\n  class Meta:\n    abstract = True\n"
            "class C(B):\n  def perform(self, x): ...",
            {"dramatiq:C": ("x",)},
        ),
        ("from celery import shared_task\n@shared_task\ndef a(x): ...", {"celery:m.a": ("x",)}),
        (
            "from celery import shared_task\n@shared_task(bind=True, name='n')\ndef a(self, x): ...",
            {"celery:n": ("x",)},
        ),
        ("from celery import Celery\napp = Celery('x')\n@app.task\ndef a(x): ...", {"celery:m.a": ("x",)}),
        ("from celery import Celery\nc = Celery('x')\n@c.task(bind=True)\ndef a(self): ...", {"celery:m.a": ()}),
        (
            "from celery import Task\nclass Base(Task):\n  abstract = True\n"
            "class A(Task):\n  name = 'n'\n  def run(self, x): ...",
            {"celery:n": ("x",)},
        ),
    ],
)
def test_finds_each_form_of_declaration(tmp_path: Path, source: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert found(tree(tmp_path, {"m": source})) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import invoke\n@invoke.task\ndef a(): ...",
        "from fabric import task\n@task\ndef a(): ...",
        "class P:\n  def task(self, f): ...\np = P()\n@p.task\ndef a(): ...",
        "def actor(f): return f\n@actor\ndef a(): ...",
        "from stage import actor\n@actor\ndef a(): ...",
        "# @dramatiq.actor\ndef a(): ...",
        "TEXT = '''\nimport dramatiq\n@dramatiq.actor\ndef a(): ...\n'''",
        "import dramatiq\ndef a(): dramatiq.get_broker()",
    ],
)
def test_leaves_alone_what_only_looks_like_a_task(tmp_path: Path, source: str) -> None:
    assert found(tree(tmp_path, {"m": source})) == {}


def test_follows_the_application_through_other_files(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "core/__init__": "from .celery import app as celery_app",
            "core/celery": "from celery import Celery\napp = Celery('core')",
            "shop/jobs": "from core import celery_app\n@celery_app.task\ndef pay(order): ...",
        },
    )
    assert found(tmp_path) == {"celery:shop.jobs.pay": ("order",)}


def test_follows_an_alias_that_other_files_made_of_a_decorator(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "core/queue": "from celery import Celery, shared_task as job\napp = Celery('x')\nperiodic = app.task",
            "a": "from core.queue import job\n@job\ndef one(): ...",
            "b": "from core import queue as q\n@q.periodic(name='two')\ndef two(): ...",
            "core/old": "import dramatiq as d\nclass Actor(d.GenericActor):\n    class Meta:\n        abstract = True",
            "c": "from core.old import Actor as Old\nclass Three(Old):\n    def perform(self): ...",
            "core/older": "from core.old import Actor as Older",
            "d": "from core.older import Older\nclass Four(Older):\n    def perform(self): ...",
        },
    )
    assert set(found(tmp_path)) == {"celery:a.one", "celery:two", "dramatiq:Three", "dramatiq:Four"}


def test_follows_what_a_call_is_given_into_files_that_name_no_library(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "app/actors": "import dramatiq\nfrom app import work\nfrom app.work import Clean, send as deliver\n"
            "a = dramatiq.actor(work.plain)\nb = dramatiq.actor(queue_name='q')(deliver)\n"
            "c = dramatiq.actor(Clean())\n",
            "app/work": "from app.base import Job\ndef plain(x): ...\ndef send(y, z): ...\n"
            "class Clean(Job):\n  __name__ = 'clean'\n",
            "app/base": "class Job:\n  def __call__(self, *args, **kwargs): ...\n",
            "app/__init__": "",
            "app/celery_side": "from celery import shared_task\nfrom app.work import plain\nd = shared_task(plain)\n",
        },
    )
    tasks = scan(root).tasks
    assert {f"{task.system.value}:{task.name}": (task.path, task.parameters) for task in tasks} == {
        "dramatiq:plain": ("app.actors.a", ("x",)),
        "dramatiq:send": ("app.actors.b", ("y", "z")),
        "dramatiq:clean": ("app.actors.c", ("*args", "**kwargs")),
        "celery:app.work.plain": ("app.celery_side.d", ("x",)),
    }
    assert [task.name for task in tasks if task.open_ended] == ["clean"]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import dramatiq\nfor f in [len]: dramatiq.actor(f)", [2]),
        ("import dramatiq\ndef act(fn, **o):\n  return dramatiq.actor(fn, **o)", [2]),
        ("import dramatiq\nACTORS = {}\ndef f(): ...\nACTORS['f'] = dramatiq.actor(f)", [4]),
        ("from celery import shared_task\nfrom elsewhere import f\na = shared_task(name='n')(f)", [3]),
        ("import dramatiq\nact = dramatiq.actor(queue_name='q')\n@act\ndef f(): ...", []),
        ("import dramatiq\n@dramatiq.actor(queue_name='q')\ndef f(): ...\nf.send()", []),
        ("import dramatiq\ndef f(): ...\na = dramatiq.actor(f)", []),
        ("def actor(f): return f\nactor(len)", []),
    ],
)
def test_says_where_a_task_is_made_that_it_can_not_follow(tmp_path: Path, source: str, lines: list[int]) -> None:
    assert [place.line for place in scan(tree(tmp_path, {"m": source})).unseen] == lines


def test_reads_neither_environments_nor_links_nor_migrations(tmp_path: Path) -> None:
    task = "import dramatiq\n@dramatiq.actor\ndef a(): ..."
    skipped = ("env/lib/m", "app/migrations/m", "node_modules/m", "__pycache__/m")
    root = tree(tmp_path / "p", dict.fromkeys(skipped, task))
    (root / "env" / "pyvenv.cfg").write_text("")
    outside = tree(tmp_path / "outside", {"m": task})
    (root / "link").symlink_to(outside, target_is_directory=True)
    assert found(root) == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("app.conf.beat_schedule = {'a': {'task': 't', 'schedule': 1}}", ["m:a -> t"]),
        ("app.conf.beat_schedule['a'] = {'task': 't'}", ["m:a -> t"]),
        ("conf['beat_schedule'] = {'a': {'task': 't'}}", ["m:a -> t"]),
        ("settings['CELERY_BEAT_SCHEDULE']['a'] = {'task': 't'}", ["m:a -> t"]),
        ("app.conf.beat_schedule.update({'a': dict(task='t')})", ["m:a -> t"]),
        ("app.conf.update(timezone='UTC', beat_schedule={'a': {'task': 't'}})", ["m:a -> t"]),
        ("CELERY_BEAT_SCHEDULE = {'a': {'task': 't'}}", ["m:a -> t"]),
        ("CELERYBEAT_SCHEDULE: dict = dict(a={'task': 't'})", ["m:a -> t"]),
        ("S = {'a': {'task': 't'}}\napp.conf.beat_schedule = S", ["m:a -> t"]),
        ("B = {'a': {'task': 't'}}\nbeat_schedule = {**B, 'b': {'task': 'u'}}", ["m:a -> t", "m:b -> u"]),
        ("class C:\n  beat_schedule = {'a': {'task': 't'}}", ["m:a -> t"]),
        ("def f(sender, **k): sender.add_periodic_task(10.0, t.s(), name='a')", ["m:a -> t"]),
        ("import periodiq, dramatiq\n@dramatiq.actor(periodic=periodiq.cron('* * * * *'))\ndef t(): ...", ["m:t -> t"]),
        ("from dramatiq_crontab import cron\n@cron('* * * * *')\ndef t(): ...", ["m:t -> t"]),
        ("import dramatiq\n@dramatiq.actor\ndef t(): ...\nscheduler.add_job(t.send, 'cron', hour=5)", ["m:t -> t"]),
        ("scheduler.add_job(t.send, 'cron', hour=5)", []),
        ("beat_schedule[name()] = {'task': 't'}", ["m: -> t"]),
        ("schedule = {'a': {'task': 't'}}", []),
        ("conf.beats = {'a': {'task': 't'}}", []),
        ("scheduler.add_job(print, 'cron', hour=5)", []),
    ],
)
def test_finds_each_form_of_schedule(tmp_path: Path, source: str, expected: list[str]) -> None:
    assert names(tree(tmp_path, {"m": source})) == expected


def plan_of(folder: Path, text: str = PLAN) -> Plan:
    (folder / "migration.toml").write_text(text, encoding="utf-8")
    return load_plan(folder / "migration.toml")


GOOD = {
    "src/old/actors": "import dramatiq\n@dramatiq.actor\ndef ping(host, count=1): ...",
    "src/old/jobs": (
        "from celery import Celery\napp = Celery('x')\n@app.task\ndef ping(host, count=1): ...\n"
        "app.conf.beat_schedule = {'ping': {'task': 'old.jobs.ping', 'schedule': 60}}"
    ),
    "src/tasks/unified": "def ping(host, count): ...",
}


def codes(plan: Plan, inventory: Inventory) -> dict[str, str]:
    return {finding.code: str(finding) for finding in check_complete(plan, inventory).errors}


def test_a_complete_plan_is_green(tmp_path: Path) -> None:
    tree(tmp_path, GOOD)
    plan = plan_of(tmp_path)
    report = check_complete(plan, scan(plan.source_root))
    assert report.ok and report.checked == 3


def test_nothing_found_is_not_green(tmp_path: Path) -> None:
    tree(tmp_path, {"src/empty": ""})
    plan = plan_of(tmp_path)
    assert not check_complete(plan, scan(plan.source_root)).ok


def test_every_problem_in_one_go(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "src/old/actors": "import dramatiq\n@dramatiq.actor\ndef pingg(host, count=1): ...\n"
            "@dramatiq.actor\ndef b(): ...",
            "src/old/jobs": GOOD["src/old/jobs"].replace("count=1", "n=1").replace("{'ping'", "{'pong'"),
            "src/broken": "import dramatiq\ndef (",
        },
    )
    plan = plan_of(tmp_path)
    seen = codes(plan, scan(plan.source_root))
    assert set(seen) == {
        "PLAN-MISSING-TASK",
        "PLAN-UNKNOWN-TASK",
        "PLAN-PARAMETERS",
        "PLAN-MISSING-SCHEDULE",
        "PLAN-UNKNOWN-SCHEDULE",
        "PLAN-UNREADABLE-FILE",
        "PLAN-NO-TARGET",
    }
    assert "did you mean 'pingg'?" in seen["PLAN-UNKNOWN-TASK"]
    assert "did you mean 'old.jobs:pong'?" in seen["PLAN-UNKNOWN-SCHEDULE"]
    assert "parameters = ['host', 'n']" in seen["PLAN-PARAMETERS"]
    assert seen["PLAN-UNREADABLE-FILE"].endswith("tasks in it are unseen")


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    tree(tmp_path, GOOD)
    plan = plan_of(tmp_path, PLAN.replace('path = "old.actors.ping"', 'path = "old.other.ping"'))
    assert "path = 'old.actors.ping'" in codes(plan, scan(plan.source_root))["PLAN-PATH"]


def test_a_retired_task_is_spoken_for(tmp_path: Path) -> None:
    tree(tmp_path, GOOD | {"src/old/more": "import dramatiq\n@dramatiq.actor\ndef extra(): ..."})
    retired = '\n[[retired]]\nsystem = "dramatiq"\nname = "extra"\npath = "old.more.extra"\nreason = "unused"\n'
    plan = plan_of(tmp_path, PLAN + retired)
    assert codes(plan, scan(plan.source_root)) == {}


def test_the_installed_unified_app_and_its_schedule_are_not_legacy(tmp_path: Path) -> None:
    tree(
        tmp_path,
        GOOD
        | {
            "src/tasks/unified": "from celery import shared_task\n"
            "@shared_task(name='tasks.ping')\ndef ping(host, count): ...",
            "src/conf/settings": "CELERY_BEAT_SCHEDULE = {'ping-hourly': {'task': 'tasks.ping', 'schedule': 3600}}",
        },
    )
    plan = plan_of(tmp_path)
    assert codes(plan, scan(plan.source_root)) == {}


def test_a_task_of_the_plan_may_be_made_where_nothing_can_be_followed(tmp_path: Path) -> None:
    tree(tmp_path, GOOD | {"src/old/actors": "import dramatiq\nfor f in []: dramatiq.actor(f)\n"})
    plan = plan_of(tmp_path)
    report = check_complete(plan, scan(plan.source_root))
    assert {finding.code: finding.severity for finding in report.findings} == {
        "PLAN-UNSEEN-TASK": Severity.WARNING,
        "PLAN-UNKNOWN-TASK": Severity.WARNING,
    }


def test_constants_of_one_assignment_to_several_names(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        "import dramatiq\n\nLOW, (HIGH, TOP) = 'low', ('high', 'top')\nA, *B = 'a', 'b'\n\n\n"
        "@dramatiq.actor(actor_name=HIGH)\ndef one(): ...\n\n\n@dramatiq.actor(actor_name=B)\ndef two(): ...\n"
    )
    assert [task.name for task in scan(tmp_path).tasks] == ["high", ""]
