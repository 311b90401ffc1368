"""What every broker on Redis promises, on the oldest and the newest server: counts all, reads all, takes nothing."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from migrator import brokers
from migrator.brokers import Broker
from migrator.errors import ExitCode, UnreachableError, UsageError
from migrator.message import Message, State, System
from migrator.plan import Endpoint, Side
from migrator.servers import EmbeddedServer


@dataclass(kw_only=True)
class Stand:
    """A broker under test with a message in each state; ids by state."""

    broker: Broker
    client: redis.Redis
    ids: dict[State, list[str]]
    broken: Callable[[], None]


@pytest.fixture(params=["new", "old"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(params=["dramatiq", "celery"])
def stand(request: pytest.FixtureRequest, server: EmbeddedServer) -> Iterator[Stand]:
    # A database of their own on the shared servers.
    db = 11 if request.param == "dramatiq" else 12
    client = redis.Redis(port=server.port, db=db, socket_timeout=5)
    client.flushdb()
    make = _dramatiq if request.param == "dramatiq" else _celery
    stand = make(server.url(db), client)
    yield stand
    stand.broker.close()
    client.close()


def _dramatiq(url: str, client: redis.Redis) -> Stand:
    producer = RedisBroker(url=url, middleware=[], namespace="ns")

    def send(delay: int | None = None, **options: Any) -> str:
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="q", actor_name="actor", args=(1,), kwargs={"a": 2}, options=options
        )
        return producer.enqueue(message, delay=delay).message_id

    claimed = [send(), send()]
    client.sadd("ns:__acks__.worker.q", *client.lpop("ns:q", 2))
    forgotten = [send()]
    client.sadd("ns:__acks__.without-heartbeat.q", *client.lpop("ns:q", 1))
    client.zadd("ns:__heartbeats__", {"worker": time.time() * 1000})
    dead = [send()]
    (copy,) = client.lpop("ns:q", 1)
    client.zadd("ns:q.XQ", {copy: time.time() * 1000})
    client.hset("ns:q.XQ.msgs", copy, client.hget("ns:q.msgs", copy))
    client.hdel("ns:q.msgs", copy)
    moving = [send()]
    client.rpush("tqm:claim:dramatiq:ns:q", *client.lpop("ns:q", 1))
    ready = [send(retries=3), send()]
    delayed = [send(delay=60_000)]
    endpoint = Endpoint(side=Side.LEGACY, system=System.DRAMATIQ, url="${BROKER}", queues=("q",), namespace="ns")

    def broken() -> None:
        client.hset("ns:q.msgs", "broken", b"\x80\xff")
        client.rpush("ns:q", "broken")

    ids = {State.READY: ready, State.DELAYED: delayed, State.CLAIMED: claimed + forgotten}
    return Stand(
        broker=brokers.connect(endpoint, {"BROKER": url}),
        client=client,
        ids={**ids, State.DEAD: dead, State.MOVING: moving},
        broken=broken,
    )


def _celery(url: str, client: redis.Redis) -> Stand:
    app = celery.Celery("producer", broker=url, set_as_current=False)

    def send(**options: Any) -> str:
        return str(app.send_task("actor", [1], {"a": 2}, queue="q", **options).id)

    claimed = [send(priority=6)]
    raw = client.rpop("q\x06\x166")
    client.hset("unacked", "tag", json.dumps([json.loads(raw), "", "q"]))
    client.zadd("unacked_index", {"tag": time.time()})
    client.hset("unacked", "not ours", json.dumps([json.loads(raw), "", "another"]))
    client.hset("unacked", "nonsense", "nonsense")
    moving = [send()]
    client.rpush("tqm:claim:celery:q", client.rpop("q"))
    ready = [send(), send(retries=3), send(priority=9), send(priority=4)]
    endpoint = Endpoint(side=Side.LEGACY, system=System.CELERY, url="${BROKER}", queues=("q",))
    app.close()
    return Stand(
        broker=brokers.connect(endpoint, {"BROKER": url}),
        client=client,
        ids={State.READY: ready, State.CLAIMED: claimed, State.MOVING: moving},
        broken=lambda: client.lpush("q", b"\x80\xff"),
    )


def test_depths_count_every_state_and_name_the_empty_ones(stand: Stand) -> None:
    depths = stand.broker.depths()
    assert depths == {("q", state): len(stand.ids.get(state, [])) for state in State}


def test_scan_yields_each_message_once_with_its_state(stand: Stand) -> None:
    found = Counter((message.state, message.id) for message in stand.broker.scan())
    assert found == {(state, identity): 1 for state, ids in stand.ids.items() for identity in ids}


def test_scan_reads_what_a_person_wants_to_know(stand: Stand) -> None:
    messages = {message.id: message for message in stand.broker.scan()}
    retried = next(message for message in messages.values() if message.attempts)
    assert (retried.task, retried.args, dict(retried.kwargs), retried.attempts) == ("actor", (1,), {"a": 2}, 3)
    assert (retried.queue, retried.system) == ("q", stand.broker.endpoint.system)
    assert all(isinstance(message, Message) and message.copy_id and message.raw for message in messages.values())
    assert len({message.copy_id for message in messages.values()}) == len(messages)


def test_scan_keeps_the_order_of_service(stand: Stand) -> None:
    ready = [message.id for message in stand.broker.scan() if message.state is State.READY]
    assert ready[:2] == stand.ids[State.READY][:2]


def test_reading_changes_nothing(stand: Stand) -> None:
    def content() -> dict[bytes, Any]:
        # Not DUMP: a hash that is just being resized gives its fields in another order.
        client = stand.client
        read = {
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        return {key: read[client.type(key)](key) for key in client.scan_iter()}

    before = content()
    stand.broker.depths()
    list(stand.broker.scan())
    stand.broker.owners()
    stand.broker.facts()
    assert content() == before


def test_an_unreadable_message_is_scanned_with_its_bytes(stand: Stand) -> None:
    stand.broken()
    (broken,) = [message for message in stand.broker.scan() if not message.task]
    assert broken.raw == b"\x80\xff"
    assert broken.queue == "q"


def test_another_queue_is_not_read(stand: Stand) -> None:
    assert list(stand.broker.scan(queue="elsewhere")) == []


def test_owners_tell_who_holds_how_much(stand: Stand) -> None:
    owners = {owner.id: owner for owner in stand.broker.owners()}
    if stand.broker.endpoint.system is System.DRAMATIQ:
        assert {name: owner.claimed for name, owner in owners.items()} == {"worker": 2, "without-heartbeat": 1}
        assert owners["worker"].silent_s is not None and owners["worker"].silent_s < 60
        assert owners["without-heartbeat"].heartbeat_ms is None
    else:
        assert {name: owner.claimed for name, owner in owners.items()} == {"": 1}


def test_facts_say_what_would_endanger_messages(stand: Stand) -> None:
    facts = stand.broker.facts()
    assert facts.server.startswith(("valkey 9", "redis 6.2"))
    assert (facts.role, facts.persistence, facts.eviction_policy) == ("master", "none", "noeviction")
    assert [finding.code for finding in facts.findings] == ["BROKER-VOLATILE"]
    assert facts.headroom_bytes is None
    stand.client.config_set("maxmemory", facts.used_memory_bytes + 1000)
    stand.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        facts = stand.broker.facts()
        assert {finding.code for finding in facts.findings} == {"BROKER-EVICTION", "BROKER-VOLATILE", "BROKER-MEMORY"}
    finally:
        stand.client.config_set("maxmemory", 0)
        stand.client.config_set("maxmemory-policy", "noeviction")


def test_a_server_that_is_not_there_is_unreachable(stand: Stand) -> None:
    nowhere = brokers.connect(stand.broker.endpoint, {"BROKER": "redis://user:secret@127.0.0.1:1/0"})
    for ask in (nowhere.depths, nowhere.facts, nowhere.owners, lambda: list(nowhere.scan())):
        with pytest.raises(UnreachableError, match="can't be reached") as error:
            ask()
        assert error.value.exit_code is ExitCode.UNREACHABLE
        assert "secret" not in str(error.value)


def test_an_unknown_kind_of_url_is_refused(stand: Stand) -> None:
    with pytest.raises(UsageError, match="no broker module"):
        brokers.connect(stand.broker.endpoint, {"BROKER": "kafka://x"})


def test_the_scripts_are_in_the_package() -> None:
    folder = Path(brokers.__file__).parent / "scripts"
    assert {file.stem for file in folder.glob("*.lua")} >= {"apply", "claim_ids", "claim_list", "push", "release"}
