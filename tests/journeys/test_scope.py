"""A plan for some modules of a project: whatever belongs to the tasks of the others stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.journeys.small_projects import MANAGE, Project, make_project

#: Two apps of actors and Celery tasks that call each other; `orders` is to be moved.
SHOP = {
    "manage.py": MANAGE.format(settings="shop.settings"),
    "shop/__init__.py": "from .celery import app as celery_app\n",
    "shop/celery.py": """\
from celery import Celery

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "shop/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = [
    "django_dramatiq",
    "orders",
    "reports",
]
REDIS = os.environ.get("SHOP_REDIS", "redis://127.0.0.1:6379/0")
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": REDIS},
    "MIDDLEWARE": ["dramatiq.middleware.AgeLimit", "dramatiq.middleware.TimeLimit", "dramatiq.middleware.Retries"],
}
CELERY_BROKER_URL = REDIS
CELERY_BEAT_SCHEDULE = {
    # the accountants wait for it
    "nightly": {"task": "reports.tasks.nightly", "schedule": 3600.0},
}
""",
    "orders/__init__.py": "",
    "orders/tasks.py": """\
import dramatiq

from reports.tasks import render


@dramatiq.actor(queue_name="orders", max_retries=3)
def confirm(order_id):
    notify.send(order_id)
    render.send(order_id)


@dramatiq.actor(queue_name="orders")
def notify(order_id):
    return order_id
""",
    "orders/views.py": """\
from orders.tasks import confirm
from reports import render
from reports.tasks import nightly


def buy(request):
    confirm.send(1)
    render.send_with_options(args=(2,), delay=500)
    nightly.delay()
""",
    "orders/tests.py": """\
from unittest import mock

from orders.views import buy


def test_buy():
    with mock.patch("orders.views.confirm.send") as sent, mock.patch("reports.tasks.render.send_with_options"):
        buy(None)
    sent.assert_called_once_with(1)
""",
    "reports/__init__.py": "from .tasks import render\n",
    "reports/tasks.py": """\
import dramatiq
from celery import shared_task
from dramatiq.errors import Retry
from dramatiq.middleware import CurrentMessage


@dramatiq.actor(queue_name="reports", max_age=3_600_000)
def render(report_id):
    message = CurrentMessage.get_current_message()
    if message.options.get("retries", 0) > 3:
        raise Retry(delay=1000)
    mail.send_with_options(args=(report_id,), delay=1000)


@dramatiq.actor(queue_name="reports")
def mail(report_id):
    dramatiq.group([render.message(report_id)]).run()


@shared_task
def nightly():
    render.send(1)
""",
    "Procfile": """\
web: gunicorn shop.wsgi
worker: python manage.py rundramatiq --processes 2
celery: celery -A shop worker
""",
    ".gitignore": ".migrator/\n__pycache__/\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """The project, with a plan for `orders` in place."""
    project = make_project(tmp_path, SHOP)
    drafted = project.migrator("init", "--in-place", "--module", "orders")
    assert drafted.returncode == 0, drafted.stderr
    plan = tmp_path / "migration.toml"
    text = plan.read_text(encoding="utf-8").replace('queues = ["default"]', 'queues = ["orders"]')
    plan.write_text("\n".join(line.partition(" # DECIDE")[0] for line in text.splitlines()) + "\n", encoding="utf-8")
    project.commit()
    return project


def test_the_draft_has_the_tasks_of_the_modules_that_were_named(tmp_path: Path) -> None:
    project = make_project(tmp_path, SHOP)
    done = project.migrator("init", "--in-place", "--module", "orders", "--format", "json")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "migration.toml").read_text(encoding="utf-8")
    assert 'modules = ["orders.*"]' in text
    assert "reports" not in text
    answer = json.loads(done.stdout)
    assert answer["tasks"] == 2
    assert answer["stays"] == ["celery:reports.tasks.nightly", "dramatiq:mail", "dramatiq:render"]
    assert answer["stays_schedule"] == ["shop.settings:nightly"]


def test_a_module_without_tasks_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path, SHOP)
    done = project.migrator("init", "--module", "order")
    assert done.returncode == 2
    assert "--module order: no legacy task is in such a module" in done.stderr
    assert not (tmp_path / "migration.toml").exists()


def test_what_stays_is_told(shop: Project) -> None:
    for command in ("inspect", "status"):
        answer = json.loads(shop.migrator(command, "--format", "json").stdout)
        assert answer["stays"] == ["celery:reports.tasks.nightly", "dramatiq:mail", "dramatiq:render"], command
    assert "3 tasks and 1 schedule entries stay: outside of the plan's scope" in shop.migrator("inspect").stdout


def test_the_rewrite_touches_and_names_nothing_of_tasks_that_stay(shop: Project) -> None:
    done = shop.migrator("rewrite-imports", "--format", "json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["findings"]) == (0, [])
    changed = [line.split()[-1] for line in shop.changed().splitlines()]
    assert changed == ["orders/tasks.py", "orders/tests.py", "orders/views.py", "shop/settings.py"]
    views = (shop.folder / "orders/views.py").read_text(encoding="utf-8")
    assert "confirm.delay(1)" in views
    assert "render.send_with_options(args=(2,), delay=500)" in views
    tests = (shop.folder / "orders/tests.py").read_text(encoding="utf-8")
    assert '"orders.views.confirm.delay"' in tests
    assert '"reports.tasks.render.send_with_options"' in tests
    again = shop.migrator("rewrite-imports", "--check")
    assert again.returncode == 0, again.stdout


def test_nothing_global_changes_in_the_settings(shop: Project) -> None:
    before = (shop.folder / "shop/settings.py").read_text(encoding="utf-8")
    shop.migrator("rewrite-imports")
    after = (shop.folder / "shop/settings.py").read_text(encoding="utf-8")
    assert after.startswith(before)
    added = after.removeprefix(before)
    assert "DEFAULT_QUEUE" not in added
    routes: dict[str, object] = {}
    exec(added, routes)  # the settings that the rewrite wrote
    own = {"queue": "orders"}
    assert routes["CELERY_TASK_ROUTES"] == {"orders.tasks.confirm": own, "orders.tasks.notify": own}


def test_routes_that_are_there_are_completed(shop: Project) -> None:
    settings = shop.folder / "shop/settings.py"
    given = 'CELERY_TASK_ROUTES = {"reports.tasks.nightly": {"queue": "slow"}}\n'
    settings.write_text(settings.read_text(encoding="utf-8") + given, encoding="utf-8")
    shop.commit()
    done = shop.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout
    routes: dict[str, dict[str, dict[str, str]]] = {}
    exec(settings.read_text(encoding="utf-8"), routes)  # the settings that the rewrite wrote
    assert {name: route["queue"] for name, route in routes["CELERY_TASK_ROUTES"].items()} == {
        "orders.tasks.confirm": "orders",
        "orders.tasks.notify": "orders",
        "reports.tasks.nightly": "slow",
    }
    assert shop.migrator("rewrite-imports", "--check").returncode == 0


def test_a_send_that_may_be_of_a_task_of_the_scope_is_listed(shop: Project) -> None:
    views = shop.folder / "orders/views.py"
    more = """

        def late(actor):
            actor.send_with_options(args=(1,), delay=10)


        def every(request):
            for actor in (confirm, render):
                actor.send(1)
    """
    views.write_text(views.read_text(encoding="utf-8") + dedent(more), encoding="utf-8")
    shop.commit()
    done = shop.migrator("rewrite-imports", "--format", "json")
    codes = {finding["code"] for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert "UNRESOLVED-RECEIVER" in codes
    assert codes & {"AMBIGUOUS", "ESCAPES", "LINKED"}
    assert "actor.send(1)" in views.read_text(encoding="utf-8")


def test_a_helper_without_actors_of_its_own_is_listed(shop: Project) -> None:
    helper = "from dramatiq.middleware import CurrentMessage\n\n\ndef attempt():\n"
    helper += "    return CurrentMessage.get_current_message().options\n"
    (shop.folder / "shop/attempts.py").write_text(helper, encoding="utf-8")
    shop.commit()
    found = json.loads(shop.migrator("rewrite-imports", "--format", "json").stdout)["findings"]
    assert [finding["code"] for finding in found] == ["CURRENT-MESSAGE"]


def test_a_task_outside_of_the_scope_is_refused_with_its_line(shop: Project) -> None:
    plan = shop.folder / "migration.toml"
    retired = '\n[[retired]]\nsystem = "dramatiq"\nname = "render"\npath = "reports.tasks.render"\nreason = "none"\n'
    text = plan.read_text(encoding="utf-8") + retired
    plan.write_text(text, encoding="utf-8")
    done = shop.migrator("rewrite-imports", "--check")
    line = text.splitlines().index('path = "reports.tasks.render"') + 1
    assert done.returncode == 2
    assert f"retired dramatiq:render, line {line}: is outside of the plan's scope" in done.stderr


def test_without_a_scope_every_task_has_to_be_in_the_plan(shop: Project) -> None:
    plan = shop.folder / "migration.toml"
    text = plan.read_text(encoding="utf-8").replace('[scope]\nmodules = ["orders.*"]\n', "")
    plan.write_text(text, encoding="utf-8")
    done = shop.migrator("rewrite-imports", "--check")
    assert done.returncode == 2
    assert "the dramatiq task render is not in the plan" in done.stderr


def test_a_pattern_that_means_nothing_and_a_shared_file_are_refused(shop: Project) -> None:
    plan = shop.folder / "migration.toml"
    text = plan.read_text(encoding="utf-8").replace('["orders.*"]', '["orders.*", "order.*"]')
    plan.write_text(text.replace("[scope]", 'retire = ["reports/tasks.py"]\n\n[scope]'), encoding="utf-8")
    done = shop.migrator("rewrite-imports", "--check")
    assert done.returncode == 2
    assert "PLAN-SCOPE" in done.stderr
    assert "PLAN-RETIRE-STAYS" in done.stderr
    assert "reports/tasks.py defines a task that stays" in done.stderr


def test_an_entry_of_the_scope_has_to_be_in_the_plan(shop: Project) -> None:
    settings = shop.folder / "shop/settings.py"
    text = settings.read_text(encoding="utf-8").replace("# the accountants", '"hourly": {"task": "x.y"},\n    # the')
    settings.write_text(text, encoding="utf-8")
    (shop.folder / "orders/tasks.py").write_text(
        (shop.folder / "orders/tasks.py").read_text(encoding="utf-8")
        + "\n\nfrom shop.celery import app\n\n\n@app.task(name='x.y')\ndef hourly():\n    pass\n",
        encoding="utf-8",
    )
    done = shop.migrator("rewrite-imports", "--check")
    assert done.returncode == 2
    assert "schedule entry shop.settings:hourly is not in the plan" in done.stderr
    assert "shop.settings:nightly" not in done.stderr


def test_a_task_is_known_by_the_module_that_imports_it_too(tmp_path: Path) -> None:
    """A test patches it there, and that module's own tasks are converted where they stand."""
    letter = "import dramatiq\n\n\n@dramatiq.actor(queue_name='orders')\ndef letter(order_id):\n    return order_id\n"
    tests = """
        from unittest import mock

        from orders.tasks import confirm


        @mock.patch("orders.tasks.letter.send")
        @mock.patch("orders.tasks.render.send")
        def test_confirm(rendered, sent):
            confirm(1)
            sent.assert_called_once_with(1)
    """
    tasks = SHOP["orders/tasks.py"].replace("notify.send", "letter.send")
    tasks = tasks.replace("import dramatiq\n", "import dramatiq\n\nfrom orders.letters import letter\n", 1)
    files = {"orders/letters.py": letter, "orders/tasks.py": tasks}
    project = make_project(tmp_path, {**SHOP, **files, "orders/tests.py": dedent(tests)})
    assert project.migrator("init", "--module", "orders").returncode == 0
    plan = tmp_path / "migration.toml"
    plan.write_text(plan.read_text(encoding="utf-8").replace('["default"]', '["orders"]'), encoding="utf-8")
    done = project.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout + done.stderr
    after = (tmp_path / "orders/tests.py").read_text(encoding="utf-8")
    assert '"orders.tasks.letter.delay"' in after
    assert '"orders.tasks.render.send"' in after
