"""Messages moved forward and back: which, how, in which order, and what is quarantined."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import zlib
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import time_machine
from celery import Celery
from message_traffic import CELERY_TASK, Scene, fill, mixed

from migrator.brokers.redis.keys import sources
from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.brokers.redis.server import RedisServer
from migrator.errors import ExitCode, InterruptedRunError, RefusedError, UnreachableError
from migrator.events import Event, EventKind
from migrator.snapshots.snapshot import restore_snapshot, write_snapshot
from migrator.transfer import connections
from migrator.transfer.ledger import Ledger
from migrator.transfer.locate import Whereabouts, locate
from migrator.transfer.lock import new_token
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.throttle import Limit, Pace
from migrator.transfer.transfer import transfer
from migrator.transfer.worker_check import refuse_living_workers
from migrator.wire.message import Side, State, System


def test_nothing_to_move_is_a_clean_report(any_scene: Scene) -> None:
    report = any_scene.forward()
    assert (report.seen, report.moved, report.quarantined, report.balance) == (0, 0, 0, 0)
    assert not report.left


def test_calls_arrive_with_the_arguments_that_the_plan_says(any_scene: Scene) -> None:
    scene = any_scene
    a = scene.send("fetch_crypto_prices_task", ["BTC"])
    b = scene.send("fetch_stock_prices_task", symbols=["AAPL"], count=3)
    c = scene.send("fetch_technical_indicators_task", "AAPL", indicators=["sma"])
    d = scene.apply("calculate_indicators_task", "MSFT", 50)
    e = scene.apply("fetch_yahoo_stocks_task", kwargs={"limit": 2})
    report = scene.forward()
    assert report.moved == 5 and report.balance == 0 and report.quarantined == 0
    assert scene.unified_calls() == {
        a: ("tasks.fetch_binance_cryptos", [["BTC"]], {}),
        b: ("tasks.fetch_stock_prices", [], {"symbols": ["AAPL"], "limit": 3}),
        c: ("tasks.calculate_indicators", [], {"symbols": ["AAPL"]}),
        d: ("tasks.calculate_indicators", [], {"symbols": ["MSFT"], "period": 50}),
        e: ("tasks.fetch_yahoo_stocks", [], {"limit": 2}),
    }
    assert report.by_task["fetch_crypto_prices_task"] == 1
    assert report.by_queue == {"celery:celery": 2, "dramatiq:default": 3}


def test_there_and_back_gives_the_same_bytes(any_scene: Scene) -> None:
    scene = any_scene
    ids = mixed(scene, 400)
    before = scene.legacy_contents()
    out = scene.forward()
    assert (out.moved, out.quarantined, out.balance) == (400, 0, 0)
    assert not any(scene.legacy_state().values())
    assert scene.ids() == {("unified", identity): 1 for identity in ids}
    back = scene.back()
    assert (back.moved, back.balance) == (400, 0)
    assert scene.legacy_contents() == before
    again = scene.forward()
    assert (again.moved, again.already_there, again.balance) == (400, 0, 0)
    assert scene.back().moved == 400
    assert scene.legacy_contents() == before


def test_the_order_of_one_priority_is_the_same_there_and_back(any_scene: Scene) -> None:
    fill(any_scene.legacy, 1700)
    before = any_scene.legacy_state()
    any_scene.forward()
    any_scene.back()
    assert any_scene.legacy_state() == before


def test_two_databases_of_one_server_are_two_servers(scene: Scene) -> None:
    ids = mixed(scene, 40)
    before = scene.legacy_contents()
    scene.environ["UNIFIED_BROKER_URL"] = scene.environ["UNIFIED_BROKER_URL"].removesuffix("/0") + "/5"
    scene.unified = redis.Redis(port=scene.legacy.connection_pool.connection_kwargs["port"], db=5)
    for _ in range(2):
        report = scene.forward()
        assert (report.moved, report.balance) == (40, 0)
        assert scene.unified.hlen("tqm:ledger") == 40
        assert set(scene.unified_calls()) == set(ids)
        scene.back()
        assert scene.legacy_contents() == before


def test_running_twice_does_nothing(any_scene: Scene) -> None:
    mixed(any_scene, 50)
    any_scene.forward()
    ids = any_scene.ids()
    report = any_scene.forward()
    assert (report.seen, report.moved) == (0, 0)
    assert any_scene.ids() == ids


def test_the_order_of_service_is_preserved(scene: Scene) -> None:
    sent = [scene.send("fetch_crypto_prices_task", [str(n)]) for n in range(1200)]
    scene.forward()
    assert [message.headers["id"] for message in scene.unified_messages()] == sent


def test_priorities_are_those_of_the_unified_tasks(scene: Scene) -> None:
    low = scene.apply("cleanup_old_data_task", priority=0)
    medium = scene.send("fetch_news_task")
    high = scene.apply("fetch_yahoo_stocks_task", priority=9)
    scene.forward()
    assert [message.headers["id"] for message in scene.unified_messages()] == [high, medium, low]


def test_times_and_attempts(scene: Scene) -> None:
    before = time.time()
    later = scene.send("health_check_task", delay=90_000, options={"retries": 2})
    soon = scene.apply("health_check_task", countdown=120)
    now = scene.send("health_check_task", delay=1)
    time.sleep(0.01)
    scene.forward()
    headers = {message.headers["id"]: message.headers for message in scene.unified_messages()}
    eta = datetime.fromisoformat(headers[later]["eta"])
    assert abs(eta.timestamp() - before - 90) < 2
    assert headers[later]["retries"] == 2
    # The endpoint's age limit is an hour, counted from the first enqueue.
    assert abs(datetime.fromisoformat(headers[later]["expires"]).timestamp() - before - 3600) < 2
    assert abs(datetime.fromisoformat(headers[soon]["eta"]).timestamp() - before - 120) < 2
    assert headers[soon]["expires"] is None
    assert headers[now]["eta"] is None


@pytest.mark.parametrize("wrong_s", [3600, -3600])
def test_the_servers_clock_decides_whether_an_eta_is_past(scene: Scene, wrong_s: float) -> None:
    later = scene.send("health_check_task", delay=3_000_000)
    soon = scene.apply("health_check_task", countdown=600, expires=1200)
    now = scene.send("health_check_task", delay=1)
    time.sleep(0.01)
    true_s = time.time()
    with time_machine.travel(true_s + wrong_s, tick=True):
        planned = scene.forward(dry_run=True)
        report = scene.forward()
    assert (report.moved, report.quarantined, report.parked) == (3, 0, 1), "nothing has expired, and one is due late"
    assert (planned.moved, planned.quarantined, planned.parked) == (3, 0, 1)
    assert set(scene.unified_calls()) == {soon, now}
    headers = {message.headers["id"]: message.headers for message in scene.unified_messages()}
    assert headers[now]["eta"] is None
    assert abs(datetime.fromisoformat(headers[soon]["eta"]).timestamp() - true_s - 600) < 60
    ((raw, due_ms),) = scene.unified.zrange("tqm:parked", 0, -1, withscores=True)
    assert later.encode() in raw
    assert abs(due_ms / 1000 - true_s - 2100) < 60, "a quarter of the timeout before it is due"
    with time_machine.travel(true_s + wrong_s, tick=True):
        assert scene.forward().released == 0, "it is due by the server's clock"


def test_what_has_no_counterpart_is_quarantined_and_restored(any_scene: Scene) -> None:
    scene = any_scene
    scene.send("cleanup_old_cache_task", 24)
    scene.apply("debug_task")
    scene.send("nobody_knows_this")
    scene.send("fetch_news_task", 1, 2, 3, 4)
    scene.send("fetch_news_task", options={"max_age": 1})
    scene.send("fetch_news_task", options={"on_success": "other"})
    scene.send("fetch_news_task", options={"group_completion_uuid": "g", "group_completion_callbacks": []})
    for key, raw in (("broken", b"{"), ("pickled", b"\x80\x04K\x01."), ("utf", b'{"a": "\xff"}')):
        scene.legacy.hset("dramatiq:default.msgs", key, raw)
        scene.legacy.rpush("dramatiq:default", key)
    scene.legacy.lpush("celery", b"\x80rubbish", b"[]", b'{"body": 1}')
    time.sleep(0.01)
    before = scene.legacy_state()
    report = scene.forward()
    assert (report.seen, report.moved, report.quarantined, report.balance) == (13, 0, 13, 0)
    assert report.reasons == {
        "arguments": 1,
        "callback": 1,
        "content-type": 1,
        "expired": 1,
        "group": 1,
        "retired-task": 2,
        "unknown-task": 1,
        "unreadable": 5,
    }
    assert report.left == {"celery:celery quarantined": 4, "dramatiq:default quarantined": 9}
    assert not any(scene.legacy_state().values())
    assert scene.unified.llen("unified") == 0
    back = scene.back()
    assert back.restored == 13
    after = scene.legacy_state()
    for wire in ("default.msgs", "default.DQ.msgs"):
        assert after[wire] == before[wire]
    assert sorted(after["default"]) == sorted(before["default"])
    assert sorted(after["celery"]) == sorted(before["celery"])


def test_quarantined_messages_are_in_the_book_by_id(scene: Scene) -> None:
    identity = scene.send("cleanup_old_cache_task", 24)
    report = scene.forward()
    record = report.quarantined_messages[0]
    assert (record.id, record.reason, record.task) == (identity, "retired-task", "cleanup_old_cache_task")
    with Ledger.open(scene.plan.state_folder / "book.sqlite3") as book:
        (entry,) = book.find(identity)
        assert entry.fate == "kept:retired-task"
        assert entry.detail == "the cache expires its own entries"
        assert book.balance() == 0


def test_retry_quarantined_tries_them_again(scene: Scene) -> None:
    scene.send("cleanup_old_cache_task", 24)
    assert scene.forward().quarantined == 1
    assert scene.forward().seen == 0
    report = scene.forward(retry_quarantined=True)
    assert (report.restored, report.seen, report.quarantined) == (1, 1, 1)


def test_pipelines(scene: Scene) -> None:
    def step(actor: str, *args: object, **options: object) -> dict[str, object]:
        return json.loads(
            scene_message(actor, *args, **options)  # as Dramatiq nests it
        )

    def scene_message(actor: str, *args: object, **options: object) -> bytes:
        import dramatiq

        return dramatiq.Message(queue_name="default", actor_name=actor, args=args, kwargs={}, options=options).encode()

    good = scene.send(
        "fetch_news_task", options={"pipe_target": step("fetch_technical_indicators_task", "A", pipe_ignore=True)}
    )
    result_first = scene.send("fetch_news_task", options={"pipe_target": step("cache_warming_task")})
    scene.send("fetch_news_task", options={"pipe_target": step("fetch_stock_prices_task", ["A"])})
    scene.send("fetch_news_task", options={"pipe_target": step("unknown_actor")})
    before = scene.legacy_state()
    report = scene.forward()
    assert (report.moved, report.reasons) == (2, {"pipeline": 2})
    chains = {m.headers["id"]: m.decode()[2]["chain"] for m in scene.unified_messages()}
    (indicators,) = chains[good]
    assert (indicators["task"], indicators["kwargs"], indicators["immutable"]) == (
        "tasks.calculate_indicators",
        {"symbols": ["A"]},
        True,
    )
    assert [s["task"] for s in chains[result_first]] == ["tasks.cache_warming"]
    scene.back()
    assert scene.legacy_state()["default.msgs"] == before["default.msgs"]


def test_a_celery_chain_is_renamed_and_an_unknown_link_quarantines_the_message(scene: Scene) -> None:
    signature = scene.celery.signature
    name = "tasks.celery_tasks.{}".format
    chain = signature(name("health_check_task")) | signature(name("fetch_yahoo_stocks_task"), immutable=True)
    chain.apply_async(queue="celery")
    scene.apply("health_check_task", link=signature("tasks.somewhere.else"))
    report = scene.forward()
    assert (report.moved, report.reasons) == (1, {"canvas": 1})
    (message,) = scene.unified_messages()
    assert message.headers["task"] == "tasks.health_check"
    assert [step["task"] for step in message.decode()[2]["chain"]] == ["tasks.fetch_yahoo_stocks"]


def test_native_messages_go_back_under_the_primary_name(any_scene: Scene) -> None:
    scene = any_scene
    a = scene.apply_unified("tasks.calculate_indicators", ["AAPL"], 30)
    b = scene.apply_unified("tasks.fetch_stock_prices", kwargs={"symbols": ["A"], "limit": 4}, countdown=600)
    c = scene.apply_unified("tasks.health_check")
    scene.apply_unified("tasks.calculate_indicators", ["AAPL", "MSFT"])
    scene.apply_unified("tasks.fetch_unified_crypto")
    report = scene.back()
    assert (report.moved, report.reasons, report.balance) == (3, {"no-legacy-form": 2}, 0)
    bodies = [json.loads(raw) for raw in scene.legacy.hvals("dramatiq:default.DQ.msgs")]
    (stock,) = bodies
    assert (stock["message_id"], stock["actor_name"], stock["queue_name"]) == (
        b,
        "fetch_stock_prices_task",
        "default.DQ",
    )
    assert stock["kwargs"] == {"symbols": ["A"], "count": 4}
    assert abs(stock["options"]["eta"] / 1000 - time.time() - 600) < 5
    celery_ids = {json.loads(raw)["headers"]["id"]: json.loads(raw)["headers"]["task"] for raw in _celery_raws(scene)}
    assert celery_ids == {
        a: "tasks.celery_tasks.calculate_indicators_task",
        c: "tasks.celery_tasks.health_check_task",
    }
    # A second cutover retries those that had no legacy form.
    again = scene.forward()
    assert again.restored == 2
    assert again.moved == 3
    assert len(scene.unified_calls()) == 5


def _celery_raws(scene: Scene) -> list[bytes]:
    return [raw for key in scene.legacy.keys("celery*") for raw in scene.legacy.lrange(key, 0, -1)]


def test_a_message_that_celery_retried_goes_back_with_what_changed(scene: Scene) -> None:
    quarantined = scene.send("fetch_technical_indicators_task", "A", ["sma"])
    changed = scene.send("fetch_crypto_prices_task", ["A", "B"])
    renamed = scene.apply("fetch_yahoo_stocks_task", ["A", "B"], priority=5)
    scene.forward()
    eta = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    messages = scene.unified_messages()
    scene.unified.delete(*scene.unified.keys("unified*"))
    for message in messages:
        # As Task.retry publishes: same id and headers, new delivery tag.
        args, kwargs, _ = message.decode()
        if message.headers["id"] in (changed, renamed):
            args = [["B"]]
        headers = {"x-tqm": message.headers["x-tqm"]}
        scene.unified_app.send_task(
            message.headers["task"],
            args,
            kwargs,
            task_id=message.headers["id"],
            retries=1,
            eta=eta,
            headers=headers,
            queue="unified",
        )
    report = scene.back()
    assert report.balance == 0 and report.quarantined == 0
    bodies = {m["message_id"]: m for m in map(json.loads, scene.legacy.hvals("dramatiq:default.DQ.msgs"))}
    assert bodies[quarantined]["args"] == ["A", ["sma"]], "an argument that the plan drops comes back"
    assert bodies[quarantined]["options"]["retries"] == 1
    assert abs(bodies[quarantined]["options"]["eta"] / 1000 - time.time() - 300) < 5
    assert (bodies[changed]["args"], bodies[changed]["actor_name"]) == ([["B"]], "fetch_crypto_prices_task")
    (yahoo,) = [json.loads(raw) for raw in _celery_raws(scene)]
    assert (yahoo["headers"]["id"], yahoo["headers"]["retries"], yahoo["properties"]["priority"]) == (renamed, 1, 5)
    assert json.loads(b64decode(yahoo["body"]))[0] == [["B"]]
    assert yahoo["headers"]["task"] == "tasks.celery_tasks.fetch_yahoo_stocks_task"
    assert "x-tqm" not in yahoo["headers"]


def test_dry_run_says_what_would_happen_and_takes_nothing(any_scene: Scene) -> None:
    scene = any_scene
    mixed(scene, 60)
    scene.send("cleanup_old_cache_task", 24)
    scene.send("fetch_news_task", options={"repeat": True, "queue": "high"})
    before, keys = scene.legacy_state(), set(scene.legacy.keys())
    report = scene.forward(dry_run=True)
    assert report.dry_run
    assert (report.seen, report.moved, report.quarantined) == (62, 61, 1)
    assert '"actor_name":"cleanup_old_cache_task"' in report.examples["retired-task"]
    assert report.dropped_options == {"queue": 1, "repeat": 1}
    assert sum(report.by_queue.values()) == 61
    assert any(address.endswith("delayed") for address in report.by_queue)
    assert scene.legacy_state() == before
    assert set(scene.legacy.keys()) == keys


def test_an_eta_beyond_the_visibility_timeout_is_quarantined_where_nothing_is_released(any_scene: Scene) -> None:
    scene = any_scene
    late = {scene.apply("health_check_task", countdown=seconds) for seconds in (3700, 7200)}
    soon = scene.apply("health_check_task", countdown=600)
    before = scene.legacy_contents()
    planned = scene.forward(dry_run=True, park=False)
    report = scene.forward(park=False)
    for seen in (planned, report):
        assert (seen.moved, seen.beyond_visibility, seen.parked) == (1, 2, 0)
        assert seen.reasons["due-late"] == 2
        assert "TRANSFER-ETA" in [finding.code for finding in seen.findings]
    assert list(scene.unified_calls()) == [soon]
    patient = replace(scene.plan, unified=replace(scene.plan.unified, visibility_timeout_s=10_000))
    options = TransferOptions(park=False, retry_quarantined=True)
    assert transfer(patient, environ=scene.environ, options=options).moved == 2
    assert set(scene.unified_calls()) == {*late, soon}
    scene.back()
    assert scene.legacy_contents() == before


def test_what_is_due_late_is_parked_released_in_time_and_goes_back(any_scene: Scene) -> None:
    scene = any_scene
    late = scene.send("fetch_news_task", delay=3_000_000)
    later = scene.apply("fetch_yahoo_stocks_task", countdown=7200)
    soon = scene.apply("health_check_task", countdown=900)
    before = scene.legacy_contents()
    report = scene.forward()
    assert (report.moved, report.parked, report.beyond_visibility, report.balance) == (3, 2, 0, 0)
    assert list(scene.unified_calls()) == [soon]
    scores = [score / 1000 - time.time() for _, score in scene.unified.zrange("tqm:parked", 0, -1, withscores=True)]
    assert [round(score / 100) for score in scores] == [21, 63], "a quarter of the timeout before they are due"
    assert scene.forward().released == 0
    scene.unified.zadd("tqm:parked", {scene.unified.zrange("tqm:parked", 0, 0)[0]: time.time() * 1000 - 1})
    assert scene.forward().released == 1
    assert set(scene.unified_calls()) == {soon, late}
    back = scene.back()
    assert (back.moved, back.released) == (3, 1)
    assert scene.legacy_contents() == before
    assert {later, soon, late} == {identity for _, identity in scene.ids()}
    assert scene.forward().moved == 3


def test_a_bridge_moves_what_arrives_later_until_it_is_told_to_stop(any_scene: Scene) -> None:
    import threading

    scene, stop, sent = any_scene, threading.Event(), list[str]()
    reports: list[TransferReport] = []
    options, events = TransferOptions(follow=True), list[Event]()
    bridge = threading.Thread(
        target=lambda: reports.append(
            transfer(
                scene.plan, environ=scene.environ, options=options, listener=events.append, should_stop=stop.is_set
            )
        )
    )
    bridge.start()
    for _ in range(6):
        sent += [scene.send("fetch_crypto_prices_task"), scene.apply("health_check_task")]
        time.sleep(0.15)
    deadline = time.monotonic() + 30
    while len(scene.unified_calls()) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    bridge.join(30)
    assert sorted(scene.unified_calls()) == sorted(sent)
    assert (reports[0].moved, reports[0].balance) == (12, 0)
    assert ["Ctrl-C ends it" in event.text for event in events if event.kind is EventKind.NOTE] == [True]
    assert scene.legacy.get("tqm:lock") is None


def test_filters_leave_the_rest_where_and_as_it_was(any_scene: Scene) -> None:
    scene = any_scene
    mixed(scene, 300)
    before = scene.legacy_state()
    report = scene.forward(tasks=frozenset({"tasks.health_check"}))
    assert 0 < report.moved < 300
    assert report.moved + report.filtered_out == report.seen == 300
    after = scene.legacy_state()
    for key, value in before.items():
        if isinstance(value, list):
            assert after[key] == [entry for entry in value if entry in after[key]]
    assert {task for task, _, _ in scene.unified_calls().values()} == {"tasks.health_check"}
    scene.back()
    assert {key: sorted(value) for key, value in scene.legacy_state().items()} == {
        key: sorted(value) for key, value in before.items()
    }


@pytest.mark.parametrize("name", ["cache_warming_task", "tasks.cache_warming"])
def test_a_transfer_back_selects_a_task_by_either_name(scene: Scene, name: str) -> None:
    wanted = scene.send("cache_warming_task", ["A"])
    scene.send("health_check_task")
    assert scene.forward().moved == 2
    report = scene.back(tasks=frozenset({name}))
    assert (report.moved, report.filtered_out) == (1, 1)
    assert ("dramatiq", wanted) in scene.ids()


def test_one_system_only(scene: Scene) -> None:
    mixed(scene, 40)
    report = scene.forward(system=System.DRAMATIQ)
    assert set(report.by_queue) <= {"dramatiq:default", "dramatiq:default.DQ"}
    assert any(key.startswith("celery:") for key in report.left)


def test_ids_without_a_body_and_duplicate_ids_are_counted_not_doubled(scene: Scene) -> None:
    scene.send("health_check_task")
    (copy_id,) = scene.legacy.lrange("dramatiq:default", 0, -1)
    scene.legacy.rpush("dramatiq:default", copy_id, "no-such-body")
    report = scene.forward()
    assert (report.seen, report.moved, report.without_body, report.balance) == (3, 1, 2, 0)
    assert len(scene.unified_messages()) == 1


def test_the_interrupted_claim_of_either_direction_is_finished_first(any_scene: Scene) -> None:
    scene = any_scene
    mixed(scene, 20)
    ids = set(scene.ids())
    scene.legacy.rpush("tqm:claim:dramatiq:dramatiq:default", *scene.legacy.lpop("dramatiq:default", 3))
    scene.forward()
    raws = scene.unified.rpop("unified", 4)
    scene.unified.rpush("tqm:claim:celery:unified", *raws)
    report = scene.forward()
    assert report.resumed == 4
    # First they went back, as the interrupted run intended, and then forward with everything else.
    assert scene.ids() == {("unified", identity): 1 for _, identity in ids}


def test_claims_of_stopped_workers_are_reclaimed_only_on_request(any_scene: Scene) -> None:
    scene = any_scene
    ids = [scene.send("health_check_task") for _ in range(5)] + [scene.apply("health_check_task") for _ in range(4)]
    scene.legacy.sadd("dramatiq:__acks__.dead-worker.default", *scene.legacy.lpop("dramatiq:default", 5))
    scene.legacy.zadd("dramatiq:__heartbeats__", {"dead-worker": int(time.time() * 1000) - 1000})
    for _ in range(4):
        raw = scene.legacy.rpop("celery")
        tag = json.loads(raw)["properties"]["delivery_tag"]
        scene.legacy.hset("unacked", tag, json.dumps([json.loads(raw), "", "celery"]))
        scene.legacy.zadd("unacked_index", {tag: time.time()})
    other = json.dumps([{"body": "", "properties": {}, "headers": {}}, "", "somebody-else"])
    scene.legacy.hset("unacked", "foreign", other)
    idle = scene.forward()
    assert (idle.seen, idle.left) == (0, {"celery:celery claimed": 4, "dramatiq:default claimed": 5})
    assert "TRANSFER-CLAIMED" in [finding.code for finding in idle.findings]
    report = scene.forward(consumers_stopped=True, silence_s=0.2)
    assert (report.reclaimed, report.moved, report.balance) == (9, 9, 0)
    assert sorted(scene.unified_calls()) == sorted(ids)
    assert scene.legacy.hgetall("unacked") == {b"foreign": other.encode()}


def test_a_legacy_celery_with_a_key_prefix(any_scene: Scene) -> None:
    scene = any_scene
    dramatiq, celery = scene.plan.legacy
    scene.plan = replace(scene.plan, legacy=(dramatiq, replace(celery, key_prefix="shop-")))
    app = Celery("shop", broker=scene.environ["CELERY_BROKER_URL"], set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "shop-"}
    ids = {str(app.send_task(CELERY_TASK + "health_check_task", queue="celery", priority=n).id) for n in (0, 9)}
    with app.connection_for_read() as connection:
        taken = connection.SimpleQueue("celery").get(timeout=5)
        assert scene.legacy.hlen("shop-unacked") == 1
        keys = ("shop-celery", "shop-celery\x06\x169")
        before = sorted(raw for key in keys for raw in scene.legacy.lrange(key, 0, -1))
        file = scene.plan.state_folder / "with-prefix.snapshot"
        assert write_snapshot(scene.plan, environ=scene.environ, file=file).by_endpoint["legacy.celery"] == 2
        report = scene.forward(consumers_stopped=True)
        assert (report.moved, report.reclaimed, report.balance) == (2, 1, 0)
        assert set(scene.unified_calls()) == ids == {*ids, taken.headers["id"]}
        assert not scene.legacy.exists(*keys, "shop-unacked")
        assert scene.back().moved == 2
        after = sorted(raw for key in keys for raw in scene.legacy.lrange(key, 0, -1))
        assert len(after) == 2 and set(before) < set(after)
        restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
        assert sorted(raw for key in keys for raw in scene.legacy.lrange(key, 0, -1)) == after


def test_many_unacknowledged_messages_among_those_of_others(scene: Scene) -> None:
    ids = [scene.apply("health_check_task") for _ in range(700)]
    for number in range(700):
        raw = scene.legacy.rpop("celery")
        tag = json.loads(raw)["properties"]["delivery_tag"]
        scene.legacy.hset("unacked", tag, b'[%b, "", "celery"]' % raw)
        scene.legacy.hset("unacked", f"foreign-{number}", b'[%b, "", "others"]' % raw)
    report = scene.forward(consumers_stopped=True)
    assert (report.reclaimed, report.moved, report.balance) == (700, 700, 0)
    assert sorted(scene.unified_calls()) == sorted(ids)
    assert scene.legacy.hlen("unacked") == 700


def test_claims_of_a_worker_that_sends_heartbeats_are_not_reclaimed(scene: Scene) -> None:
    import threading

    scene.send("health_check_task")
    scene.legacy.sadd("dramatiq:__acks__.busy.default", *scene.legacy.lpop("dramatiq:default", 1))
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            scene.legacy.zadd("dramatiq:__heartbeats__", {"busy": int(time.time() * 1000)})

    worker = threading.Thread(target=beat)
    worker.start()
    try:
        with pytest.raises(RefusedError, match="still alive"):
            scene.forward(consumers_stopped=True, silence_s=1.5)
    finally:
        stop.set()
        worker.join()
    assert scene.legacy.scard("dramatiq:__acks__.busy.default") == 1


def test_a_celery_worker_that_is_too_busy_to_answer_is_not_taken_for_dead(scene: Scene) -> None:
    refuse_living_workers(scene.plan, environ=scene.environ, side=Side.UNIFIED)
    with scene.unified.pubsub() as worker:
        worker.psubscribe("/0.celery.pidbox")
        assert worker.get_message(timeout=5)["type"] == "psubscribe"
        with pytest.raises(RefusedError, match="1 that listen and do not answer"):
            refuse_living_workers(scene.plan, environ=scene.environ, side=Side.UNIFIED)


def test_two_runs_at_once_the_second_is_refused(scene: Scene) -> None:
    scene.legacy.set("tqm:lock", "somebody on another machine", px=20_000)
    with pytest.raises(RefusedError, match="another transfer holds the lock") as refused:
        scene.forward(lock_wait_s=0.2)
    assert refused.value.exit_code is ExitCode.REFUSED
    assert scene.forward(takeover=True).balance == 0


def test_the_lock_of_a_process_that_has_ended_is_taken_over(scene: Scene) -> None:
    child = os.fork()
    if child == 0:
        scene.legacy.set("tqm:lock", new_token(), px=30_000)
        os._exit(0)
    os.waitpid(child, 0)
    started = time.monotonic()
    assert scene.forward().balance == 0
    assert time.monotonic() - started < 25, "it waited until the lock expired"


def test_a_run_that_was_overtaken_changes_nothing(scene: Scene) -> None:
    fill(scene.legacy, 3000)
    calls = 0

    def overtake() -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            scene.legacy.set("tqm:lock", "the younger run", px=20_000)
        return False

    with pytest.raises(InterruptedRunError, match="another run took over"):
        transfer(scene.plan, environ=scene.environ, should_stop=overtake)
    assert scene.legacy.get("tqm:lock") == b"the younger run"
    scene.legacy.delete("tqm:lock")
    scene.forward()
    assert len(scene.unified_messages()) == 3000


def test_a_run_that_was_paused_and_overtaken_is_stopped_by_the_fence(any_scene: Scene) -> None:
    scene = any_scene
    fill(scene.legacy, 3000)
    child = os.fork()
    if child == 0:
        try:
            transfer(scene.plan, environ=scene.environ, options=TransferOptions(batch_size=20))
            os._exit(0)
        except InterruptedRunError:
            os._exit(42)
        finally:
            os._exit(1)
    while not scene.unified.llen("unified"):
        time.sleep(0.001)
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(RefusedError, match="another transfer holds the lock"):
        scene.forward(lock_wait_s=0.1)
    report = scene.forward(takeover=True)
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert report.balance == 0
    assert len(scene.unified_calls()) == scene.unified.llen("unified") == 3000


def test_a_bridge_that_was_paused_does_not_go_on_after_another_run(any_scene: Scene) -> None:
    scene, rounds = any_scene, 0
    scene.send("health_check_task")

    def go_back_while_paused() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 8:
            # While it is paused, its lock expires and everything goes back.
            scene.legacy.delete("tqm:lock")
            scene.unified.delete("tqm:lock")
            assert scene.back().moved == 1
        assert rounds < 100
        return False

    with pytest.raises(InterruptedRunError, match="while this one was paused"):
        transfer(
            scene.plan, environ=scene.environ, options=TransferOptions(follow=True), should_stop=go_back_while_paused
        )
    assert scene.legacy.llen("dramatiq:default") == 1
    assert scene.legacy.get("tqm:lock") is None
    assert scene.forward().moved == 1


def test_the_lock_is_extended_where_nothing_is_sent(two_servers: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is quarantined, so no script runs on the destination; even so its lock must not expire."""
    scene, lives_ms = two_servers, list[int]()
    fill(scene.legacy, 3000, actor="cleanup_old_cache_task")
    monkeypatch.setattr(connections, "_KEEP_LOCKS_EVERY_S", 0.0)

    def shorten() -> bool:
        if not lives_ms:
            scene.unified.pexpire("tqm:lock", 15_000)
        lives_ms.append(scene.unified.pttl("tqm:lock"))
        return False

    options = TransferOptions(batch_size=200)
    report = transfer(scene.plan, environ=scene.environ, options=options, should_stop=shorten)
    assert (report.quarantined, report.balance) == (3000, 0)
    assert lives_ms[0] <= 15_000 < lives_ms[-1]


def test_a_message_is_found_wherever_it_is(scene: Scene) -> None:
    moved, quarantined = scene.send("health_check_task"), scene.send("cleanup_old_cache_task", 24)

    def states(identity: str) -> list[tuple[str, str]]:
        found = locate(scene.plan, environ=scene.environ, identity=identity)
        return [(sighting.side.value, sighting.state.value) for sighting in found.sightings]

    assert states(moved) == [("legacy", "ready")]
    scene.forward()
    assert states(moved) == [("unified", "ready")]
    assert states(quarantined) == [("legacy", "quarantined")]
    assert locate(scene.plan, environ=scene.environ, identity=quarantined).entries[0].fate == "kept:retired-task"
    assert states("nobody") == []
    copy = next(iter(scene.unified_messages())).headers["x-tqm"]["id"]
    assert states(copy) == [("unified", "ready")], "the copy that it was made from"


def test_what_has_run_is_known_from_a_snapshot(scene: Scene) -> None:
    identity = scene.send("health_check_task")
    folder = scene.plan.state_folder / "snapshots"
    write_snapshot(scene.plan, environ=scene.environ, file=folder / "run-1.snapshot")
    (folder / "damaged.snapshot").write_bytes(b"")
    assert not locate(scene.plan, environ=scene.environ, identity=identity).recorded, "it is in a queue"
    scene.legacy.flushdb()
    (seen,) = locate(scene.plan, environ=scene.environ, identity=identity).recorded
    assert seen.address == "legacy.dramatiq dramatiq:default.msgs"
    assert not locate(scene.plan, environ=scene.environ, identity="nobody").recorded


def _last_step(scene: Scene) -> Any:
    signature = scene.celery.signature(CELERY_TASK + "fetch_news_task", ("x",), queue="celery")
    return signature.clone(task=CELERY_TASK + "health_check_task", args=(), immutable=True, task_id="the-last-step")


@pytest.mark.parametrize("argument", ["x", "xy", "xyz"])
def test_a_step_inside_of_another_message_is_known_from_a_snapshot(scene: Scene, argument: str) -> None:
    scene.apply("fetch_news_task", argument, chain=[_last_step(scene)])
    write_snapshot(scene.plan, environ=scene.environ, file=scene.plan.state_folder / "snapshots" / "run-1.snapshot")
    scene.legacy.flushdb()
    (seen,) = locate(scene.plan, environ=scene.environ, identity="the-last-step").recorded
    assert seen.address == "legacy.celery celery"
    assert not locate(scene.plan, environ=scene.environ, identity="the-last-stop").recorded


def test_ids_of_steps_orphans_and_nothing_are_found(scene: Scene) -> None:
    scene.apply("health_check_task", chain=[_last_step(scene)])
    orphan = scene.send("health_check_task")
    scene.legacy.delete("dramatiq:default")
    scene.legacy.rpush("dramatiq:default", "no-such-body")

    def find(identity: str) -> Whereabouts:
        return locate(scene.plan, environ=scene.environ, identity=identity)

    for _ in range(2):
        assert [seen.task for seen in find("the-last-step").named_by] != []
        assert not find("the-last-step").sightings
        assert [seen.orphaned for seen in find(orphan).sightings] == [True]
        report = scene.forward()
    assert [entry.fate for entry in find("no-such-body").entries] == ["without-body"]
    (finding,) = [finding for finding in report.findings if finding.code == "TRANSFER-ORPHANS"]
    assert scene.legacy.hkeys("dramatiq:default.msgs")[0].decode() in finding.found


def test_messages_of_a_custom_encoder_are_found_and_shown_where_they_are(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "packed_encoder.py").write_text(
        "import json, zlib\nclass Packed:\n"
        "    def encode(self, data): return zlib.compress(json.dumps(data).encode())\n"
        "    def decode(self, data): return json.loads(zlib.decompress(data))\n"
    )
    dramatiq, celery = scene.plan.legacy
    own = replace(scene.plan.project, root=str(tmp_path))
    plan = replace(scene.plan, project=own, legacy=(replace(dramatiq, encoder="packed_encoder:Packed"), celery))
    identity = scene.send("health_check_task", delay=60_000)
    ((copy, raw),) = scene.legacy.hgetall("dramatiq:default.DQ.msgs").items()
    scene.legacy.hset("dramatiq:default.DQ.msgs", copy, zlib.compress(raw))
    report = transfer(plan, environ=scene.environ, options=TransferOptions(dry_run=True))
    assert report.by_queue == {"dramatiq:default.DQ delayed": 1}
    (seen,) = locate(plan, environ=scene.environ, identity=identity).sightings
    assert (seen.state.value, seen.task) == ("delayed", "health_check_task")


def test_stops_cleanly_when_asked(scene: Scene) -> None:
    fill(scene.legacy, 3000)
    report = transfer(
        scene.plan,
        environ=scene.environ,
        options=TransferOptions(batch_size=100),
        should_stop=lambda: scene.unified.llen("unified") > 500,
    )
    assert 500 < report.moved < 3000
    assert report.balance == 0
    assert report.left == {"dramatiq:default ready": 3000 - report.moved}


def test_steps_become_smaller_while_the_server_is_slow_and_larger_again() -> None:
    pace = Pace(most=500)
    assert pace.size == 500
    for _ in range(20):
        pace.observe(30.0)
    assert pace.size == 50
    pace.observe(7.0)
    assert pace.size == 50
    for _ in range(40):
        pace.observe(1.0)
    assert pace.size == 500


def test_the_server_reports_how_long_scripts_kept_it_busy(scene: Scene) -> None:
    server = RedisServer(scene.environ["UNIFIED_BROKER_URL"])
    busy = scene.unified.script_load("local n = 0 for i = 1, ARGV[1] do n = n + i % 7 end return 1")

    def size_after(loops: int) -> int:
        pipeline, pace = RedisPipeline(server), Pace(most=500)
        for _ in range(40):
            pipeline.result(pipeline.ask("EVALSHA", busy, 0, loops))
            pace.step([pipeline])
        pipeline.close()
        return pace.size

    assert size_after(1) == 500
    assert size_after(2_000_000) < 500
    server.close()


def test_runs_that_start_together_take_turns(scene: Scene) -> None:
    fill(scene.legacy, 2000)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                transfer(scene.plan, environ=scene.environ, options=TransferOptions(batch_size=50, lock_wait_s=60))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert len(scene.unified_calls()) == scene.unified.llen("unified") == 2000


def test_rate_limit(scene: Scene) -> None:
    fill(scene.legacy, 1000)
    report = scene.forward(max_rate=1000.0, batch_size=100)
    assert report.moved == 1000
    assert report.elapsed_s > 0.6


def test_a_limit_does_not_make_up_for_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    limit = Limit(rate=10.0)

    def wait(done: int) -> float:
        limit.wait(done, should_stop=lambda: False, keep_alive=lambda: None)
        return now[0]

    assert wait(50) == pytest.approx(104.8)
    now[0] += 3600
    assert wait(50) == pytest.approx(3704.8)
    assert wait(150) == pytest.approx(3714.6), "an hour without messages gives a fifth of a second, no more"
    assert Limit(rate=0.5).most(500) == 1
    assert Limit(rate=None).most(500) == 500


def test_a_slow_rate_is_slow_from_the_beginning(scene: Scene) -> None:
    fill(scene.legacy, 30)
    steps: list[int] = []
    report = transfer(
        scene.plan,
        environ=scene.environ,
        options=TransferOptions(max_rate=50.0),
        should_stop=lambda: steps.append(scene.unified.llen("unified")) or False,  # type: ignore[func-returns-value]
    )
    assert (report.moved, report.balance) == (30, 0)
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 20


def test_a_copy_is_found_in_the_ledger_after_a_worker_has_run_it(two_servers: Scene) -> None:
    scene = two_servers
    identity = scene.send("health_check_task")
    copy = scene.legacy.lrange("dramatiq:default", 0, -1)[0].decode()
    assert scene.forward().moved == 1
    assert [seen.side.value for seen in locate(scene.plan, environ=scene.environ, identity=identity).sightings] == [
        "unified"
    ]
    scene.unified.delete("unified", "unified\x06\x163")
    found = locate(scene.plan, environ=scene.environ, identity=copy)
    assert not found.sightings
    assert [(arrival.address, abs(arrival.run_at_s - time.time()) < 60) for arrival in found.arrivals] == [
        ("dramatiq:default", True)
    ]
    assert not locate(scene.plan, environ=scene.environ, identity="nobody").arrivals


def test_progress_is_reported(scene: Scene) -> None:
    fill(scene.legacy, 1000)
    events = []
    transfer(scene.plan, environ=scene.environ, listener=events.append)
    assert events[-1].done == events[-1].total == 1000


def test_an_unreachable_server_is_a_clear_error(scene: Scene) -> None:
    environ = {**scene.environ, "UNIFIED_BROKER_URL": "redis://:secret@127.0.0.1:1/0"}
    with pytest.raises(UnreachableError, match="can't be reached") as error:
        transfer(scene.plan, environ=environ)
    assert "secret" not in str(error.value)


def test_depths_count_every_state(scene: Scene) -> None:
    from migrator.brokers.connect import connect

    scene.send("health_check_task")
    scene.send("health_check_task", delay=60_000)
    scene.send("cleanup_old_cache_task")
    scene.apply("health_check_task", priority=9)
    scene.forward(tasks=frozenset({"cleanup_old_cache_task"}))
    legacy = connect(scene.plan.legacy[0], scene.environ).depths()
    assert legacy["default", State.READY] == 1
    assert legacy["default", State.DELAYED] == 1
    assert legacy["default", State.QUARANTINED] == 1
    assert connect(scene.plan.legacy[1], scene.environ).depths()["celery", State.READY] == 1


def test_back_by_name_of_the_direction() -> None:
    assert Direction("back") is Direction.BACK


def test_a_server_that_refuses_a_command(scene: Scene) -> None:
    scene.send("health_check_task")
    scene.unified.set("unified\x06\x163", "somebody's string")
    before = scene.legacy_state()
    with pytest.raises(RefusedError, match="wrong type"):
        scene.forward()
    scene.unified.delete("unified\x06\x163")
    assert scene.legacy.hgetall("dramatiq:default.msgs") == before["default.msgs"]
    assert scene.forward().moved == 1


def test_memory_limit(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 500)
    used = scene.unified.info("memory")["used_memory"]
    scene.unified.config_set("maxmemory", used + 300_000)
    try:
        with pytest.raises(RefusedError, match=r"too little room .* MiB needed"):
            scene.forward()
        assert scene.legacy.llen("dramatiq:default") == 500
    finally:
        scene.unified.config_set("maxmemory", 0)
    report = scene.forward()
    assert report.balance == 0
    assert len(scene.unified_messages()) == 500


def test_memory_that_runs_out_in_the_middle(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 3000)

    def limit() -> bool:
        if scene.unified.llen("unified") > 500:
            scene.unified.config_set("maxmemory", scene.unified.info("memory")["used_memory"])
        return False

    try:
        with pytest.raises(RefusedError, match="memory limit is reached"):
            transfer(scene.plan, environ=scene.environ, should_stop=limit)
    finally:
        scene.unified.config_set("maxmemory", 0)
    there, waiting = scene.unified.llen("unified"), scene.legacy.hlen("dramatiq:default.msgs")
    assert 500 < there < 3000 <= there + waiting
    report = scene.forward()
    assert (report.balance, report.left) == (0, {})
    assert len(scene.unified_calls()) == scene.unified.llen("unified") == 3000


def test_read_only_replica_is_refused_before_anything(two_servers: Scene) -> None:
    scene = two_servers
    scene.send("health_check_task")
    kwargs = scene.legacy.connection_pool.connection_kwargs
    scene.unified.replicaof("127.0.0.1", kwargs["port"])
    try:
        with pytest.raises(RefusedError, match="replica"):
            scene.forward()
    finally:
        scene.unified.replicaof("NO", "ONE")
    assert isinstance(scene.legacy, redis.Redis)
    assert scene.legacy.llen("dramatiq:default") == 1


@pytest.mark.parametrize("system", System)
def test_what_had_arrived_before_a_kill_is_not_sent_back_or_quarantined(two_servers: Scene, system: System) -> None:
    """Pushed to the other server, killed before it was deleted here, resumed with a filter that excludes it."""
    scene = two_servers
    if system is System.DRAMATIQ:
        identity = scene.send("fetch_crypto_prices_task", ["BTC"])
    else:
        identity = scene.apply("fetch_yahoo_stocks_task", ["AAPL"])
    endpoint = scene.plan.endpoint(system)
    assert endpoint is not None
    queue = next(found for found in sources(endpoint) if scene.legacy.exists(found.list))
    entries = scene.legacy.lrange(queue.list, 0, -1)
    bodies = scene.legacy.hgetall(queue.bodies) if queue.bodies else {}
    assert scene.forward().moved == 1
    scene.legacy.rpush(queue.claim, *entries)
    if bodies:
        scene.legacy.hset(queue.bodies, mapping=bodies)

    report = scene.forward(tasks=frozenset({"tasks.fetch_news"}))
    assert (report.already_there, report.moved, report.quarantined, report.filtered_out) == (1, 0, 0, 0)
    assert report.balance == 0
    assert not any(scene.legacy_state().values())
    assert scene.ids() == {("unified", identity): 1}


def test_what_had_arrived_back_before_a_kill_can_go_forward_again(two_servers: Scene) -> None:
    """Pushed back, killed before it was deleted on the unified side: the ledger there must forget it all the same."""
    scene = two_servers
    ids = [scene.send("fetch_crypto_prices_task", ["BTC"]), scene.apply("fetch_yahoo_stocks_task", ["AAPL"])]
    scene.forward()
    lists = [queue for queue in sources(scene.plan.unified) if scene.unified.exists(queue.list)]
    entries = {queue.claim: scene.unified.lrange(queue.list, 0, -1) for queue in lists}
    ledger = scene.unified.hgetall("tqm:ledger")
    assert len(ledger) == 2 == scene.back().moved
    scene.unified.hset("tqm:ledger", mapping=ledger)
    for claim, messages in entries.items():
        scene.unified.rpush(claim, *messages)

    again = scene.back()
    assert (again.moved, again.already_there, again.balance) == (0, 2, 0)
    assert scene.forward().moved == 2
    assert scene.ids() == {("unified", identity): 1 for identity in ids}


def test_a_source_restored_to_an_older_state_doubles_nothing(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 300)
    older = {key: scene.legacy.dump(key) for key in scene.legacy.scan_iter("dramatiq:*")}
    assert scene.forward(batch_size=50).moved == 300
    for key, value in older.items():
        scene.legacy.restore(key, 0, value, replace=True)
    again = scene.forward(batch_size=50)
    assert (again.moved, again.already_there, again.balance) == (0, 300, 0)
    assert scene.unified.llen("unified") == 300 == len(scene.ids())


def test_scripts_that_the_server_forgot_are_loaded_again(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 300)

    flushed: list[bool] = []

    def forget() -> bool:
        if not flushed:
            flushed.extend(bool(client.script_flush()) for client in (scene.legacy, scene.unified))
        return False

    batches = TransferOptions(batch_size=100)
    report = transfer(scene.plan, environ=scene.environ, options=batches, should_stop=forget)
    assert (report.moved, report.balance) == (300, 0)
    assert scene.unified.llen("unified") == 300 == len(scene.ids())
