"""Tasks of applications, decorators and classes that a project makes itself are found, or their place is listed."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from migrator.inventory.scan import Inventory, scan


def read(root: Path, files: dict[str, str]) -> Inventory:
    for name, text in files.items():
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
    return scan(root)


def names(found: Inventory) -> list[str]:
    return sorted(f"{task.system.value}:{task.name}" for task in found.tasks)


def places(found: Inventory) -> list[str]:
    return [f"{place.file.stem}:{place.line}" for place in found.unseen]


TASK = "\n@app.task\ndef ping(x): ...\n"


@pytest.mark.parametrize(
    "source",
    [
        "from celery import Celery\nclass App(Celery): ...\napp = App('x')" + TASK,
        "import celery\nclass A(celery.Celery): ...\nclass B(A): ...\napp = B('x')" + TASK,
        "from celery import Celery\ndef make():\n  made = Celery('x')\n  made.conf.x = 1\n  return made\napp = make()"
        + TASK,
        "from celery import Celery\ndef make() -> 'Celery': return load()\napp = make()" + TASK,
        "from celery import Celery\ndef make(): return Celery('x')\n@make().task\ndef ping(x): ...",
        "from celery import Celery\napp: Celery = load()" + TASK,
        "from celery import Celery\napp = None\ndef setup():\n  global app\n  app = Celery('x')" + TASK,
        "from celery import Celery\nclass Config:\n  app = Celery('x')\n@Config.app.task\ndef ping(x): ...",
        "from celery import Celery\nclass Ext:\n  def __init__(self):\n    self.celery = Celery()\n"
        "ext = Ext()\n@ext.celery.task\ndef ping(x): ...",
        "from celery import Celery\nclass Ext:\n  def __init__(self): self.celery = Celery()\n"
        "class Own(Ext): ...\next = Own()\n@ext.celery.task(name='m.ping')\ndef ping(x): ...",
        "from celery import Celery\nclass Ext:\n  def make(self): return Celery('x')\next = Ext()\napp = ext.make()"
        + TASK,
        "from celery import Celery\nclass Ext:\n  def __init__(self): self.app = Celery()\n  def work(self):\n"
        "    @self.app.task\n    def ping(x): ...",
        "from celery import Celery\nfrom flask import Flask\nflask = Flask('x')\nflask.celery = Celery('x')\n"
        "@flask.celery.task\ndef ping(x): ...",
        "from celery import current_app as app" + TASK,
        "from celery import current_app\n@current_app.task(bind=True)\ndef ping(self, x): ...",
        "from celery.app import app_or_default\napp = app_or_default()" + TASK,
        "from celery import Celery\ndef add(app: Celery):\n  @app.task\n  def ping(x): ...",
        "from celery import Celery\napp = given or Celery('x')" + TASK,
        "from celery import Celery, Task\nclass Base(Task):\n  abstract = True\nclass Ping(Base):\n  name = 'm.ping'\n"
        "  def run(self, x): ...",
        "from celery import Celery, Task\napp = Celery('x')\nclass Base(Task):\n  def run(self, x): ...\n"
        "  abstract = True\nclass Ping(Base):\n  name = 'm.ping'\nping = app.register_task(Ping())",
    ],
)
def test_follows_each_form_of_application(tmp_path: Path, source: str) -> None:
    found = read(tmp_path, {"m": source})
    assert (names(found), places(found)) == (["celery:m.ping"], [])
    assert [task.parameters for task in found.tasks] == [("x",)]


def test_follows_an_application_through_the_classes_and_functions_of_other_files(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "core/bases": "from celery import Celery as Queue\nclass Service(Queue): ...\n",
            "core/work": "from core.bases import Service\nclass Hub:\n  def __init__(self):\n"
            "    self.jobs = Service()\ndef make():\n  return Service()\n",
            "core/places": "from core.work import Hub, make\nhub = Hub()\nother = make()\n",
            "a": "from core.places import hub\n@hub.jobs.task\ndef one(): ...\n",
            "b": "from core import places\n@places.other.task(name='two')\ndef two(): ...\n",
            "c": "from core.places import hub\njobs = hub.jobs\n@jobs.task\ndef three(): ...\n",
        },
    )
    assert (names(found), places(found)) == (["celery:a.one", "celery:c.three", "celery:two"], [])


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("from company.queue import app" + TASK, ["m:3"]),
        ("from company.queue import Base\napp = Base('x')" + TASK, ["m:4"]),
        ("from company.queue import Base\nclass App(Base): ...\napp = App('x')" + TASK, ["m:5"]),
        ("def add(app):\n  @app.task\n  def ping(x): ...", ["m:3"]),
        ("apps = {}\n@apps['x'].task()\ndef ping(x): ...", ["m:3"]),
        ("from company import broker\n@broker.actor(queue_name='q')\ndef ping(x): ...", ["m:3"]),
        ("from company.queue import app\nclass Ping(app.Task):\n  def run(self, x): ...", ["m:2"]),
        ("from celery import Celery\nfrom elsewhere import Ping\napp = Celery()\napp.register_task(Ping())", ["m:4"]),
        ("from celery import shared_task\nall = [shared_task(f) for f in found()]", ["m:2"]),
        ("import invoke\n@invoke.task\ndef ping(x): ...", []),
        ("import pytest\n@pytest.mark.task\ndef test_ping(): ...", []),
        ("from app import models\nclass Own(models.Task):\n  def run(self): ...", ["m:2"]),
        ("from huey import RedisHuey\nhuey = RedisHuey()\n@huey.task()\ndef ping(x): ...", []),
        ("from procrastinate import App\napp = App()" + TASK, []),
        ("from locust import HttpUser\nclass P:\n  def task(self, f): ...\np = P()\n@p.task\ndef a(): ...", []),
        ("import asyncio\nclass T(asyncio.Task):\n  def run(self): ...", []),
        ("class Own:\n  @staticmethod\n  def task(f): ...\n@Own.task\ndef a(): ...", []),
        (
            "from celery import Celery\napp = Celery()\nclass B:\n  def task(self, f): ...\n"
            "b = B()\n@b.task\ndef a(): ...",
            [],
        ),
        ("class Row:\n  pass\nrow = Row()\nprint(row.task)", []),
    ],
)
def test_lists_what_may_be_a_task_and_leaves_other_libraries_alone(
    tmp_path: Path, source: str, lines: list[str]
) -> None:
    found = read(tmp_path, {"m": source})
    assert (names(found), places(found)) == ([], lines)


def test_a_plain_function_of_the_project_called_task_is_no_task(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"app/registry": "def task(f): return f\n", "m": "from app import registry\n@registry.task\ndef a(): ...\n"},
    )
    assert (names(found), places(found)) == ([], [])


FACTORY = """
import functools
import dramatiq

def job(name, queue="default"):
    def decorate(function):
        return dramatiq.actor(actor_name=name, queue_name=queue)(function)
    return decorate
"""
WRAPPING = """
import functools
import dramatiq

def job(name):
    def decorate(function):
        @dramatiq.actor(actor_name=f"shop.{name}", max_retries=0)
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper
    return decorate
"""


@pytest.mark.parametrize(
    ("decorator", "use", "expected"),
    [
        (FACTORY, "@job('mail.send')\ndef send(to, *, cc=None): ...", "dramatiq:mail.send"),
        (FACTORY, "@job(queue='q', name='mail.send')\ndef send(to, *, cc=None): ...", "dramatiq:mail.send"),
        (FACTORY, "NAME = 'mail.send'\n@job(NAME)\ndef send(to, *, cc=None): ...", "dramatiq:mail.send"),
        (FACTORY, "def f(to, *, cc=None): ...\nsend = job('mail.send')(f)", "dramatiq:mail.send"),
        (FACTORY, "@job(compute())\ndef send(to, *, cc=None): ...", "dramatiq:"),
        (FACTORY, "@job(*given)\ndef send(to, *, cc=None): ...", "dramatiq:"),
        (WRAPPING, "@job('send')\ndef send(to, *, cc=None): ...", "dramatiq:shop.send"),
        (
            "import dramatiq\ndef job(name): return dramatiq.actor(actor_name='x.' + name)",
            "@job('send')\ndef send(to, *, cc=None): ...",
            "dramatiq:x.send",
        ),
        (
            "import dramatiq\ndef job(function):\n"
            "  return dramatiq.actor(function, actor_name=f'x.{function.__name__}')",
            "@job\ndef send(to, *, cc=None): ...",
            "dramatiq:x.send",
        ),
        (
            "import dramatiq\ndef job(**options):\n  options.setdefault('max_retries', 0)\n"
            "  return dramatiq.actor(**options)",
            "@job(actor_name='sent', queue_name='q')\ndef send(to, *, cc=None): ...",
            "dramatiq:sent",
        ),
        (
            "import dramatiq\ndef job(*args, **options):\n  return dramatiq.actor(*args, queue_name='q', **options)",
            "@job\ndef send(to, *, cc=None): ...",
            "dramatiq:send",
        ),
        (
            "from celery import shared_task\ndef job(function=None, *, name=None):\n"
            "  if function is None:\n    return shared_task(name=name, bind=True)\n"
            "  return shared_task(function, name=name, bind=True)",
            "@job\ndef send(self, to, *, cc=None): ...",
            "celery:m.send",
        ),
        (
            "from celery import shared_task\ndef base(name, retries=0): return shared_task(name=name)\n"
            "def job(name): return base('shop.' + name, retries=3)",
            "@job('send')\ndef send(to, *, cc=None): ...",
            "celery:shop.send",
        ),
        (
            "from celery import Celery\nclass Jobs:\n  app = Celery('x')\n  def job(self, name):\n"
            "    return self.app.task(name=name)\njobs = Jobs()\njob = jobs.job",
            "@job('sent')\ndef send(to, *, cc=None): ...",
            "celery:sent",
        ),
    ],
)
def test_the_users_of_a_projects_own_decorator_are_tasks(
    tmp_path: Path, decorator: str, use: str, expected: str
) -> None:
    found = read(tmp_path, {"core/jobs": decorator, "m": f"from core.jobs import job\n{use}\n"})
    assert (names(found), places(found)) == ([expected], [])
    (task,) = found.tasks
    assert (task.path, task.parameters) == ("m.send", ("to", "cc"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # It defines a task of its own; it doesn't make one of what it is given.
        (
            "from celery import shared_task\ndef add(config):\n  @shared_task\n  def ping(): run(config)\n  return 1",
            "m.ping",
        ),
        ("from celery import shared_task\ndef add(f):\n  @shared_task\n  def ping(): return f()\n  return 1", "m.ping"),
    ],
)
def test_a_function_with_a_task_in_it_is_no_decorator(tmp_path: Path, source: str, expected: str) -> None:
    assert names(read(tmp_path, {"m": source})) == [f"celery:{expected}"]


def test_a_wrapper_that_hides_the_functions_name_gives_its_own(tmp_path: Path) -> None:
    source = WRAPPING.replace("        @functools.wraps(function)\n", "").replace('actor_name=f"shop.{name}", ', "")
    found = read(tmp_path, {"core/jobs": source, "m": "from core.jobs import job\n@job('a')\ndef send(to): ...\n"})
    assert names(found) == ["dramatiq:wrapper"]


def test_every_use_of_a_factory_in_a_loop_is_listed(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"core/jobs": FACTORY, "m": "from core.jobs import job\nfor n, f in found():\n    job(n)(f)\n"}
    )
    assert (names(found), places(found)) == ([], ["jobs:5", "m:3"])
