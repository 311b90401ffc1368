"""Every kind of broker on its real server with messages in each state, put there by the libraries themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import amqp
import celery
import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from rabbit_server import RabbitServer
from waiting import wait_until

from migrator.brokers.connect import connect
from migrator.brokers.protocol import Broker
from migrator.brokers.rabbitmq.queues import rabbit_queues
from migrator.brokers.rabbitmq.staging_headers import ID, private_copy, quarantined_copy
from migrator.brokers.redis.keys import quarantine_key, sources
from migrator.brokers.redis.quarantine import quarantine_entry
from migrator.embedded_redis import EmbeddedServer
from migrator.plan.model import Endpoint
from migrator.wire.message import Side, State, System
from migrator.wire.quarantined import Quarantined, QuarantineReason

QUARANTINED = Quarantined(QuarantineReason.UNKNOWN_TASK, "the actor is not in the plan", "actor", "an id")
_numbers = count(1)


@dataclass(kw_only=True)
class Stand:
    """A broker under test with a message in each state; ids by state."""

    broker: Broker
    ids: dict[State, list[str]]
    #: Put something unreadable into the queue.
    broken: Callable[[], None]
    #: Everything on the server that reading must not change.
    content: Callable[[], Any]
    #: URL of the same kind where nothing listens.
    nowhere: str
    #: States whose messages the server shows only to their owner: they are only counted.
    unseen: frozenset[State] = frozenset()
    #: How many messages each owner holds, by its id.
    claimed_by: dict[str, int]
    #: False where copies get an id only when they are taken.
    copies_have_ids: bool = True
    #: Wait until the server's figures are up to date; those of RabbitMQ's management plugin lag behind.
    wait_until_counted: Callable[[], None] = lambda: None


def endpoint_of(system: System) -> Endpoint:
    return Endpoint(side=Side.LEGACY, system=system, url="${BROKER}", queues=("q",), namespace="ns")


@contextmanager
def redis_stand(server: EmbeddedServer, system: System) -> Iterator[tuple[Stand, redis.Redis]]:
    """A stand in a database of its own on a shared server."""
    db = 11 if system is System.DRAMATIQ else 12
    with redis.Redis(port=server.port, db=db, socket_timeout=5) as client:
        client.flushdb()
        make = _dramatiq_redis if system is System.DRAMATIQ else _celery_redis
        stand = make(server.url(db), client)
        with closing(stand.broker):
            yield stand, client


def _dramatiq_redis(url: str, client: redis.Redis) -> Stand:
    send = dramatiq_sender(RedisBroker(url=url, middleware=[], namespace="ns"))
    endpoint = endpoint_of(System.DRAMATIQ)
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
    quarantined = [send()]
    (copy,) = client.lpop("ns:q", 1)
    client.hset(
        quarantine_key(endpoint),
        *quarantine_entry(sources(endpoint)[0], copy.decode(), "0", QUARANTINED, client.hget("ns:q.msgs", copy)),
    )
    client.hdel("ns:q.msgs", copy)
    ready = [send(retries=3), send()]
    delayed = [send(delay=60_000)]

    def broken() -> None:
        client.hset("ns:q.msgs", "broken", b"\x80\xff")
        client.rpush("ns:q", "broken")

    ids = {State.READY: ready, State.DELAYED: delayed, State.CLAIMED: claimed + forgotten, State.DEAD: dead}
    return Stand(
        broker=connect(endpoint, {"BROKER": url}),
        ids={**ids, State.MOVING: moving, State.QUARANTINED: quarantined},
        broken=broken,
        content=lambda: redis_content(client),
        nowhere="redis://user:secret@127.0.0.1:1/0",
        claimed_by={"worker": 2, "without-heartbeat": 1},
    )


def _celery_redis(url: str, client: redis.Redis) -> Stand:
    app = celery.Celery("producer", broker=url, set_as_current=False)
    send, endpoint = celery_sender(app), endpoint_of(System.CELERY)
    claimed = [send(priority=6)]
    raw = client.rpop("q\x06\x166")
    client.hset("unacked", "tag", json.dumps([json.loads(raw), "", "q"]))
    client.zadd("unacked_index", {"tag": time.time()})
    client.hset("unacked", "not ours", json.dumps([json.loads(raw), "", "another"]))
    client.hset("unacked", "nonsense", "nonsense")
    moving = [send()]
    client.rpush("tqm:claim:celery:q", client.rpop("q"))
    quarantined = [send()]
    client.hset(
        quarantine_key(endpoint), *quarantine_entry(sources(endpoint)[0], "tag", "0", QUARANTINED, client.rpop("q"))
    )
    ready = [send(), send(retries=3), send(priority=9), send(priority=4)]
    app.close()
    return Stand(
        broker=connect(endpoint, {"BROKER": url}),
        ids={State.READY: ready, State.CLAIMED: claimed, State.MOVING: moving, State.QUARANTINED: quarantined},
        broken=lambda: client.lpush("q", b"\x80\xff"),
        content=lambda: redis_content(client),
        nowhere="redis://user:secret@127.0.0.1:1/0",
        claimed_by={"": 1},
    )


@contextmanager
def rabbit_stand(rabbit: RabbitServer, system: System) -> Iterator[Stand]:
    """A stand in a virtual host of its own; a consumer holds messages as long as it lasts."""
    vhost = f"stand{next(_numbers)}"
    rabbit.make_host(vhost)
    with amqp.Connection(
        host=f"127.0.0.1:{rabbit.port}", virtual_host=vhost, login_method="PLAIN", read_timeout=10
    ) as connection:
        stand = _on_rabbit(rabbit, vhost, system, connection.channel())
        with closing(stand.broker):
            yield stand
    rabbit.manage("DELETE", f"vhosts/{vhost}")


def _on_rabbit(rabbit: RabbitServer, vhost: str, system: System, channel: Any) -> Stand:
    url, endpoint = rabbit.url(vhost), endpoint_of(system)
    at = rabbit_queues(endpoint)[0]
    if system is System.DRAMATIQ:
        producer: Any = RabbitmqBroker(url=url, middleware=[])
        send = dramatiq_sender(producer)
    else:
        producer = celery.Celery("producer", broker=url, set_as_current=False)
        send = celery_sender(producer)

    def taken() -> Any:
        # Celery's publisher does not wait for the server.
        return wait_until(lambda: channel.basic_get("q", no_ack=True), what="a message", pause_s=0.02)

    ids: dict[State, list[str]] = {}
    for state, queue in ((State.MOVING, at.moving), (State.QUARANTINED, at.quarantined), (State.DEAD, "q.XQ")):
        if state is State.DEAD and system is System.CELERY:
            continue
        ids[state] = [send()]
        message = taken()
        channel.queue_declare(queue=queue, passive=state is State.DEAD, durable=True, auto_delete=False)
        copy = (
            quarantined_copy(message, "copy", QUARANTINED)
            if state is State.QUARANTINED
            else private_copy(message, {ID: "copy 2"})
        )
        channel.basic_publish(message if state is State.DEAD else copy, routing_key=queue)
    ids[State.CLAIMED] = [send(), send()]
    held: list[Any] = []
    channel.basic_qos(prefetch_size=0, prefetch_count=2, a_global=False)
    channel.basic_consume("q", callback=held.append)
    while len(held) < 2:
        channel.connection.drain_events(timeout=20)
    if system is System.DRAMATIQ:
        ids[State.READY], ids[State.DELAYED] = [send(retries=3), send()], [send(delay=60_000)]
    else:
        ids[State.READY] = [send(), send(retries=3)]
    producer.close()
    broker = connect(endpoint, {"BROKER": url, "RABBITMQ_MANAGEMENT_URL": rabbit.management_url})
    return Stand(
        broker=broker,
        ids=ids,
        broken=lambda: put_raw(channel, b"\x80\xff"),
        content=lambda: rabbit_content(rabbit, vhost),
        nowhere="amqp://user:secret@127.0.0.1:1/",
        unseen=frozenset({State.CLAIMED}),
        claimed_by={"1 consumers": 2},
        copies_have_ids=False,
        wait_until_counted=lambda: until_counted(broker, {state: len(found) for state, found in ids.items()}),
    )


def dramatiq_sender(producer: Any) -> Callable[..., str]:
    producer.declare_queue("q")

    def send(delay: int | None = None, **options: Any) -> str:
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="q", actor_name="actor", args=(1,), kwargs={"a": 2}, options=options
        )
        return str(producer.enqueue(message, delay=delay).message_id)

    return send


def celery_sender(app: celery.Celery) -> Callable[..., str]:
    return lambda **options: str(app.send_task("actor", [1], {"a": 2}, queue="q", **options).id)


def redis_content(client: redis.Redis) -> dict[bytes, Any]:
    # Not DUMP: a hash that is just being resized returns its fields in another order.
    read: dict[bytes, Any] = {
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: read[client.type(key)](key) for key in client.scan_iter()}


def rabbit_content(rabbit: RabbitServer, vhost: str) -> dict[str, Any]:
    # A node that is busy names a queue before it has counted what is in it.
    def counted() -> tuple[dict[str, Any]] | None:
        queues = rabbit.manage("GET", f"queues/{vhost}")
        if all("consumers" in queue for queue in queues):
            return ({q["name"]: (q["messages"], q["arguments"], q["consumers"]) for q in queues},)
        return None

    (content,) = wait_until(counted, what="each queue to be counted", pause_s=0.1)
    return dict(content)


def put_raw(channel: Any, body: bytes) -> None:
    channel.basic_publish(amqp.Message(body), routing_key="q")


def until_counted(broker: Broker, expected: dict[State, int]) -> None:
    """Wait until depths are as expected."""
    wait_until(
        lambda: {state: number for (_, state), number in broker.depths().items() if number} == expected,
        what=broker.depths,
        pause_s=0.1,
    )
