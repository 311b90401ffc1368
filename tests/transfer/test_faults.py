"""Connections that are cut, replies that are lost, servers that restart, refuse or are full, producers that go on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import redis
from flaky_proxy import flaky_proxy
from kill_campaign import carried_copies, legacy_copies, produce
from message_traffic import Scene, fill, make_scene

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import RefusedError, UnreachableError
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer


def _through(scene: Scene, urls: dict[str, str], direction: Direction = Direction.FORWARD) -> TransferReport:
    options = TransferOptions(direction=direction, batch_size=50)
    return transfer(scene.plan, environ={**scene.environ, **urls}, options=options)


@pytest.mark.parametrize("lose_answer", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("behind", ["legacy", "unified"])
def test_cut_after_every_nth_chunk(two_servers: Scene, behind: str, lose_answer: bool) -> None:
    scene = two_servers
    produce(scene, 600, seed=3)
    before = legacy_copies(scene)
    client = scene.legacy if behind == "legacy" else scene.unified
    names = ["DRAMATIQ_BROKER_URL", "CELERY_BROKER_URL"] if behind == "legacy" else ["UNIFIED_BROKER_URL"]
    with flaky_proxy(client.connection_pool.connection_kwargs["port"]) as proxy:
        urls = dict.fromkeys(names, proxy.url())
        for nth in (29, 23, 17):
            # Connecting, locking and counting stay undisturbed: only the transfer of messages is under test.
            proxy.cut_after, proxy.lose_answer, proxy.cuts_left = nth, lose_answer, 6
            reports = [_resumed(scene, urls, Direction.FORWARD)]
            there = carried_copies(scene)
            assert {copy for copy in before if there[copy] != 1} == set()
            assert not legacy_copies(scene)
            proxy.cuts_left = 6
            reports.append(_resumed(scene, urls, Direction.BACK))
            after = legacy_copies(scene)
            assert {copy: sorted(raws) for copy, raws in after.items()} == before
            assert all(report.balance == 0 for report in reports)
        assert proxy.cuts > 12


def _resumed(scene: Scene, urls: dict[str, str], direction: Direction) -> TransferReport:
    """Run again and again, as an operator does after a clear error."""
    for _ in range(30):
        try:
            return _through(scene, urls, direction)
        except UnreachableError:
            time.sleep(0.05)
    pytest.fail("no end after 30 attempts")


def test_one_run_survives_cuts_by_itself(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 4000)
    with flaky_proxy(scene.unified.connection_pool.connection_kwargs["port"]) as proxy:
        proxy.lose_answer = True

        def cut_later() -> None:
            while scene.unified.llen("unified") == 0:
                time.sleep(0.001)
            proxy.cut_after, proxy.cuts_left = 2, 3

        watcher = threading.Thread(target=cut_later)
        watcher.start()
        report = _through(scene, {"UNIFIED_BROKER_URL": proxy.url()})
        watcher.join()
    assert report.reconnects > 0
    assert (report.balance, report.moved + report.already_there) == (0, 4000)
    assert len(scene.unified_calls()) == 4000
    assert sum(carried_copies(scene).values()) == 4000


@pytest.mark.parametrize("restarted_side", ["legacy", "unified"])
def test_a_server_that_restarts_in_the_middle(
    tmp_path: Path, redis_server: EmbeddedServer, restarted_side: str
) -> None:
    redis.Redis(port=redis_server.port).flushall()
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with embedded_server(folder=tmp_path / "durable", arguments=durable) as server:
        sides = {"legacy": redis_server, "unified": redis_server, restarted_side: server}
        with make_scene(tmp_path, **sides) as scene:
            fill(scene.legacy, 3000)
            restarted = threading.Event()

            def restart() -> None:
                while redis.Redis(port=sides["unified"].port).llen("unified") < 300:
                    time.sleep(0.001)
                server.kill()
                server.start()
                restarted.set()

            thread = threading.Thread(target=restart)
            thread.start()
            report = _through(scene, {})
            thread.join()
            assert restarted.is_set()
            assert report.reconnects > 0
            assert report.balance == 0
            assert len(scene.unified_calls()) == 3000
            assert sum(carried_copies(scene).values()) == 3000


def test_a_destination_that_becomes_a_replica_in_the_middle(two_servers: Scene) -> None:
    scene = two_servers
    fill(scene.legacy, 3000)

    def fail_over() -> bool:
        if scene.unified.llen("unified") > 300 and scene.unified.info("replication")["role"] == "master":
            # A replica whose primary is away keeps what it has and accepts nothing.
            scene.unified.replicaof("127.0.0.1", 1)
        return False

    try:
        with pytest.raises(RefusedError, match="read-only replica"):
            transfer(
                scene.plan,
                environ=scene.environ,
                options=TransferOptions(batch_size=50),
                should_stop=fail_over,
            )
    finally:
        scene.unified.replicaof("NO", "ONE")
    there, waiting = scene.unified.llen("unified"), scene.legacy.hlen("dramatiq:default.msgs")
    assert 300 < there < 3000 <= there + waiting
    # The lock could not be released there, and the process that holds it is still running: this one.
    report = scene.forward(takeover=True)
    assert (report.balance, report.left) == (0, {})
    assert len(scene.unified_calls()) == scene.unified.llen("unified") == 3000


@pytest.mark.parametrize(
    "key",
    [
        "dramatiq:default",
        "dramatiq:default.msgs",
        "celery",
        "unified",
        "tqm:claim:dramatiq:dramatiq:default",
        "tqm:claim:celery:celery",
        "tqm:kept:legacy:dramatiq",
        "tqm:parked",
    ],
)
def test_a_key_of_the_wrong_type_is_a_clear_error_and_nothing_is_changed(any_scene: Scene, key: str) -> None:
    scene = any_scene
    produce(scene, 200, seed=9)
    scene.send("fetch_news_task", delay=3_000_000)
    client = scene.unified if key in {"unified", "tqm:parked"} else scene.legacy
    before = _dumps(scene)
    known = client.dump(key)
    client.set(key, "somebody's string")
    with pytest.raises(RefusedError, match="wrong type"):
        scene.forward()
    client.delete(key)
    if known is not None:
        client.restore(key, 0, known)
    # Messages of other queues may have been moved before the key was reached; everything is accounted for.
    report = scene.forward()
    assert report.balance == 0
    scene.back()
    assert _dumps(scene) == before


def _dumps(scene: Scene) -> dict[tuple[str, str, str], list[bytes]]:
    return {copy: sorted(raws) for copy, raws in legacy_copies(scene).items()}


def test_a_server_that_stays_away_is_a_clear_error_and_the_next_run_finishes(
    two_servers: Scene, tmp_path: Path
) -> None:
    scene = two_servers
    with embedded_server(folder=tmp_path / "gone") as server:
        environ = {**scene.environ, "UNIFIED_BROKER_URL": server.url()}
        fill(scene.legacy, 2000)
        stop = threading.Thread(target=lambda: (_wait_for(server), server.kill()))
        stop.start()
        with pytest.raises(UnreachableError, match="can't be reached"):
            transfer(scene.plan, environ=environ, options=TransferOptions(batch_size=50, reconnect_s=0.5))
        stop.join()
        claimed = scene.legacy.llen("tqm:claim:dramatiq:dramatiq:default")
        assert claimed > 0
        # The dead server's messages are lost: it had no persistence. What it had not confirmed is still here.
        arrived = 2000 - scene.legacy.hlen("dramatiq:default.msgs")
        report = transfer(scene.plan, environ=scene.environ)
        assert report.resumed == claimed
        assert report.moved == 2000 - arrived


def _wait_for(server: EmbeddedServer) -> None:
    client = redis.Redis(port=server.port)
    while not client.llen("unified"):
        time.sleep(0.001)


def test_a_producer_that_goes_on_and_a_worker_that_goes_on(any_scene: Scene) -> None:
    scene = any_scene
    sent: list[str] = []
    consumed: list[bytes] = []
    stop = threading.Event()

    def produce_more() -> None:
        while not stop.is_set():
            sent.append(scene.send("fetch_crypto_prices_task", ["A"]))

    def consume() -> None:
        # As Dramatiq's own consumer: take, then acknowledge.
        from dramatiq.brokers.redis import RedisBroker

        broker = RedisBroker(url=scene.environ["DRAMATIQ_BROKER_URL"], middleware=[])
        while not stop.is_set():
            for raw in broker.do_fetch("default", 3):
                import json

                consumed.append(json.loads(raw)["message_id"])
                broker.do_ack("default", json.loads(raw)["options"]["redis_message_id"])

    threads = [threading.Thread(target=produce_more), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    reports = [scene.forward(batch_size=20) for _ in range(15)]
    stop.set()
    for thread in threads:
        thread.join()
    reports.append(scene.forward())
    arrived = [message.headers["id"] for message in scene.unified_messages()]
    assert sum(report.moved for report in reports) == len(arrived)
    assert sorted(arrived + consumed) == sorted(sent)
    assert all(report.balance == 0 for report in reports)
    assert not scene.legacy.exists("dramatiq:default", "dramatiq:default.msgs")


def test_the_wrong_password_is_a_clear_error(tmp_path: Path, redis_server: EmbeddedServer) -> None:
    with (
        embedded_server(folder=tmp_path / "locked") as server,
        make_scene(tmp_path, legacy=redis_server, unified=redis_server) as scene,
    ):
        redis.Redis(port=server.port).config_set("requirepass", "right")
        url = f"redis://:wrong@127.0.0.1:{server.port}/0"
        with pytest.raises(UnreachableError, match="password") as error:
            _through(scene, {"UNIFIED_BROKER_URL": url})
        assert ":wrong@" not in str(error.value)
        right = f"redis://:right@127.0.0.1:{server.port}/0"
        assert _through(scene, {"UNIFIED_BROKER_URL": right}).balance == 0


def test_an_evicting_server_is_refused(scene: Scene) -> None:
    fill(scene.legacy, 10)
    scene.legacy.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(RefusedError, match="may evict queues"):
            scene.forward()
    finally:
        scene.legacy.config_set("maxmemory-policy", "noeviction")
    assert scene.legacy.llen("dramatiq:default") == 10


def test_unreadable_messages_stay_and_are_listed(any_scene: Scene) -> None:
    scene = any_scene
    fill(scene.legacy, 50)
    import random

    rng = random.Random(2)
    for index in range(200):
        raw = rng.randbytes(rng.randint(0, 300))
        scene.legacy.hset("dramatiq:default.msgs", f"x{index}", raw)
        scene.legacy.rpush("dramatiq:default", f"x{index}")
        scene.legacy.lpush("celery", raw)
    before = legacy_bytes(scene)
    report = scene.forward()
    assert (report.moved, report.quarantined, report.balance) == (50, 400, 0)
    assert len(report.quarantined_messages) == 400
    scene.back()
    assert legacy_bytes(scene) == before


def legacy_bytes(scene: Scene) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return the bodies and the Celery list."""
    return scene.legacy.hgetall("dramatiq:default.msgs"), sorted(scene.legacy.lrange("celery", 0, -1))
