"""Actors that become Celery tasks where they stand, with the policy that they really had."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_shapes import Shape, shapes_of
from in_place import BROKER, make_in_place

from codemods.report import Mode
from codemods.runner import rewrite

IMPORT = "from celery import shared_task\n\n\n"
DEFAULT = (
    "autoretry_for=(Exception,), max_retries=20, retry_backoff=15, retry_backoff_max=604800, retry_jitter=False, "
    "soft_time_limit=600, time_limit=660, acks_late=True, reject_on_worker_lost=True, ignore_result=True"
)


def convert(folder: Path, source: str, broker: str = BROKER) -> tuple[str, list[str]]:
    plan = make_in_place(folder, {"work": ["x"]}, {"jobs.py": source, "broker.py": broker})
    report = rewrite(plan)
    again = rewrite(plan, mode=Mode.CHECK)
    assert not again.changed
    text = (folder / "jobs.py").read_text()
    compile(text, "jobs.py", "exec")
    return text, [f"{finding.code}" for finding in report.findings if finding.where.startswith("jobs.py")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "import dramatiq\n\n\n@dramatiq.actor\ndef work(x):\n    return x\n",
            f'{IMPORT}@shared_task(name="jobs.work", {DEFAULT})\ndef work(x):\n    return x\n',
        ),
        (
            "from dramatiq import actor\n\n\n@actor()\ndef work(x): ...\n",
            f'{IMPORT}@shared_task(name="jobs.work", {DEFAULT})\ndef work(x): ...\n',
        ),
        (
            "from dramatiq import actor as act\n\n\n@other\n@act(queue_name='default')\ndef work(x): ...\n",
            f'{IMPORT}@other\n@shared_task(name="jobs.work", {DEFAULT})\ndef work(x): ...\n',
        ),
        (
            "import dramatiq as d\n\n\n@d.actor(queue_name='slow', max_retries=3, min_backoff=5000, "
            "max_backoff=60 * 1000)\ndef work(x): ...\n",
            f'{IMPORT}@shared_task(name="jobs.work", queue="slow", '
            "autoretry_for=(Exception,), max_retries=3, retry_backoff=5, retry_backoff_max=60, retry_jitter=False, "
            "soft_time_limit=600, time_limit=660, "
            "acks_late=True, reject_on_worker_lost=True, ignore_result=True)\ndef work(x): ...\n",
        ),
        (
            "import dramatiq\n\n\n@dramatiq.actor(max_retries=0, time_limit=30_000, max_age=3_600_000, "
            "store_results=True)\ndef work(x): ...\n",
            f'{IMPORT}@shared_task(name="jobs.work", max_retries=0, soft_time_limit=30, '
            "time_limit=90, expires=3600, "
            "acks_late=True, reject_on_worker_lost=True, ignore_result=False)\ndef work(x): ...\n",
        ),
        (
            "import dramatiq\n\n\n@dramatiq.actor(throws=ValueError, max_retries=None)\ndef work(x): ...\n",
            f'{IMPORT}@shared_task(name="jobs.work", autoretry_for=(Exception,), '
            "dont_autoretry_for=(ValueError,), max_retries=None, retry_backoff=15, retry_backoff_max=604800, "
            "retry_jitter=False, soft_time_limit=600, time_limit=660, "
            "acks_late=True, reject_on_worker_lost=True, ignore_result=True)\ndef work(x): ...\n",
        ),
        (
            "import dramatiq\n\n\n@dramatiq.actor\nasync def work(x): ...\n",
            "from asgiref.sync import async_to_sync\nfrom celery import shared_task\n"
            "from functools import wraps\n\n\n"
            "def run_to_its_end(function):\n    # Celery runs plain functions only.\n    @wraps(function)\n"
            "    def call(*args, **kwargs):\n        return async_to_sync(function)(*args, **kwargs)\n\n"
            "    return call\n\n\n"
            f'@shared_task(name="jobs.work", {DEFAULT})\n@run_to_its_end\nasync def work(x): ...\n',
        ),
    ],
)
def test_each_form_of_actor(tmp_path: Path, source: str, expected: str) -> None:
    assert convert(tmp_path, source) == (expected, [])


@pytest.mark.parametrize(
    ("broker", "policy"),
    [
        (
            "from dramatiq.brokers.redis import RedisBroker\nfrom dramatiq.middleware import Retries\n"
            "RedisBroker(middleware=[Retries(max_retries=3, min_backoff=1000 * 60)])\n",
            "autoretry_for=(Exception,), max_retries=3, retry_backoff=60, retry_backoff_max=604800, "
            "retry_jitter=False, acks_late=True, reject_on_worker_lost=True, ignore_result=True",
        ),
        (
            "from dramatiq.brokers.redis import RedisBroker\nfrom dramatiq.middleware import TimeLimit\n"
            "b = RedisBroker(middleware=[])\nb.add_middleware(TimeLimit(time_limit=30 * 60 * 1000))\n",
            "max_retries=0, soft_time_limit=1800, time_limit=1860, "
            "acks_late=True, reject_on_worker_lost=True, ignore_result=True",
        ),
        (
            "DRAMATIQ_BROKER = {'MIDDLEWARE': ['dramatiq.middleware.Retries', 'x.DbConnections']}\n",
            "autoretry_for=(Exception,), max_retries=20, retry_backoff=15, retry_backoff_max=604800, "
            "retry_jitter=False, acks_late=True, reject_on_worker_lost=True, ignore_result=True",
        ),
    ],
)
def test_the_configured_middleware_decides(tmp_path: Path, broker: str, policy: str) -> None:
    text, _ = convert(tmp_path, "import dramatiq\n\n\n@dramatiq.actor\ndef work(x): ...\n", broker)
    assert f'@shared_task(name="jobs.work", {policy})' in text


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("import dramatiq\n@dramatiq.actor(on_success=told)\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(on_failure='x')\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(priority=N)\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(store_results=F)\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(queue_name=NAME)\ndef work(x): ...\n", ["DRAMATIQ-USE", "QUEUE-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(queue_name='other')\ndef work(x): ...\n", ["DRAMATIQ-USE", "QUEUE-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(max_retries=N)\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\n@dramatiq.actor(**options)\ndef work(x): ...\n", ["DRAMATIQ-USE", "OPTIONS-UNPACKED"]),
        ("import dramatiq\n@dramatiq.actor(min_backoff=100)\ndef work(x): ...\n", ["DRAMATIQ-USE", "ACTOR-OPTION"]),
        ("import dramatiq\nfrom lib import f\nwork = dramatiq.actor(f)\n", ["DRAMATIQ-USE"]),
        ("from dramatiq import actor\ndef f(x): ...\nwork = actor(fn=f)\n", ["DRAMATIQ-USE"]),
        ("from kit import part, actor\nfast = part(actor)\n@fast\ndef work(x): ...\n", []),
        ("def actor(f): return f\n@actor\ndef work(x): ...\n", []),
        ("import dramatiq\n@dramatiq.actor\ndef other(x): ...\n", ["DRAMATIQ-USE"]),
    ],
)
def test_leaves_alone_what_has_no_equal(tmp_path: Path, source: str, codes: list[str]) -> None:
    text, found = convert(tmp_path, source)
    assert text == source
    assert set(codes) <= set(found)


@pytest.mark.parametrize(
    "broker",
    [
        "",
        "from dramatiq.brokers.redis import RedisBroker\nRedisBroker(middleware=make())\n",
        "from dramatiq.brokers.redis import RedisBroker\nfrom dramatiq.middleware import Retries\n"
        "RedisBroker(middleware=[Retries(max_retries=env())])\n",
        "from dramatiq.brokers.redis import RedisBroker\nRedisBroker()\nRedisBroker(middleware=[])\n",
    ],
)
def test_an_unknown_policy_leaves_the_actor(tmp_path: Path, broker: str) -> None:
    source = "import dramatiq\n@dramatiq.actor\ndef work(x): ...\n"
    text, found = convert(tmp_path, source, broker)
    assert text == source
    assert "ACTOR-OPTION" in found


def test_callers_of_a_converted_actor(tmp_path: Path) -> None:
    files = {
        "jobs.py": "import dramatiq\n@dramatiq.actor\ndef work(x): ...\n",
        "caller.py": "from jobs import work\nwork.send(1)\nwork.send_with_options(args=(1,), delay=1000)\nwork(1)\n",
    }
    plan = make_in_place(tmp_path, {"work": ["x"]}, files)
    rewrite(plan)
    expected = "from jobs import work\nwork.delay(1)\nwork.apply_async(args=(1,), countdown=1)\nwork(1)\n"
    assert (tmp_path / "caller.py").read_text() == expected
    again = rewrite(plan, mode=Mode.CHECK)
    assert not again.changed
    assert [finding for finding in again.findings if finding.where.startswith("caller.py")] == []


@pytest.mark.parametrize("shape", shapes_of("definitions"))
def test_shape(tmp_path: Path, shape: Shape) -> None:
    shape.check(tmp_path)
