"""What the brokers tell about queues on a real RabbitMQ, and that looking changes nothing but one flag."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rabbit_scene import RabbitScene, amqp_content
from rabbit_server import RabbitServer
from rabbit_workers import dramatiq_worker, until

from migrator.brokers.connect import connect
from migrator.brokers.rabbitmq import browse
from migrator.brokers.rabbitmq.cleanup import remove
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.errors import RefusedError, UnreachableError
from migrator.events import ignore
from migrator.state.journal import open_journal
from migrator.steps.guards import workers
from migrator.steps.protocol import Context, RunOptions
from migrator.wire.message import State, System

pytestmark = pytest.mark.timeout(120)


def test_an_empty_server_has_nothing(rabbit_only: RabbitScene) -> None:
    for name in ("dramatiq", "celery", "unified"):
        broker = rabbit_only.broker(name)
        assert set(broker.depths().values()) == {0}
        assert {state for _, state in broker.depths()} == set(State)
        assert list(broker.scan()) == []
        assert broker.owners() == ()


def test_every_place_is_counted(rabbit_only: RabbitScene, tmp_path: Path) -> None:
    scene = rabbit_only
    scene.send("health_check_task")
    scene.send("health_check_task", delay=600_000)
    scene.apply("health_check_task", countdown=600)
    scene.apply("health_check_task")
    dramatiq, celery = scene.broker("dramatiq"), scene.broker("celery")
    assert dramatiq.depths()["default", State.READY] == 1
    assert dramatiq.depths()["default", State.DELAYED] == 1
    assert celery.depths()["celery", State.READY] == 2
    assert [m.state for m in celery.scan()] == [State.DELAYED, State.READY]
    scene.send("fetch_news_task")
    with dramatiq_worker(scene, tmp_path):
        until(lambda: dramatiq.depths()["default", State.DEAD] == 1)
    (dead,) = [message for message in dramatiq.scan() if message.state is State.DEAD]
    assert dead.task == "fetch_news_task" and dead.raw.startswith(b'{"queue_name":"default"')


def test_what_a_worker_holds_is_seen_with_the_management_plugin(
    rabbit_only: RabbitScene, rabbit: RabbitServer, tmp_path: Path
) -> None:
    scene = rabbit_only
    for _ in range(3):
        scene.send("health_check_task", delay=600_000)
    endpoint = scene.plan.endpoint(System.DRAMATIQ)
    assert endpoint is not None
    seeing = connect(endpoint, {**scene.environ, "RABBITMQ_MANAGEMENT_URL": rabbit.management_url})
    blind = scene.broker("dramatiq")
    with dramatiq_worker(scene, tmp_path) as worker:
        until(lambda: seeing.depths()["default", State.CLAIMED] == 3)
        assert {(owner.delayed, owner.claimed) for owner in seeing.owners()} == {(False, 0), (True, 3)}
        assert "BROKER-UNACKNOWLEDGED" not in {finding.code for finding in seeing.facts().findings}
        assert blind.depths()["default", State.CLAIMED] == 0
        assert [owner.id for owner in blind.owners()] == ["1 consumers", "1 consumers"]
        assert "BROKER-UNACKNOWLEDGED" in {finding.code for finding in blind.facts().findings}
        worker.kill()
        until(lambda: blind.depths()["default", State.DELAYED] == 3)
    assert blind.owners() == ()


def test_a_wrong_management_url_is_said(rabbit_only: RabbitScene) -> None:
    wrong = connect(rabbit_only.plan.unified, {**rabbit_only.environ, "RABBITMQ_MANAGEMENT_URL": "http://127.0.0.1:9"})
    with pytest.raises(UnreachableError, match=r"management plugin.*RABBITMQ_MANAGEMENT_URL"):
        wrong.depths()


def test_looking_keeps_order_content_and_counts(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    sent = [scene.send("fetch_crypto_prices_task", [str(number)]) for number in range(500)]
    before = amqp_content(scene.urls["dramatiq"], "default")
    broker = scene.broker("dramatiq")
    for _ in range(2):
        assert [message.id for message in broker.scan()] == sent
    stopped = broker.scan()
    assert next(iter(stopped)).id == sent[0]
    stopped.close()  # type: ignore[attr-defined]
    assert broker.depths()["default", State.READY] == 500
    assert amqp_content(scene.urls["dramatiq"], "default") == before


def test_a_message_is_shown_whole(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    scene.apply(
        "update_single_asset_task", "BTC", kwargs={"source": "auto"}, priority=4, soft_time_limit=1.5, expires=900
    )
    (message,) = scene.broker("celery").scan()
    assert (message.task, message.args) == ("tasks.celery_tasks.update_single_asset_task", ("BTC",))
    assert (dict(message.kwargs), message.priority, message.attempts) == ({"source": "auto"}, 4, 0)
    assert message.expires_at is not None
    assert b'"timelimit":[null,1.5]' in message.raw


def test_facts_tell_version_and_arguments(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    scene.send("health_check_task")
    scene.apply_unified("tasks.health_check")
    for name, argument in (("dramatiq", "x-dead-letter-routing-key=default.XQ"), ("unified", "x-max-priority=9")):
        facts = scene.broker(name).facts()
        assert facts.server.startswith("rabbitmq 3.") and facts.findings == ()
        assert any(argument in value for value in facts.extra.values())
    assert scene.broker("unified").facts().visibility_timeout_s == 1800
    identities = {scene.broker(name).facts().identity for name in ("dramatiq", "celery", "unified")}
    assert len(identities) == 1


@pytest.mark.parametrize("with_plugin", [False, True])
def test_arguments_are_found_with_and_without_the_plugin(
    rabbit_only: RabbitScene, rabbit: RabbitServer, with_plugin: bool
) -> None:
    scene = rabbit_only
    vhost = scene.urls["dramatiq"].rpartition("/")[2]
    rabbit.manage("DELETE", f"queues/{vhost}/unified")
    rabbit.manage("PUT", f"queues/{vhost}/unified", {"durable": True, "arguments": {"x-max-priority": 5}})
    rabbit.manage("PUT", f"queues/{vhost}/default", {"durable": True, "arguments": {"x-message-ttl": 60000}})
    environ = {**scene.environ, **({"RABBITMQ_MANAGEMENT_URL": rabbit.management_url} if with_plugin else {})}
    facts = connect(scene.plan.unified, environ).facts()
    assert facts.findings == (), "whether its app declares it so is asked of the app"
    assert any("x-max-priority=5" in value for value in facts.extra.values())
    legacy = scene.plan.endpoint(System.DRAMATIQ)
    assert legacy is not None
    facts = connect(legacy, environ).facts()
    assert [finding.code for finding in facts.findings] == ["BROKER-QUEUE-ARGUMENTS", "BROKER-QUEUE-DROPS"]


def test_no_server_is_said(rabbit_only: RabbitScene) -> None:
    environ = {**rabbit_only.environ, "UNIFIED_BROKER_URL": "amqp://user:secret@127.0.0.1:9/"}
    with pytest.raises(UnreachableError, match="can't be reached") as caught:
        connect(rabbit_only.plan.unified, environ).depths()
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_said(rabbit_only: RabbitScene) -> None:
    url = rabbit_only.urls["unified"].replace("guest:guest", "guest:secret")
    with pytest.raises(UnreachableError, match="refuses access") as caught:
        connect(rabbit_only.plan.unified, {**rabbit_only.environ, "UNIFIED_BROKER_URL": url}).depths()
    assert "secret" not in str(caught.value)


def test_a_dramatiq_worker_that_the_plan_does_not_know_is_refused(rabbit_only: RabbitScene, tmp_path: Path) -> None:
    scene = rabbit_only
    plan = replace(scene.plan, processes=())
    context = Context(
        plan=plan,
        environ=scene.environ,
        journal=open_journal(plan),
        run=1,
        options=RunOptions(),
        listener=ignore,
    )
    scene.send("health_check_task", delay=600_000)
    assert "WORKER-UNKNOWN" not in {finding.code for finding in workers.guard(context).findings}

    def unknown() -> set[str]:
        return {finding.where for finding in workers.guard(context).findings if finding.code == "WORKER-UNKNOWN"}

    with dramatiq_worker(scene, tmp_path):
        until(lambda: unknown() == {"dramatiq queue default", "dramatiq queue default.DQ"})


def test_what_only_a_rollback_needs_is_removed(rabbit_only: RabbitScene, rabbit: RabbitServer) -> None:
    scene = rabbit_only
    vhost = scene.urls["unified"].rpartition("/")[2]

    def queues() -> set[str]:
        return {queue["name"] for queue in rabbit.manage("GET", f"queues/{vhost}")}

    endpoints = (*scene.plan.legacy, scene.plan.unified)
    server = RabbitmqServer(scene.urls["unified"])
    scene.send("health_check_task")
    scene.apply("debug_task")
    with pytest.raises(RefusedError, match="in use"):
        remove(server, endpoints[0])
    assert scene.forward().quarantined == 1
    assert "tqm.kept.legacy.celery.celery" in queues()
    for endpoint in endpoints:
        remove(server, endpoint)
        remove(server, endpoint)
    assert queues() == {"unified"}
    assert scene.broker("unified").depths()["unified", State.READY] == 1


def test_a_slow_server_is_read_to_the_end(
    rabbit_only: RabbitScene, rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that ends where the server pauses would lack messages."""
    ids = [rabbit_only.send("fetch_crypto_prices_task", ["C" * 200_000]) for _ in range(150)]
    monkeypatch.setattr(browse, "_WAIT_S", 0.05)
    messages = rabbit_only.broker("dramatiq").scan()
    found = [next(messages).id]
    os.kill(rabbit.pid, signal.SIGSTOP)
    going_on = threading.Timer(1.0, os.kill, (rabbit.pid, signal.SIGCONT))
    going_on.start()
    found += [message.id for message in messages]
    going_on.join()
    assert found == ids
