"""Waiting messages bind to the unified tasks or are listed; none is taken, and an unread broker is reported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path

import dramatiq
import pytest
import redis
from celery import Celery
from dramatiq.brokers.redis import RedisBroker
from shop_project import RESTOCK, RESTOCK_ACTOR, be_patient, complete, copy_shop, restock_case

from checks.runner import ParityOptions, parity_check
from checks.waiting_messages import read_waiting
from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

NAMES = Parameter("names", Parameter.POSITIONAL_OR_KEYWORD)
AMOUNT = Parameter("amount", Parameter.KEYWORD_ONLY, default=1)
RESTOCK_NOW, NO_AMOUNT = Signature([NAMES, AMOUNT]), Signature([NAMES])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with embedded_server(folder=tmp_path_factory.mktemp("waiting")) as running:
        app = Celery(broker=running.url(), set_as_current=False)
        app.send_task(RESTOCK, ("apple",), {"amount": 3})
        app.send_task(RESTOCK, ("plum",), countdown=3600)
        app.send_task(RESTOCK, (), {"colour": "red"}, task_id="red")
        app.send_task("jobs.old_celery.forget")
        broker = RedisBroker(url=running.url())
        for delay in (None, 3_600_000):
            about = {
                "queue_name": "default",
                "actor_name": RESTOCK_ACTOR,
                "args": ("nut",),
                "kwargs": {},
                "options": {},
            }
            broker.declare_queue("default")
            broker.enqueue(dramatiq.Message(**about), delay=delay)
        broker.close()
        yield running


def contents(server: EmbeddedServer) -> dict[bytes, bytes]:
    with redis.Redis.from_url(server.url()) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


def test_every_waiting_message_is_bound(tmp_path: Path, server: EmbeddedServer) -> None:
    before = contents(server)
    waiting = read_waiting(copy_shop(tmp_path), {"SHOP_BROKER_URL": server.url()})
    assert contents(server) == before
    assert waiting.counts == {("celery", RESTOCK): 3, ("dramatiq", RESTOCK_ACTOR): 2}
    (unfit,) = waiting.unbound("celery", RESTOCK, RESTOCK_NOW)
    assert unfit.startswith("waiting message red: ")
    assert waiting.unbound("dramatiq", RESTOCK_ACTOR, RESTOCK_NOW) == []
    found = waiting.unbound("celery", RESTOCK, NO_AMOUNT)
    assert len(found) == 2 and "unexpected keyword argument 'amount'" in found[1]


def test_a_broker_that_is_not_read_is_reported(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    waiting = read_waiting(plan, {"SHOP_BROKER_URL": "redis://127.0.0.1:1/0"})
    assert len(waiting.summary) == 2 and all("were not read" in line for line in waiting.summary)
    (line, _) = read_waiting(plan, {"SHOP_BROKER_URL": "amqp://127.0.0.1:1"}).summary
    assert "only read on request" in line


@pytest.mark.acceptance
def test_a_waiting_call_that_does_not_fit_is_a_difference(tmp_path: Path, server: EmbeddedServer) -> None:
    plan: Plan = copy_shop(tmp_path)
    be_patient(plan)
    complete(plan)
    restock_case(plan, "same", "same")
    environ = {**os.environ, "SHOP_BROKER_URL": server.url()}
    report = parity_check(load_plan(plan.file), environ=environ, options=ParityOptions(noise=False, waiting=True))
    (found,) = [item for item in report.mismatches if item.path == "signature.calls that don't bind"]
    assert found.case == f"signature:{RESTOCK}" and "waiting message red" in found.unified[0]
    assert report.facts["waiting"][0] == "dramatiq: 2 waiting messages were bound to the unified tasks' signatures"
