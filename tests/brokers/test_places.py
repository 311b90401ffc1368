"""Every place where a message can be that runs later: the plan's, reported, or none of ours. On real servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import amqp
import celery
import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker
from kombu import Connection, Exchange, Queue
from rabbit_server import RabbitServer
from waiting import wait_until

from migrator.brokers.outside import outside_places, place_findings
from migrator.brokers.protocol import PlaceKind
from migrator.brokers.rabbitmq.management import URL_VARIABLE
from migrator.brokers.rabbitmq.places import delayed_exchanges
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.embedded_redis import EmbeddedServer
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Severity

PLAN = """\
[migration]
name = "places"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["jobs"]
modules = ["app.actors"]

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["app.old"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "app.ping"
path = "app.tasks.ping"
parameters = ["x"]

  [[task.replaces]]
  system = "celery"
  name = "ping"
  path = "app.old.ping"
  parameters = ["x"]
  primary = true

  [[task.replaces]]
  system = "dramatiq"
  name = "ping"
  path = "app.actors.ping"
  parameters = ["x"]
"""
UNDER_CELERY = 'queues = ["celery"]\n'
UNDER_DRAMATIQ = 'queues = ["jobs"]\n'
SCOPE = '\n[scope]\nmodules = ["app.*"]\n'


def leave(broker: str, queue: str, more: str = "") -> str:
    return f'\n[[leave]]\nbroker = "{broker}"\nqueue = "{queue}"\nreason = "of the mailer"\n{more}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A server, and the libraries' own ways to put messages on it."""

    url: str
    client: redis.Redis

    def celery(self, task: str = "ping", *, database: int = 0, options: Any = None, **how: Any) -> None:
        app = celery.Celery("producer", broker=f"{self.url}/{database}", set_as_current=False)
        app.conf.broker_transport_options = options or {}
        app.conf.update(how.pop("conf", {}))
        app.send_task(task, args=(1,), **how)
        app.close()

    def dramatiq(
        self, queue: str, *, task: str = "ping", namespace: str = "dramatiq", database: int = 0, **options: Any
    ) -> None:
        broker = RedisBroker(url=f"{self.url}/{database}", middleware=[], namespace=namespace)
        broker.declare_queue(queue)
        message: Any = dramatiq.Message(queue_name=queue, actor_name=task, args=(1,), kwargs={}, options={})
        broker.enqueue(message, **options)

    def take(self, queue: str, key: str = "unacked") -> None:
        """Take a message as a worker of Celery does, without finishing it."""
        raw = self.client.rpop(queue)
        assert isinstance(raw, bytes)
        self.client.hset(key, "tag", json.dumps([json.loads(raw), "", queue]))
        self.client.zadd(f"{key}_index", {"tag": time.time()})


def routed(bench: Bench) -> None:
    """Publish through an exchange with a routing key that is no queue's name, and take the message."""
    queue = Queue("mail", Exchange("letters", type="direct"), routing_key="letter.sent")
    with Connection(f"{bench.url}/0") as connection:
        queue(connection.default_channel).declare()
    bench.celery(queue=queue, conf={"task_queues": [queue]})
    raw = json.loads(bench.client.rpop("mail"))
    bench.client.hset("unacked", "tag", json.dumps([raw, "letters", "letter.sent"]))


def claimed(bench: Bench) -> None:
    bench.dramatiq("mail")
    bench.client.sadd("dramatiq:__acks__.gone.mail", *bench.client.lpop("dramatiq:mail", 1))


def dead(bench: Bench) -> None:
    bench.dramatiq("mail")
    (copy,) = bench.client.lpop("dramatiq:mail", 1)
    bench.client.zadd("dramatiq:mail.XQ", {copy: time.time() * 1000})
    bench.client.hset("dramatiq:mail.XQ.msgs", copy, bench.client.hget("dramatiq:mail.msgs", copy))
    bench.client.hdel("dramatiq:mail.msgs", copy)


def event(bench: Bench) -> None:
    with Connection(f"{bench.url}/0") as connection:
        connection.SimpleQueue("celeryev.somebody").put({"type": "worker-heartbeat"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One place."""

    put: Callable[[Bench], None]
    #: None if nothing is to be said.
    kind: PlaceKind | None
    #: As the finding names it.
    queue: str = ""
    severity: Severity = Severity.ERROR
    plan: str = PLAN
    #: Part of the remedy: the line for the plan.
    line: str = ""
    messages: int = 1


COLON = {"sep": ":", "priority_steps": list(range(10)), "queue_order_strategy": "priority"}
MAIL = {"kind": PlaceKind.QUEUE, "queue": "mail"}
NOBODY = {"kind": None}
ON_REDIS: dict[str, Row] = {
    "the plan's Dramatiq queue": Row(put=lambda b: b.dramatiq("jobs"), **NOBODY),
    "delayed in the plan's Dramatiq queue": Row(put=lambda b: b.dramatiq("jobs", delay=60_000), **NOBODY),
    "the plan's Celery queue": Row(put=lambda b: b.celery(), **NOBODY),
    "each step of the plan's Celery queue": Row(
        put=lambda b: [b.celery(priority=step) for step in (0, 3, 6, 9)] and None, **NOBODY
    ),
    "the unified queue": Row(put=lambda b: b.celery("app.ping", queue="unified"), **NOBODY),
    "with an ETA in the plan's Celery queue": Row(put=lambda b: b.celery(countdown=900), **NOBODY),
    "taken from the plan's Celery queue": Row(put=lambda b: b.celery() or b.take("celery"), **NOBODY),
    "another Celery queue": Row(
        put=lambda b: b.celery(queue="mail"), **MAIL, line='queues = ["celery", "mail"] under [legacy.celery]'
    ),
    "another Celery queue, urgent": Row(put=lambda b: b.celery(queue="mail", priority=3), **MAIL),
    "all priorities of another Celery queue": Row(
        put=lambda b: [b.celery(queue="mail", priority=step) for step in (0, 3, 9)] and None, **MAIL, messages=3
    ),
    "with an ETA in another Celery queue": Row(put=lambda b: b.celery(queue="mail", countdown=900), **MAIL),
    "another Celery queue, of tasks that nobody knows": Row(put=lambda b: b.celery("mailing", queue="mail"), **MAIL),
    "a chord that waits in another queue": Row(put=lambda b: b.celery("celery.chord_unlock", queue="mail"), **MAIL),
    "another Celery queue, left alone": Row(
        put=lambda b: b.celery(queue="mail"), **NOBODY, plan=PLAN + leave("legacy.celery", "mail")
    ),
    "another Celery queue, left alone by its first letters": Row(
        put=lambda b: b.celery(queue="mail"), **NOBODY, plan=PLAN + leave("unified", "ma*")
    ),
    "another Celery queue, beside one that is left alone": Row(
        put=lambda b: b.celery(queue="mail"), **MAIL, plan=PLAN + leave("legacy.celery", "post")
    ),
    "another Celery queue of tasks that stay": Row(
        put=lambda b: b.celery("mailing", queue="mail"), **NOBODY, plan=PLAN + SCOPE
    ),
    "another Celery queue with tasks of the scope": Row(
        put=lambda b: b.celery("mailing", queue="mail") or b.celery(queue="mail"), **MAIL, plan=PLAN + SCOPE, messages=2
    ),
    "taken from another Celery queue": Row(
        put=lambda b: b.celery(queue="mail") or b.take("mail"), kind=PlaceKind.UNACKED, queue="mail"
    ),
    "taken from another Celery queue by a routing key": Row(put=routed, kind=PlaceKind.UNACKED, queue="mail"),
    "taken under another key prefix": Row(
        put=lambda b: b.celery() or b.take("celery", "shop-unacked"), kind=PlaceKind.UNACKED, queue="shop-celery"
    ),
    "another separator": Row(
        put=lambda b: b.celery(priority=5, options=COLON),
        kind=PlaceKind.SEPARATOR,
        queue="celery:5",
        line='priority_separator = ":" under [legacy.celery]',
    ),
    "another step": Row(
        put=lambda b: b.celery(priority=5, options={"priority_steps": [0, 5]}),
        kind=PlaceKind.STEP,
        queue="celery\x06\x165",
        line="priority_steps = [0, 3, 5, 6, 9] under [legacy.celery]",
    ),
    "the separator that the plan has": Row(
        put=lambda b: b.celery(priority=5, options=COLON),
        **NOBODY,
        plan=PLAN.replace(
            UNDER_CELERY,
            UNDER_CELERY + 'priority_separator = ":"\npriority_steps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n',
        ),
    ),
    "another key prefix": Row(
        put=lambda b: b.celery(
            queue=Queue("celery", Exchange("celery"), routing_key="celery"), options={"global_keyprefix": "shop-"}
        ),
        kind=PlaceKind.PREFIX,
        queue="shop-celery",
    ),
    "the key prefix that the plan has": Row(
        put=lambda b: b.celery(options={"global_keyprefix": "shop-"}),
        **NOBODY,
        plan=PLAN.replace(UNDER_CELERY, UNDER_CELERY + 'key_prefix = "shop-"\n'),
    ),
    "another database, with tasks of the plan": Row(
        put=lambda b: b.celery(database=3), kind=PlaceKind.DATABASE, queue="celery"
    ),
    "another database, with tasks of nobody": Row(
        put=lambda b: b.celery("mailing", database=3),
        kind=PlaceKind.DATABASE,
        queue="celery",
        severity=Severity.WARNING,
    ),
    "another database, left alone": Row(
        put=lambda b: b.celery(database=3), **NOBODY, plan=PLAN + leave("unified", "*", "database = 3\n")
    ),
    "another database than the one that is left alone": Row(
        put=lambda b: b.celery(database=3),
        kind=PlaceKind.DATABASE,
        queue="celery",
        plan=PLAN + leave("unified", "*", "database = 4\n"),
    ),
    "Dramatiq in another database": Row(
        put=lambda b: b.dramatiq("jobs", database=3), kind=PlaceKind.DATABASE, queue="dramatiq:jobs"
    ),
    "another Dramatiq queue": Row(
        put=lambda b: b.dramatiq("mail"),
        kind=PlaceKind.QUEUE,
        queue="dramatiq:mail",
        line='queues = ["jobs", "mail"] under [legacy.dramatiq]',
    ),
    "delayed in another Dramatiq queue": Row(
        put=lambda b: b.dramatiq("mail", delay=60_000), kind=PlaceKind.QUEUE, queue="dramatiq:mail"
    ),
    "taken from another Dramatiq queue by a worker that is gone": Row(
        put=claimed, kind=PlaceKind.QUEUE, queue="dramatiq:mail"
    ),
    "another Dramatiq namespace": Row(
        put=lambda b: b.dramatiq("jobs", namespace="shop"), kind=PlaceKind.NAMESPACE, queue="shop:jobs"
    ),
    "another Dramatiq namespace, left alone": Row(
        put=lambda b: b.dramatiq("jobs", namespace="shop"), **NOBODY, plan=PLAN + leave("legacy.dramatiq", "shop:*")
    ),
    "dead letters of another Dramatiq queue": Row(put=dead, **NOBODY),
    "lists that hold no tasks": Row(
        put=lambda b: b.client.rpush("recent", '{"headers": 1}', b"\xff", "x") and None, **NOBODY
    ),
    "a hash that is called like Dramatiq's": Row(
        put=lambda b: b.client.hset("chat:room.msgs", "1", '{"text": "hello"}') and None, **NOBODY
    ),
    "events of workers": Row(put=event, **NOBODY),
}


def native(vhost: str) -> None:
    """Delay a message as Celery does for quorum queues: it lies in a queue of the delivery until it is due."""
    from kombu.transport.native_delayed_delivery import (
        calculate_routing_key,
        declare_native_delayed_delivery_exchanges_and_queues,
    )

    with Connection(vhost) as connection:
        declare_native_delayed_delivery_exchanges_and_queues(connection, "classic")
        connection.Producer().publish(
            {}, exchange="celery_delayed_27", routing_key=calculate_routing_key(600, "celery")
        )


def declared(vhost: str, queue: str, *, messages: int = 1, **how: Any) -> None:
    """Declare a queue and put plain messages into it."""
    with amqp.Connection(
        vhost.partition("@")[2].partition("/")[0], virtual_host=vhost.rpartition("/")[2]
    ) as connection:
        channel = connection.channel()
        channel.confirm_select()
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=how or None)
        for _ in range(messages):
            channel.basic_publish(amqp.Message("{}", delivery_mode=2), routing_key=queue)
        channel.close()


RETRIES = {"x-message-ttl": 600_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "celery"}
ON_RABBITMQ: dict[str, tuple[Callable[[str], None], Row]] = {
    "the plan's queues": (lambda v: declared(v, "celery"), Row(put=print, **NOBODY)),
    "delayed in the plan's Dramatiq queue": (lambda v: declared(v, "jobs.DQ"), Row(put=print, **NOBODY)),
    "another queue": (
        lambda v: declared(v, "mail"),
        Row(put=print, **MAIL, line='queues = ["celery", "mail"] under [legacy.celery]'),
    ),
    "another queue that is empty": (lambda v: declared(v, "mail", messages=0), Row(put=print, **NOBODY)),
    "another queue, left alone": (
        lambda v: declared(v, "mail"),
        Row(put=print, **NOBODY, plan=PLAN + leave("legacy.celery", "mail")),
    ),
    "another queue of a plan with a scope": (
        lambda v: declared(v, "mail"),
        Row(put=print, **NOBODY, plan=PLAN + SCOPE),
    ),
    "delayed in another Dramatiq queue": (
        lambda v: declared(v, "mail.DQ"),
        Row(
            put=print,
            kind=PlaceKind.QUEUE,
            queue="mail.DQ",
            line='queues = ["jobs", "mail"] under [legacy.dramatiq]',
        ),
    ),
    "dead letters of Dramatiq": (lambda v: declared(v, "mail.XQ"), Row(put=print, **NOBODY)),
    "a quorum queue": (lambda v: declared(v, "mail", **{"x-queue-type": "quorum"}), Row(put=print, **MAIL)),
    "a queue from which the server moves messages on": (
        lambda v: declared(v, "mail", **RETRIES),
        Row(put=print, kind=PlaceKind.DEAD_LETTER_ROUTE, queue="mail"),
    ),
    "Celery's native delayed delivery": (
        native,
        Row(put=print, kind=PlaceKind.NATIVE_DELAY, queue="celery_delayed_9"),
    ),
    "replies to control messages": (
        lambda v: declared(v, "x.reply.celery.pidbox"),
        Row(put=print, **NOBODY),
    ),
}


@pytest.fixture
def plan_file(tmp_path: Any) -> Callable[[str], Plan]:
    def write(text: str) -> Plan:
        file = tmp_path / "migration.toml"
        file.write_text(text)
        return load_plan(file)

    return write


def judge(plan: Plan, environ: dict[str, str], row: Row) -> None:
    places = outside_places(plan, environ)
    findings = list(place_findings(plan, places))
    if row.kind is None:
        assert not findings
        return
    ((place, finding),) = zip(places, findings, strict=True)
    assert (place.kind, place.queue, place.messages) == (row.kind, row.queue, row.messages)
    assert finding.severity is row.severity
    assert (row.line or "[[leave]]") in finding.remedy
    # The words that it names do what it says.
    left = plan.file.read_text() + "\n" + place.leave.replace("; ", "\n").replace("…", "known")
    plan.file.write_text(left)
    assert outside_places(load_plan(plan.file), environ) == ()


@pytest.mark.parametrize("name", ON_REDIS)
@pytest.mark.parametrize("server", ["new_server", "old_server"])
def test_places_on_redis(
    name: str, server: str, request: pytest.FixtureRequest, plan_file: Callable[[str], Plan]
) -> None:
    embedded: EmbeddedServer = request.getfixturevalue(server)
    with redis.Redis.from_url(embedded.url(), socket_timeout=5) as client:
        client.flushall()
        row = ON_REDIS[name]
        row.put(Bench(url=embedded.url().rpartition("/")[0], client=client))
        before = {key: client.dump(key) for key in client.scan_iter()}
        judge(plan_file(row.plan), {"BROKER": embedded.url()}, row)
        assert before == {key: client.dump(key) for key in client.scan_iter()}
        client.flushall()


@pytest.fixture
def vhost(rabbit: RabbitServer) -> Iterator[str]:
    url = rabbit.make_host("places")
    yield url
    rabbit.manage("DELETE", "vhosts/places")


@pytest.mark.acceptance
@pytest.mark.xdist_group("rabbitmq")
@pytest.mark.parametrize("name", ON_RABBITMQ)
def test_places_on_rabbitmq(name: str, vhost: str, rabbit: RabbitServer, plan_file: Callable[[str], Plan]) -> None:
    put, row = ON_RABBITMQ[name]
    put(vhost)
    wait_until(lambda: row.kind is None or any(item.get("messages") for item in rabbit.manage("GET", "queues/places")))
    judge(plan_file(row.plan), {"BROKER": vhost, URL_VARIABLE: rabbit.management_url}, row)


@pytest.mark.acceptance
@pytest.mark.xdist_group("rabbitmq")
def test_without_the_management_plugin_names_of_the_source_are_asked_for(
    vhost: str, plan_file: Callable[[str], Plan]
) -> None:
    plan = plan_file(PLAN)
    (plan.folder / "app").mkdir()
    (plan.folder / "app/old.py").write_text(
        'from celery import shared_task\n\n\n@shared_task(queue="mail")\ndef mail(x):\n    return x\n'
    )
    declared(vhost, "mail")
    native(vhost)
    found = {(place.kind, place.queue) for place in outside_places(plan, {"BROKER": vhost})}
    assert found == {(PlaceKind.QUEUE, "mail"), (PlaceKind.NATIVE_DELAY, "celery_delayed_9")}


def test_an_exchange_that_holds_messages_is_a_place() -> None:
    server = RabbitmqServer("amqp://h/v")
    exchanges = [
        {"name": "late", "type": "x-delayed-message", "messages_delayed": 2},
        {"name": "unknown", "type": "x-delayed-message"},
        {"name": "empty", "type": "x-delayed-message", "messages_delayed": 0},
        {"name": "usual", "type": "direct"},
    ]
    found = {place.queue: place.messages for place in delayed_exchanges(server, [], exchanges)}
    assert found == {"late": 2, "unknown": None}
