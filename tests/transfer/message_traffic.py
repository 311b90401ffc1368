"""Real producers of the legacy systems, and what a test needs to know about the queues afterwards."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from kombu import Connection
from kombu.transport.virtual import Message as KombuMessage

from migrator.embedded_redis import EmbeddedServer
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer
from migrator.wire.message import System

PLAN = Path(__file__).resolve().parents[2] / "fixtures" / "legacy_project" / "migration.toml"
CELERY_TASK = "tasks.celery_tasks."


@dataclass(kw_only=True)
class Scene:
    """A plan, its servers and the producers."""

    plan: Plan
    environ: dict[str, str]
    legacy: redis.Redis
    unified: redis.Redis
    dramatiq: RedisBroker
    celery: celery.Celery
    #: Publishes unified tasks.
    unified_app: celery.Celery

    def send(self, actor: str, *args: Any, delay: int | None = None, options: Any = None, **kwargs: Any) -> str:
        """Enqueue one Dramatiq message as an actor does; return its id."""
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="default", actor_name=actor, args=args, kwargs=kwargs, options=options or {}
        )
        return self.dramatiq.enqueue(message, delay=delay).message_id

    def apply(self, function: str, *args: Any, **options: Any) -> str:
        """Enqueue one legacy Celery message; return its id."""
        kwargs = options.pop("kwargs", {})
        options.setdefault("queue", "celery")
        return str(self.celery.send_task(CELERY_TASK + function, args, kwargs, **options).id)

    def apply_unified(self, task: str, *args: Any, **options: Any) -> str:
        """Enqueue one native unified message; return its id."""
        kwargs = options.pop("kwargs", {})
        return str(self.unified_app.send_task(task, args, kwargs, queue="unified", **options).id)

    def forward(self, **options: Any) -> TransferReport:
        """Move everything forward."""
        return transfer(self.plan, environ=self.environ, options=TransferOptions(**{"park": True, **options}))

    def back(self, **options: Any) -> TransferReport:
        """Move everything back."""
        chosen = TransferOptions(direction=Direction.BACK, **options)
        return transfer(self.plan, environ=self.environ, options=chosen)

    def unified_messages(self) -> list[KombuMessage]:
        """Return the unified queue's messages, next one first, each read by kombu itself."""
        channel = Connection("memory://").channel()
        raws = [raw for key in _priority_lists("unified") for raw in self.unified.lrange(key, 0, -1)[::-1]]
        return [KombuMessage(json.loads(raw), channel) for raw in raws]

    def unified_calls(self) -> dict[str, tuple[str, list[Any], dict[str, Any]]]:
        """Return task, args and kwargs in the unified queue by task id."""
        calls = {}
        for message in self.unified_messages():
            args, kwargs, _ = message.decode()
            calls[message.headers["id"]] = (message.headers["task"], args, kwargs)
        return calls

    def legacy_state(self) -> dict[str, Any]:
        """Return everything that the legacy queues hold, for comparing there and back."""
        state: dict[str, Any] = {}
        for wire in ("default", "default.DQ"):
            state[f"{wire}.msgs"] = self.legacy.hgetall(f"dramatiq:{wire}.msgs")
            state[wire] = self.legacy.lrange(f"dramatiq:{wire}", 0, -1)
        for key in _priority_lists("celery"):
            state[key] = self.legacy.lrange(key, 0, -1)
        return state

    def legacy_contents(self) -> dict[str, Any]:
        """Return what the legacy queues hold, regardless of order."""
        return {key: sorted(v) if isinstance(v, list) else v for key, v in self.legacy_state().items()}

    def ids(self) -> Counter[tuple[str, str]]:
        """Return how often each message id is in each system's queues, claims included."""
        found: Counter[tuple[str, str]] = Counter()
        for wire in ("default", "default.DQ"):
            for raw in self.legacy.hgetall(f"dramatiq:{wire}.msgs").values():
                found["dramatiq", _id(raw)] += 1
        for side, client, queue in (("celery", self.legacy, "celery"), ("unified", self.unified, "unified")):
            for key in _priority_lists(queue):
                for raw in client.lrange(key, 0, -1) + client.lrange(f"tqm:claim:celery:{key}", 0, -1):
                    found[side, _id(raw)] += 1
        for client in {self.legacy, self.unified}:
            for key in client.keys("tqm:kept:*"):
                for value in client.hvals(key):
                    found["kept", _id(value.partition(b"\n")[2])] += 1
        return found


@contextmanager
def make_scene(folder: Path, *, legacy: EmbeddedServer, unified: EmbeddedServer) -> Iterator[Scene]:
    """Return a scene on these servers, which may be one and the same."""
    text = PLAN.read_text().replace(
        'broker = "${CELERY_BROKER_URL:-redis://localhost:6379/0}"\nqueues = ["unified"]',
        'broker = "${UNIFIED_BROKER_URL}"\nqueues = ["unified"]',
    )
    assert "UNIFIED_BROKER_URL" in text
    (folder / "migration.toml").write_text(text)
    environ = {
        "DRAMATIQ_BROKER_URL": legacy.url(),
        "CELERY_BROKER_URL": legacy.url(),
        "UNIFIED_BROKER_URL": unified.url(),
    }
    clients = [redis.Redis(port=server.port, socket_timeout=10) for server in (legacy, unified)]
    scene = Scene(
        plan=load_plan(folder / "migration.toml"),
        environ=environ,
        legacy=clients[0],
        unified=clients[1] if legacy is not unified else clients[0],
        dramatiq=RedisBroker(url=legacy.url(), middleware=[]),
        celery=celery.Celery("legacy", broker=legacy.url(), set_as_current=False),
        unified_app=celery.Celery("unified", broker=unified.url(), set_as_current=False),
    )
    try:
        yield scene
    finally:
        for client in clients:
            client.close()
        scene.dramatiq.close()
        scene.celery.close()
        scene.unified_app.close()


def mixed(scene: Scene, number: int, *, seed: int = 7) -> dict[str, System]:
    """Enqueue a mix over both systems: ready, delayed, retried. Return the ids with their system."""
    rng, ids = random.Random(seed), dict[str, System]()
    for index in range(number):
        delay = rng.choice([None, None, None, 60_000, 1_200_000])
        if rng.random() < 0.6:
            options = {"retries": rng.randint(1, 3)} if rng.random() < 0.2 else {}
            actor, args = rng.choice(
                [
                    ("fetch_crypto_prices_task", ([f"C{index}", "ETH"],)),
                    ("fetch_stock_prices_task", ([f"S{index}"], 7)),
                    ("fetch_technical_indicators_task", (f"T{index}", ["sma"])),
                    ("health_check_task", ()),
                ]
            )
            ids[scene.send(actor, *args, delay=delay, options=options)] = System.DRAMATIQ
        else:
            function, args = rng.choice(
                [
                    ("fetch_yahoo_stocks_task", ([f"Y{index}"],)),
                    ("calculate_indicators_task", (f"I{index}",)),
                    ("update_single_asset_task", (f"U{index}", "auto")),
                    ("health_check_task", ()),
                ]
            )
            countdown = delay and delay / 1000
            ids[scene.apply(function, *args, countdown=countdown, priority=rng.choice([None, 1, 5, 9]))] = System.CELERY
    return ids


def fill(
    client: redis.Redis, number: int, *, actor: str = "fetch_crypto_prices_task", symbols: tuple[str, ...] = ()
) -> None:
    """Put many Dramatiq messages into the default queue, fast; the bytes are Dramatiq's own."""
    pipe = client.pipeline(transaction=False)
    now = int(time.time() * 1000)
    for index in range(number):
        copy_id = str(uuid.uuid4())
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name="default",
            actor_name=actor,
            args=([f"C{index}", *symbols],),
            kwargs={},
            options={"redis_message_id": copy_id},
            message_timestamp=now,
        )
        pipe.hset("dramatiq:default.msgs", copy_id, message.encode())
        pipe.rpush("dramatiq:default", copy_id)
        if index % 1000 == 999:
            pipe.execute()
    pipe.execute()


def _priority_lists(queue: str) -> list[str]:
    return [queue, *(f"{queue}\x06\x16{step}" for step in (3, 6, 9))]


def _id(raw: bytes) -> str:
    try:
        document = json.loads(raw)
        return document["message_id"] if "message_id" in document else document["headers"]["id"]
    except (ValueError, KeyError, TypeError):
        return "unreadable"
