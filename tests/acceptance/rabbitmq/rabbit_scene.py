"""Real producers of both legacy systems on Redis or RabbitMQ, and what lies in the queues afterwards."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import amqp
import celery
import dramatiq
import pika
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from kombu import Connection
from kombu.transport.virtual import Message as KombuMessage

from migrator.brokers.connect import connect
from migrator.brokers.protocol import Broker
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.rabbitmq import home, session
from migrator.transfer.rabbitmq.home import WRITTEN_AFTER_S
from migrator.transfer.rabbitmq.session import QUEUE_WRITTEN_AFTER_S
from migrator.transfer.transfer import transfer
from migrator.wire.message import State, System

PLAN = Path(__file__).resolve().parents[3] / "fixtures" / "legacy_project" / "migration.toml"
CELERY_TASK = "tasks.celery_tasks."
QUEUES = {"dramatiq": ("default", "default.DQ"), "celery": ("celery",), "unified": ("unified",)}
#: The unified app as far as it is asked how it declares its queue.
APP = {
    "core/settings.py": 'SECRET_KEY = "only for tests"\n',
    "tasks/celery.py": """\
import os

from celery import Celery
from kombu import Exchange, Queue

app = Celery("tasks", broker=os.environ["UNIFIED_BROKER_URL"])
app.conf.task_queues = (Queue("unified", Exchange("unified"), routing_key="unified", max_priority=9),)
""",
}
LISTS = ("", *(f"\x06\x16{step}" for step in (3, 6, 9)))


@dataclass(kw_only=True)
class RabbitScene:
    """A plan, its servers and the producers."""

    plan: Plan
    environ: dict[str, str]
    #: By ``dramatiq``, ``celery`` (both legacy) and ``unified``.
    urls: dict[str, str]
    dramatiq: Any
    celery: celery.Celery
    unified_app: celery.Celery

    def send(self, actor: str, *args: Any, delay: int | None = None, options: Any = None, **kwargs: Any) -> str:
        """Enqueue one Dramatiq message as an actor does; return its id."""
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="default", actor_name=actor, args=args, kwargs=kwargs, options=options or {}
        )
        return str(self.dramatiq.enqueue(message, delay=delay).message_id)

    def apply(self, function: str, *args: Any, **options: Any) -> str:
        """Enqueue one legacy Celery message; return its id."""
        options.setdefault("queue", "celery")
        return str(self.celery.send_task(CELERY_TASK + function, args, options.pop("kwargs", {}), **options).id)

    def apply_unified(self, task: str, *args: Any, **options: Any) -> str:
        """Enqueue one message born unified, by the queue that the unified app declares."""
        return str(self.unified_app.send_task(task, args, options.pop("kwargs", {}), queue="unified", **options).id)

    def forward(self, **options: Any) -> TransferReport:
        """Carry everything forward."""
        return transfer(self.plan, environ=self.environ, options=TransferOptions(**{"park": True, **options}))

    def back(self, **options: Any) -> TransferReport:
        """Carry everything back."""
        chosen = TransferOptions(direction=Direction.BACK, **options)
        return transfer(self.plan, environ=self.environ, options=chosen)

    def broker(self, name: str) -> Broker:
        """Return our view of ``dramatiq``, ``celery`` or ``unified``."""
        endpoint = self.plan.unified if name == "unified" else self.plan.endpoint(System(name))
        assert endpoint is not None
        return connect(endpoint, self.environ)

    def stored(self, name: str) -> dict[str, list[Any]]:
        """Return everything in the queues of one system as the server has it, next one first."""
        url = self.urls[name]
        if url.startswith("amqp"):
            return {queue: amqp_content(url, queue) for queue in QUEUES[name]}
        with redis.Redis.from_url(url) as client:
            if name == "dramatiq":
                return {
                    queue: [client.hget(f"dramatiq:{queue}.msgs", i) for i in client.lrange(f"dramatiq:{queue}", 0, -1)]
                    for queue in QUEUES[name]
                }
            return {q: [raw for part in LISTS for raw in client.lrange(q + part, 0, -1)[::-1]] for q in QUEUES[name]}

    def legacy(self) -> dict[str, list[Any]]:
        """Return what the legacy queues hold."""
        return {**self.stored("dramatiq"), **self.stored("celery")}

    def unified_messages(self) -> list[KombuMessage]:
        """Return the unified queue's messages, next one first, each read by kombu itself."""
        url = self.urls["unified"]
        if not url.startswith("amqp"):
            channel = Connection("memory://").channel()
            return [KombuMessage(json.loads(raw), channel) for raw in self.stored("unified")["unified"]]
        with Connection(url) as connection:
            channel, found = connection.channel(), []
            while (message := channel.basic_get("unified")) is not None:
                found.append(channel.message_to_python(message))
            channel.close()
        return found

    def unified_calls(self) -> dict[str, tuple[str, list[Any], dict[str, Any]]]:
        """Return task, args and kwargs in the unified queue by task id."""
        calls = {}
        for message in self.unified_messages():
            args, kwargs, _ = message.decode()
            calls[message.headers["id"]] = (message.headers["task"], args, kwargs)
        return calls

    def ids(self) -> Counter[tuple[str, str]]:
        """Return how often each message id lies where, by what every broker shows; what is kept is ``kept``."""
        found: Counter[tuple[str, str]] = Counter()
        for name in QUEUES:
            broker = self.broker(name)
            for message in broker.scan():
                found["kept" if message.state is State.QUARANTINED else name, message.id] += 1
            broker.close()
        return found

    def own_queues(self, rabbit: Any) -> list[str]:
        """Return the names of our queues that exist on RabbitMQ."""
        return sorted(queue["name"] for queue in rabbit.manage("GET", "queues") if queue["name"].startswith("tqm."))


def amqp_content(url: str, queue: str) -> list[tuple[bytes, dict[str, Any]]]:
    """Return body and properties of everything that waits in a queue, and leave it there."""
    parameters = pika.URLParameters(url)
    connection = amqp.Connection(
        host=f"{parameters.host}:{parameters.port}", virtual_host=parameters.virtual_host, login_method="PLAIN"
    )
    connection.connect()
    channel, found = connection.channel(), []
    try:
        while (message := channel.basic_get(queue)) is not None:
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            found.append((body, dict(message.properties)))
    except amqp.exceptions.NotFound:
        return []
    finally:
        connection.close()
    return found


@contextmanager
def make_scene(folder: Path, **urls: str) -> Iterator[RabbitScene]:
    """Return a scene on these servers; its transfers don't wait until RabbitMQ has written what they did."""
    with (
        patch.object(home, "WRITTEN_AFTER_S", 0.0),
        patch.object(session, "QUEUE_WRITTEN_AFTER_S", 0.0),
    ):
        yield from _scene(folder, urls)


@contextmanager
def before_a_crash() -> Iterator[None]:
    """Let transfers wait as they do outside of tests, so that a server may crash at any moment."""
    with (
        patch.object(home, "WRITTEN_AFTER_S", WRITTEN_AFTER_S),
        patch.object(session, "QUEUE_WRITTEN_AFTER_S", QUEUE_WRITTEN_AFTER_S),
    ):
        yield


def _scene(folder: Path, urls: dict[str, str]) -> Iterator[RabbitScene]:
    text = PLAN.read_text().replace(
        'broker = "${CELERY_BROKER_URL:-redis://localhost:6379/0}"\nqueues = ["unified"]',
        'broker = "${UNIFIED_BROKER_URL}"\nqueues = ["unified"]',
    )
    assert "UNIFIED_BROKER_URL" in text
    (folder / "migration.toml").write_text(text)
    for name, source in APP.items():
        (folder / "apps/backend/src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "apps/backend/src" / name).write_text(source)
    on_rabbit = urls["dramatiq"].startswith("amqp")
    # Confirmed: what a server has not written to disk yet is lost by a crash, and no tool can bring it back.
    producer: Any = (
        RabbitmqBroker(url=urls["dramatiq"], confirm_delivery=True) if on_rabbit else RedisBroker(url=urls["dramatiq"])
    )
    legacy_app = celery.Celery("legacy", broker=urls["celery"], set_as_current=False)
    unified_app = celery.Celery("unified", broker=urls["unified"], set_as_current=False)
    for app, url in ((legacy_app, urls["celery"]), (unified_app, urls["unified"])):
        app.conf.broker_transport_options = {"confirm_publish": True} if url.startswith("amqp") else {}
    if urls["unified"].startswith("amqp"):
        from kombu import Exchange, Queue

        unified_app.conf.task_queues = (Queue("unified", Exchange("unified"), routing_key="unified", max_priority=9),)
        # As its workers do, which start before messages are transferred.
        with unified_app.connection_for_write() as connection:
            unified_app.amqp.queues["unified"](connection.channel()).declare()
    scene = RabbitScene(
        plan=load_plan(folder / "migration.toml"),
        environ={
            "DRAMATIQ_BROKER_URL": urls["dramatiq"],
            "CELERY_BROKER_URL": urls["celery"],
            "UNIFIED_BROKER_URL": urls["unified"],
        },
        urls=urls,
        dramatiq=producer,
        celery=legacy_app,
        unified_app=unified_app,
    )
    try:
        yield scene
    finally:
        scene.dramatiq.close()
        scene.celery.close()
        scene.unified_app.close()


def mixed(scene: RabbitScene, number: int, *, seed: int = 7) -> dict[str, System]:
    """Enqueue a mix over both systems: ready, delayed, retried, with priorities. Return the ids with their system."""
    chance, ids = random.Random(seed), dict[str, System]()
    for index in range(number):
        delay = chance.choice([None, None, None, 60_000, 1_200_000])
        if chance.random() < 0.6:
            options: dict[str, Any] = {"retries": chance.randint(1, 3)} if chance.random() < 0.2 else {}
            if chance.random() < 0.2:
                options["broker_priority"] = chance.randint(0, 5)
            actor, args = chance.choice(
                [
                    ("fetch_crypto_prices_task", ([f"C{index}", "ETH"],)),
                    ("fetch_stock_prices_task", ([f"S{index}"], 7)),
                    ("fetch_technical_indicators_task", (f"T{index}", ["sma"])),
                    ("health_check_task", ()),
                ]
            )
            ids[scene.send(actor, *args, delay=delay, options=options)] = System.DRAMATIQ
        else:
            function, args = chance.choice(
                [
                    ("fetch_yahoo_stocks_task", ([f"Y{index}"],)),
                    ("calculate_indicators_task", (f"I{index}",)),
                    ("update_single_asset_task", (f"U{index}", "auto")),
                    ("health_check_task", ()),
                ]
            )
            extra = {"soft_time_limit": 7.5} if chance.random() < 0.2 else {}
            countdown = delay and delay / 1000
            ids[scene.apply(function, *args, countdown=countdown, priority=chance.choice([None, 1, 5, 9]), **extra)] = (
                System.CELERY
            )
    return ids


def fill(scene: RabbitScene, number: int) -> list[str]:
    """Put many plain messages into Dramatiq's queue on RabbitMQ, confirmed; return their ids in order."""
    parameters = pika.URLParameters(scene.urls["dramatiq"])
    ids = []
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.tx_select()
        for index in range(number):
            identity = str(uuid.uuid4())
            ids.append(identity)
            message: dramatiq.Message[Any] = dramatiq.Message(
                queue_name="default",
                actor_name="fetch_crypto_prices_task",
                args=([f"C{index}"],),
                kwargs={},
                options={},
                message_id=identity,
            )
            channel.basic_publish("", "default", message.encode(), pika.BasicProperties(delivery_mode=2))
        channel.tx_commit()
    return ids
