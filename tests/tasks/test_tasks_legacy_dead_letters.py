"""Dramatiq's own dead letters become rows of the unified app, on either broker."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import amqp
import dramatiq
import pytest
import redis
from rabbit_server import RabbitServer
from tasks_host import Host

from migrator.brokers.connect import connect
from migrator.plan.loader import load_plan
from migrator.transfer.dead_letters import delete_dead_letters, export_dead_letters
from migrator.wire.message import State, System

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(170), pytest.mark.xdist_group("rabbitmq-runs")]

PLAN = Path(__file__).resolve().parents[2] / "fixtures" / "legacy_project" / "migration.toml"
TRACEBACK = "Traceback (most recent call last):\n  File x\nValueError: no such symbol"


def letters() -> list[bytes]:
    """Return three dead letters: one that the plan translates, one that it retires, one that is not a message."""

    def message(actor: str, *args: Any, **options: Any) -> bytes:
        sent: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="default", actor_name=actor, args=args, kwargs={}, options=options, message_timestamp=1_000
        )
        return sent.encode()

    return [
        message("fetch_stock_prices_task", ["A"], 3, retries=4, traceback=TRACEBACK, max_age=5),
        message("cleanup_old_cache_task", 24),
        b"\x80\xff",
    ]


def on_redis(url: str, bodies: list[bytes]) -> None:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        for number, body in enumerate(bodies):
            client.zadd("dramatiq:default.XQ", {f"copy {number}": time.time() * 1000})
            client.hset("dramatiq:default.XQ.msgs", f"copy {number}", body)


def on_rabbitmq(rabbit: RabbitServer, bodies: list[bytes]) -> None:
    with amqp.Connection(host=f"127.0.0.1:{rabbit.port}", login_method="PLAIN") as connection:
        channel = connection.channel()
        channel.queue_declare(queue="default.XQ", durable=True, auto_delete=False)
        channel.tx_select()
        for body in bodies:
            channel.basic_publish(amqp.Message(body), routing_key="default.XQ")
        channel.tx_commit()


@pytest.mark.parametrize("server", ["redis", "rabbitmq"])
def test_dead_letters_are_imported_once(host: Host, rabbit: RabbitServer, server: str, tmp_path: Path) -> None:
    plan, bodies = load_plan(PLAN), letters()
    url = rabbit.url() if server == "rabbitmq" else host.broker_url
    environ = {"DRAMATIQ_BROKER_URL": url, "CELERY_BROKER_URL": host.broker_url}
    put = (lambda some: on_rabbitmq(rabbit, some)) if server == "rabbitmq" else (lambda some: on_redis(url, some))
    put(bodies)
    exported = export_dead_letters(plan, environ=environ, file=tmp_path / "letters.json")
    endpoint = plan.endpoint(System.DRAMATIQ)
    assert endpoint is not None
    legacy = connect(endpoint, environ)
    assert (len(exported.messages), legacy.depths()["default", State.DEAD]) == (3, 3)
    imports = ("manage.py", "taskfailures", "--format", "json", "import", str(exported.file))
    for counts in ((3, 0), (0, 3)):
        answer = json.loads(host.run(*imports))
        assert (answer["imported"], answer["already_known"], answer["errors"]) == (*counts, [])
    rows = {row["task_name"]: row for row in host.failures()}
    assert set(rows) == {"tasks.fetch_stock_prices", "cleanup_old_cache_task", "unreadable"}
    stock = rows["tasks.fetch_stock_prices"]
    assert (json.loads(stock["kwargs"]), stock["attempts"]) == ({"symbols": ["A"], "limit": 3}, 5)
    assert (stock["exception"], stock["traceback"]) == ("ValueError: no such symbol", TRACEBACK)
    assert [rows[name]["replayable"] for name in rows] == [name.startswith("tasks.") for name in rows]
    # One that arrived in between was not exported, so it stays.
    put([letters()[0]] if server == "rabbitmq" else [])
    assert delete_dead_letters(plan, exported.messages, environ=environ) == 3
    assert delete_dead_letters(plan, exported.messages, environ=environ) == 0
    assert legacy.depths()["default", State.DEAD] == (1 if server == "rabbitmq" else 0)
    host.run("manage.py", "taskfailures", "retry", str(stock["id"]))
    (sent,) = host.queued()
    assert sent["headers"]["task"] == "tasks.fetch_stock_prices"
    legacy.close()
