"""Messages carried over RabbitMQ, in four constellations: forward, back, and none left on the way."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import amqp
import amqp.transport
import pytest
import redis
from rabbit_fuzz import put_mangled, whole
from rabbit_kills import as_counter
from rabbit_proxy import tcp_proxy
from rabbit_scene import RabbitScene, amqp_content, fill, mixed
from rabbit_server import RabbitServer
from rabbit_workers import dramatiq_worker, until

from migrator.brokers.rabbitmq import server
from migrator.brokers.rabbitmq.queues import LOCK
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.redis import keys
from migrator.errors import RefusedError, UnreachableError
from migrator.events import Event, EventKind, ignore
from migrator.transfer import connections
from migrator.transfer.options import TransferOptions
from migrator.transfer.rabbitmq import session
from migrator.transfer.throttle import Limit
from migrator.transfer.transfer import transfer
from migrator.wire.message import State

pytestmark = pytest.mark.timeout(900 if os.environ.get("RABBITMQ_LONG") else 120)
LONG = os.environ.get("RABBITMQ_LONG") == "1"


def test_there_and_back_gives_the_same_bytes(any_scene: RabbitScene, rabbit: RabbitServer) -> None:
    scene = any_scene
    ids = mixed(scene, 150)
    before = scene.legacy()
    assert sum(len(content) for content in before.values()) == 150
    out = scene.forward()
    assert (out.moved, out.quarantined, out.balance) == (150, 0, 0)
    assert not any(scene.legacy().values())
    assert scene.ids() == {("unified", identity): 1 for identity in ids}
    assert len(scene.unified_calls()) == 150
    back = scene.back()
    assert (back.moved, back.quarantined, back.balance) == (150, 0, 0), back.quarantined_messages[:3]
    assert as_counter(scene.legacy()) == as_counter(before)
    assert scene.forward().moved == 150
    assert scene.back().moved == 150
    assert scene.own_queues(rabbit) == []


def test_running_twice_does_nothing(any_scene: RabbitScene) -> None:
    mixed(any_scene, 40)
    any_scene.forward()
    ids = any_scene.ids()
    report = any_scene.forward()
    assert (report.seen, report.moved, report.balance) == (0, 0, 0)
    assert any_scene.ids() == ids


def test_order_and_priorities(any_scene: RabbitScene) -> None:
    """HIGH before LOW by the numbers of the server that has the unified queue, and first come, first served."""
    scene = any_scene
    low = scene.apply("cleanup_old_data_task", 30)
    high = [scene.apply("fetch_yahoo_stocks_task", [f"Y{number}"]) for number in range(60)]
    medium = [scene.send("fetch_stock_prices_task", [f"S{number}"]) for number in range(60)]
    scene.forward(batch_size=25)
    assert [message.headers["id"] for message in scene.unified_messages()] == [*high, *medium, low]


def test_arguments_times_and_attempts(any_scene: RabbitScene) -> None:
    scene = any_scene
    later = scene.send("fetch_stock_prices_task", delay=90_000, options={"retries": 2}, symbols=["A"], count=3)
    limited = scene.apply("calculate_indicators_task", "MSFT", 50, soft_time_limit=2.5, countdown=60)
    big = scene.apply("update_single_asset_task", "B", expires=9000)
    started = time.time()
    report = scene.forward()
    assert (report.moved, report.quarantined) == (3, 0)
    assert scene.unified_calls() == {
        later: ("tasks.fetch_stock_prices", [], {"symbols": ["A"], "limit": 3}),
        limited: ("tasks.calculate_indicators", [], {"symbols": ["MSFT"], "period": 50}),
        big: ("tasks.update_single_asset", ["B"], {}),
    }
    headers = {message.headers["id"]: message.headers for message in scene.unified_messages()}
    assert headers[later]["retries"] == 2
    assert list(headers[limited]["timelimit"]) == [None, 2.5]
    eta = {message.id: message.eta_at for message in scene.broker("unified").scan()}
    assert abs(eta[later].timestamp() - started - 90) < 5 and abs(eta[limited].timestamp() - started - 60) < 5


def test_what_has_no_successor_is_kept_and_comes_back(any_scene: RabbitScene) -> None:
    scene = any_scene
    retired = scene.apply("debug_task")
    unknown = scene.send("nobody_knows_this")
    scene.send("health_check_task")
    before = scene.legacy()
    report = scene.forward()
    assert (report.moved, report.quarantined) == (1, 2)
    assert dict(report.reasons) == {"retired-task": 1, "unknown-task": 1}
    assert {identity for (address, identity), _ in scene.ids().items() if address == "kept"} == {retired, unknown}
    assert report.left == {"celery:celery quarantined": 1, "dramatiq:default quarantined": 1}
    again = scene.forward()
    assert (again.seen, again.quarantined) == (0, 0)
    assert scene.back().restored == 2
    assert as_counter(scene.legacy()) == as_counter(before)


def test_born_unified_goes_back_in_its_legacy_form(any_scene: RabbitScene) -> None:
    scene = any_scene
    twins = [scene.apply_unified("tasks.calculate_indicators", ["BTC"], 20) for _ in range(3)]
    gone = scene.apply_unified("tasks.fetch_unified_crypto")
    report = scene.back()
    assert (report.moved, report.quarantined) == (3, 1)
    legacy = list(scene.broker("celery").scan())
    assert sorted(message.id for message in legacy) == sorted(twins)
    assert {message.task for message in legacy} == {"tasks.celery_tasks.calculate_indicators_task"}
    assert [dict(message.kwargs) for message in legacy] == [{"symbol": "BTC", "period": 20}] * 3
    assert scene.forward(retry_quarantined=True).moved == 3
    assert {identity for (address, identity), _ in scene.ids().items() if address == "unified"} == {*twins, gone}


def test_only_some_tasks(any_scene: RabbitScene) -> None:
    scene = any_scene
    mine = scene.apply("fetch_yahoo_stocks_task", ["A"])
    others = [scene.apply("health_check_task"), scene.send("health_check_task"), scene.send("fetch_news_task")]
    before = scene.legacy()
    report = scene.forward(tasks=frozenset({"tasks.fetch_yahoo_stocks"}))
    assert (report.moved, report.filtered_out, report.balance) == (1, 3, 0)
    places = {identity: address for address, identity in scene.ids()}
    assert places == {mine: "unified", others[0]: "celery", others[1]: "dramatiq", others[2]: "dramatiq"}
    scene.back()
    assert as_counter(scene.legacy()) == as_counter(before)


def test_a_dry_run_takes_nothing(any_scene: RabbitScene) -> None:
    scene = any_scene
    mixed(scene, 60)
    scene.send("nobody_knows_this")
    before = scene.legacy()
    dry = scene.forward(dry_run=True)
    assert (dry.moved, dry.quarantined) == (60, 1)
    assert list(dry.examples) == ["unknown-task"]
    assert scene.legacy() == before
    assert scene.forward().moved == 60


def test_long_messages(any_scene: RabbitScene) -> None:
    """The original rides in a header, and AMQP's headers have to fit into one frame: packed, or kept back."""
    scene = any_scene
    long = scene.send("fetch_crypto_prices_task", ["symbol" * 10 + str(number) for number in range(4000)])
    # Random text can't be packed.
    wild = scene.apply("fetch_yahoo_stocks_task", [os.urandom(150_000).hex()])
    before = scene.legacy()
    report = scene.forward()
    on_rabbit = scene.urls["unified"].startswith("amqp")
    assert (report.moved, report.quarantined) == ((1, 1) if on_rabbit else (2, 0))
    assert [m.id for m in scene.broker("unified").scan()] == ([long] if on_rabbit else [long, wild])
    if on_rabbit:
        assert report.quarantined_messages[0].id == wild and "AMQP" in report.quarantined_messages[0].detail
    scene.back()
    assert as_counter(scene.legacy()) == as_counter(before)


def test_any_bytes_are_kept_not_lost(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    scene.send("health_check_task")
    scene.apply("health_check_task")
    table = {"task": "x", "blob": b"\xff\xfe", "when": datetime(2026, 1, 2), "price": Decimal("1.5"), "n": -(2**40)}
    put(scene, "default", b"\x80\x04pickle", priority=1)
    put(scene, "default", b"", expiration="600000")
    put(scene, "celery", b"\xff\x00", content_type="application/x-python-serialize", application_headers=table)
    put(scene, "celery", b"[]", content_type="application/json", message_id="theirs", correlation_id="c" * 255)
    before = scene.legacy()
    report = scene.forward()
    assert (report.moved, report.quarantined, report.balance) == (2, 4, 0)
    assert scene.back().restored == 4
    assert as_counter(scene.legacy()) == as_counter(before)


def test_mangled_messages_are_carried_or_kept_as_they_were(rabbit_only: RabbitScene) -> None:
    """`benchmarks/rabbitmq.py` does it with 100,000."""
    scene = rabbit_only
    put_mangled(scene, 1000, random.Random(5))
    before = whole(scene)
    report = scene.forward()
    assert (report.balance, report.moved > 100, report.quarantined > 100) == (0, True, True)
    assert scene.back().balance == 0
    after = whole(scene)
    assert not list((before - after).elements())[:3] and not list((after - before).elements())[:3]


def test_a_message_that_expires_does_not_expire_with_us(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    scene.apply("debug_task", expiration=600)
    ((body, before),) = amqp_content(scene.urls["celery"], "celery")
    assert before["expiration"] == "600000"
    assert scene.forward().quarantined == 1
    ((kept_body, quarantined),) = amqp_content(scene.urls["celery"], "tqm.kept.legacy.celery.celery")
    assert kept_body == body and "expiration" not in quarantined
    assert scene.back().restored == 1
    assert amqp_content(scene.urls["celery"], "celery") == [(body, before)]


def test_the_history_of_dead_letters_is_not_copied(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    identity = scene.apply("health_check_task")
    ((body, properties),) = amqp_content(scene.urls["celery"], "celery")
    history = {"x-death": [{"queue": "celery", "count": 3}], "x-first-death-queue": "celery"}
    properties["application_headers"] = {**properties["application_headers"], **history}
    properties.pop("delivery_info", None)
    put(scene, "celery", body, **properties)
    assert scene.forward().moved == 2
    for message in scene.unified_messages():
        assert message.headers["id"] == identity
        assert not [name for name in message.headers if "death" in name]


def test_a_quorum_queue_as_source(rabbit_only: RabbitScene, rabbit: RabbitServer) -> None:
    scene = rabbit_only
    vhost = scene.urls["celery"].rpartition("/")[2]
    scene.apply("health_check_task")
    ((body, properties),) = amqp_content(scene.urls["celery"], "celery")
    rabbit.manage("DELETE", f"queues/{vhost}/celery")
    rabbit.manage("PUT", f"queues/{vhost}/celery", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    for _ in range(30):
        put(scene, "celery", body, **properties)
    assert "BROKER-QUORUM" in {finding.code for finding in scene.broker("celery").facts().findings}
    assert scene.forward(batch_size=7).moved == 30
    assert scene.back(batch_size=7).moved == 30
    assert len(amqp_content(scene.urls["celery"], "celery")) == 30


def test_a_second_run_is_refused_and_a_dead_one_is_not_in_the_way(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    mixed(scene, 20)
    connection = RabbitmqServer(scene.urls["unified"]).open()
    connection.channel().queue_declare(queue=LOCK, exclusive=True, durable=False, auto_delete=False)
    with pytest.raises(RefusedError, match="another run holds the lock"):
        scene.forward(lock_wait_s=0.5)
    connection.close()
    assert scene.forward().moved == 20


def test_the_lock_of_a_run_that_hangs_can_be_taken(rabbit_only: RabbitScene, rabbit: RabbitServer) -> None:
    """With the management plugin: it ends the connection that holds the lock, and with it all that the run could do."""
    scene = rabbit_only
    mixed(scene, 20)
    scene.environ["RABBITMQ_MANAGEMENT_URL"] = rabbit.management_url
    connection = RabbitmqServer(scene.urls["unified"]).open()
    connection.channel().queue_declare(queue=LOCK, exclusive=True, durable=False, auto_delete=False)
    vhost = scene.urls["unified"].rpartition("/")[2]
    until(lambda: rabbit.manage("GET", f"queues/{vhost}/{LOCK}").get("owner_pid_details"), 60)
    with pytest.raises(RefusedError, match="--takeover"):
        scene.forward(lock_wait_s=0.2)
    assert scene.forward(takeover=True, lock_wait_s=20).moved == 20
    with pytest.raises((amqp.AMQPError, OSError)):
        connection.channel().queue_declare(queue="default", passive=True)
    connection.collect()


ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "0.0000001", "0.6"),
    "disk": ("set_disk_free_limit", "100000GB", "50MB"),
}


@pytest.mark.parametrize("what", ["memory", *(["disk"] if LONG else [])])
@pytest.mark.parametrize("midway", [False, *([True] if LONG else [])])
def test_a_server_with_an_alarm_ends_the_run_clearly(
    what: str, midway: bool, rabbit_only: RabbitScene, rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is short of memory or disk a RabbitMQ reads nothing from those who publish, and answers nothing."""
    scene = rabbit_only
    ids = [*mixed(scene, 20), *fill(scene, 400 if midway else 0)]
    command, on, off = ALARMS[what]
    seen: list[int] = []

    def begin(event: Event) -> None:
        if event.done and not seen:
            seen.append(event.done)
            rabbit.control(command, on)

    monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 3.0)
    # A server that takes nothing still says every second that it lives.
    monkeypatch.setattr(session, "HEARTBEAT_S", 2)
    if not midway:
        rabbit.control(command, on)
    options = TransferOptions(batch_size=20)
    try:
        with pytest.raises(UnreachableError, match=r"short of memory or disk.*rabbitmqctl status"):
            transfer(scene.plan, environ=scene.environ, options=options, listener=begin if midway else ignore)
    finally:
        rabbit.control(command, off)
    monkeypatch.undo()
    assert bool(seen) == midway
    assert scene.forward().balance == 0
    assert scene.ids() == {("unified", identity): 1 for identity in ids}


def test_a_paused_run_that_lost_its_connection_changes_nothing(two_hosts: RabbitScene, rabbit: RabbitServer) -> None:
    """Stopped in the middle, cut off, overtaken, woken: it connects again and finds nothing to do."""
    scene = two_hosts
    ids = mixed(scene, 200)
    with tcp_proxy(rabbit.port) as proxy:
        environ = {name: url.replace(f":{rabbit.port}/", f":{proxy.port}/") for name, url in scene.environ.items()}
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                options = TransferOptions(batch_size=5)
                transfer(scene.plan, environ=environ, options=options, listener=stop_once())
                code = 0
            finally:
                os._exit(code)
        try:
            assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
            assert blocked(scene)
            assert proxy.cut()
            until(lambda: not blocked(scene))
            report = scene.forward()
            assert (report.balance, report.moved > 0) == (0, True)
        finally:
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
            print("woken", time.monotonic())
    assert os.waitstatus_to_exitcode(status) == 0
    assert scene.ids() == {("unified", identity): 1 for identity in ids}


def test_connections_that_are_cut_are_opened_again(any_scene: RabbitScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after a write, which then has arrived or not; the run goes on by itself."""
    scene, writes = any_scene, itertools.count(1)
    ids = mixed(scene, 150)
    original = amqp.transport._AbstractTransport.write

    def write(transport: Any, data: Any) -> None:
        number = next(writes)
        if number > 150 and number % 350 == 0:
            transport.sock.shutdown(socket.SHUT_RDWR)
        original(transport, data)
        if number > 150 and number % 350 == 175:
            transport.sock.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(amqp.transport._AbstractTransport, "write", write)
    report = scene.forward(batch_size=5)
    monkeypatch.undo()
    assert report.reconnects and report.balance == 0
    assert scene.ids() == {("unified", identity): 1 for identity in ids}


def test_answers_that_are_lost(any_scene: RabbitScene, rabbit: RabbitServer) -> None:
    """Cut after the server has done what it was told and before its answer arrives, at one point after the other."""
    scene = any_scene
    ids = mixed(scene, 40)
    with tcp_proxy(rabbit.port) as proxy:
        environ = {name: url.replace(f":{rabbit.port}/", f":{proxy.port}/") for name, url in scene.environ.items()}
        options = TransferOptions(batch_size=8)
        assert transfer(scene.plan, environ=environ, options=options).moved == 40
        answers, lost_at = proxy.answers, 0
        points = range(25, answers, max(1, answers // (70 if LONG else 3)))
        for point in points:
            assert scene.back().moved == 40
            proxy.answers, proxy.lose_at = 0, point
            try:
                report = transfer(scene.plan, environ=environ, options=options)
            except UnreachableError:
                # While it looked around, or at the very end: the same command again goes on.
                report = transfer(scene.plan, environ=environ, options=options)
            assert report.balance == 0
            assert scene.ids() == {("unified", identity): 1 for identity in ids}, point
            lost_at += proxy.lose_at == 0
    assert lost_at > len(points) / 2


def test_a_live_worker_is_refused(rabbit_only: RabbitScene, tmp_path: Path) -> None:
    scene = rabbit_only
    for _ in range(3):
        scene.send("health_check_task", delay=900_000)
    with dramatiq_worker(scene, tmp_path) as worker:
        until(lambda: scene.broker("dramatiq").depths()["default", State.DELAYED] == 0)
        with pytest.raises(RefusedError, match="still alive"):
            scene.forward(consumers_stopped=True, silence_s=0.5)
        worker.kill()
        report = scene.forward(consumers_stopped=True)
    assert (report.moved, report.balance) == (3, 0)


def test_a_destination_that_is_deleted_meanwhile_is_made_again(rabbit_only: RabbitScene, rabbit: RabbitServer) -> None:
    """The server drops what it can't route when a transaction is committed; the run still has it."""
    scene = rabbit_only
    scene.send("health_check_task")
    fill(scene, 60)
    vhost = scene.urls["unified"].rpartition("/")[2]
    deleted: list[int] = []

    def should_stop() -> bool:
        if len(deleted) == 0 and scene.broker("unified").depths()["unified", State.READY] == 0:
            with_queue = rabbit.manage("GET", f"queues/{vhost}")
            if any(queue["name"] == "unified" for queue in with_queue):
                rabbit.manage("DELETE", f"queues/{vhost}/unified")
                deleted.append(1)
        return False

    scene.apply_unified("tasks.health_check")
    amqp_purge(scene, "unified")
    report = transfer(
        scene.plan, environ=scene.environ, options=TransferOptions(batch_size=20), should_stop=should_stop
    )
    assert (report.moved, report.balance) == (61, 0)
    assert deleted
    assert sum(scene.ids().values()) == 61


def test_late_messages_are_parked_in_redis_and_named_on_rabbitmq(any_scene: RabbitScene) -> None:
    scene = any_scene
    later = scene.send("health_check_task", delay=50 * 60_000)
    scene.apply("health_check_task", countdown=50)
    before = scene.legacy()
    on_rabbit = scene.urls["unified"].startswith("amqp")
    planned = scene.forward(dry_run=True)
    assert ("TRANSFER-ETA" in {finding.code for finding in planned.findings}) == on_rabbit
    report = scene.forward()
    assert (report.moved, report.parked) == (2, 0 if on_rabbit else 1)
    codes = {finding.code for finding in report.findings}
    assert ("TRANSFER-ETA" in codes, "TRANSFER-PARKED" in codes) == (on_rabbit, not on_rabbit)
    assert scene.ids()["unified", later] == 1
    assert scene.back().moved == 2
    assert as_counter(scene.legacy()) == as_counter(before)


def test_follows_late_producers_until_told(any_scene: RabbitScene) -> None:
    scene = any_scene
    ids = list(mixed(scene, 10))
    calls: list[int] = []

    def should_stop() -> bool:
        calls.append(1)
        if len(calls) in (6, 14):
            ids.extend([scene.send("health_check_task"), scene.apply("health_check_task")])
        return len(calls) > 22

    options, told = TransferOptions(follow=True), list[Event]()
    report = transfer(scene.plan, environ=scene.environ, options=options, should_stop=should_stop, listener=told.append)
    assert (report.moved, report.balance) == (14, 0)
    assert scene.ids() == {("unified", identity): 1 for identity in ids}
    assert ["the bridge continues" in event.text for event in told if event.kind is EventKind.NOTE] == [True]
    assert (told[-1].done, told[-1].total) == (14, 14)


def test_a_quiet_bridge_keeps_its_locks(to_rabbit: RabbitScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock in Redis ends by itself after half a minute; here it is gone at once."""
    monkeypatch.setattr(connections, "_KEEP_LOCKS_EVERY_S", 0.0)
    told, calls, ids = list[Event](), list[int](), list(mixed(to_rabbit, 4))

    def should_stop() -> bool:
        if any(event.kind is EventKind.NOTE for event in told):
            calls.append(1)
            if len(calls) == 1:
                with redis.Redis.from_url(to_rabbit.urls["celery"]) as client:
                    assert client.delete(keys.LOCK)
            elif len(calls) == 2:
                ids.append(to_rabbit.send("health_check_task"))
        return len(calls) > 5

    options = TransferOptions(follow=True)
    transfer(to_rabbit.plan, environ=to_rabbit.environ, options=options, should_stop=should_stop, listener=told.append)
    assert to_rabbit.ids() == {("unified", identity): 1 for identity in ids}


def test_a_limited_run_tells_how_long_it_takes(any_scene: RabbitScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is kept from the first step on; what a filter leaves alone does not count."""
    scene, told, done = any_scene, list[Event](), list[int]()
    wanted = [scene.send("health_check_task") for _ in range(16)]
    left = [scene.send("fetch_crypto_prices_task", ["BTC"]) for _ in range(40)]
    original = Limit.wait

    def wait(limit: Limit, so_far: int, **others: Any) -> bool:
        done.append(so_far)
        return original(limit, so_far, **others)

    monkeypatch.setattr(Limit, "wait", wait)
    options = TransferOptions(max_rate=10.0, tasks=frozenset({"health_check_task"}))
    report = transfer(scene.plan, environ=scene.environ, options=options, listener=told.append)
    assert (report.moved, report.filtered_out, report.balance) == (16, 40, 0)
    assert scene.ids() == {("unified", i): 1 for i in wanted} | {("dramatiq", i): 1 for i in left}
    assert done[-1] == 16 and max(after - before for before, after in itertools.pairwise(done)) <= 2
    assert {event.total for event in told if event.done} == {56}
    assert any("s left" in event.text for event in told) and "left" not in told[-1].text


def test_the_clock_is_that_of_redis_where_there_is_one(any_scene: RabbitScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By this machine's clock, which is half an hour ahead, the message is due already."""
    scene, on_redis = any_scene, any("redis" in url for url in any_scene.urls.values())
    identity = scene.send("health_check_task", delay=20 * 60_000)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1800)
    scene.forward()
    monkeypatch.undo()
    (message,) = scene.unified_messages()
    assert message.headers["id"] == identity
    assert (message.headers["eta"] is not None) == on_redis


def test_what_is_due_late_is_kept_back_where_nobody_releases_it(to_redis: RabbitScene) -> None:
    later = to_redis.send("health_check_task", delay=3 * 3600_000, options={"max_age": 24 * 3600_000})
    report = to_redis.forward(park=False)
    assert (report.moved, report.reasons) == (0, {"due-late": 1})
    assert to_redis.ids() == {("kept", later): 1}


def test_stops_when_told(any_scene: RabbitScene) -> None:
    scene = any_scene
    ids = mixed(scene, 120)
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    report = transfer(
        scene.plan, environ=scene.environ, options=TransferOptions(batch_size=10), should_stop=should_stop
    )
    assert 0 < report.moved < 120 and report.balance == 0
    assert sum(scene.ids().values()) == 120
    assert scene.forward().moved == 120 - report.moved
    assert scene.ids() == {("unified", identity): 1 for identity in ids}


def put(scene: RabbitScene, queue: str, body: bytes, **properties: Any) -> None:
    """Publish anything."""
    connection = RabbitmqServer(scene.urls["celery"]).open()
    connection.channel().basic_publish(amqp.Message(body, **properties), exchange="", routing_key=queue)
    connection.close()
    time.sleep(0.05)


def amqp_purge(scene: RabbitScene, queue: str) -> None:
    """Empty a queue."""
    connection = RabbitmqServer(scene.urls["unified"]).open()
    connection.channel().queue_purge(queue)
    connection.close()


def blocked(scene: RabbitScene) -> bool:
    """Say whether somebody holds the lock of either virtual host."""
    for name in ("celery", "unified"):
        connection = RabbitmqServer(scene.urls[name]).open()
        try:
            connection.channel().queue_declare(queue=LOCK, exclusive=True, durable=False, auto_delete=False)
        except amqp.exceptions.ResourceLocked:
            return True
        finally:
            connection.close()
    return False


def stop_once() -> Callable[[Event], None]:
    """Return a listener that stops its process at the first progress of a run."""
    stopped: list[int] = []

    def listen(event: Event) -> None:
        if 0 < event.done < 150 and not stopped:
            stopped.append(event.done)
            os.kill(os.getpid(), signal.SIGSTOP)

    return listen
