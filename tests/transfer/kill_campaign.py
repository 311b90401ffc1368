"""Kill the transfer with SIGKILL repeatedly, then look for every single message by the id of its copy.

Each attempt is a forked process with its own connections. It is killed at a random time, or exactly before or after one
of its requests has left the socket. Nothing is repaired between attempts: the next one starts as an operator would
start it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from message_traffic import Scene, _priority_lists

from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.brokers.redis.server import RedisServer
from migrator.errors import MigratorError
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer

#: Name of one legacy copy: system, wire queue, id of the copy.
Copy = tuple[str, str, str]


@dataclass(kw_only=True)
class Outcome:
    """What a campaign found."""

    messages: int
    kills: int = 0
    #: Attempts that found a claim of the attempt before.
    resumed: int = 0
    lost: list[Copy] = field(default_factory=list)
    doubled: list[Copy] = field(default_factory=list)
    #: Copies whose bytes differed after the transfer back.
    changed: list[Copy] = field(default_factory=list)
    attempts: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled or changed."""
        return not (self.lost or self.doubled or self.changed)


def produce(scene: Scene, number: int, *, seed: int = 1) -> None:
    """Put messages of all kinds into the legacy queues: some that are moved and some that are quarantined."""
    rng, pipe = random.Random(seed), scene.legacy.pipeline(transaction=False)
    now = int(time.time() * 1000)
    for index in range(number):
        copy_id, kind = str(uuid.UUID(int=rng.getrandbits(128))), rng.random()
        if kind < 0.6:
            wire = rng.choice(["default", "default", "default.DQ"])
            actor, args = rng.choice(_CALLS)
            options = {"redis_message_id": copy_id, **({"eta": now + 900_000} if wire.endswith("DQ") else {})}
            body = {"queue_name": wire, "actor_name": actor, "args": args, "kwargs": {}, "options": options}
            raw = json.dumps({**body, "message_id": f"m{index}", "message_timestamp": now}).encode()
            raw = rng.choice([raw, raw, raw, raw, b"\x80pickle" + copy_id.encode()]) if index % 20 == 0 else raw
            pipe.hset(f"dramatiq:{wire}.msgs", copy_id, raw)
            pipe.rpush(f"dramatiq:{wire}", copy_id)
        else:
            function, args = rng.choice(_TASKS)
            step = rng.choice([0, 3, 6, 9])
            pipe.lpush(f"celery\x06\x16{step}" if step else "celery", _celery_raw(copy_id, function, args, step))
        if index % 500 == 499:
            pipe.execute()
    pipe.execute()


_CALLS = [
    ("fetch_crypto_prices_task", [["BTC"]]),
    ("fetch_stock_prices_task", [["A"], 3]),
    ("fetch_technical_indicators_task", ["A", ["sma"]]),
    ("health_check_task", []),
    ("cleanup_old_cache_task", [24]),
]
_TASKS = [
    ("fetch_yahoo_stocks_task", [["A"], 5]),
    ("calculate_indicators_task", ["A"]),
    ("health_check_task", []),
    ("debug_task", []),
]


def _celery_raw(tag: str, function: str, args: list[object], priority: int) -> bytes:
    import base64

    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {"lang": "py", "task": f"tasks.celery_tasks.{function}", "id": tag, "eta": None, "retries": 0}
    properties = {
        "correlation_id": tag,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": priority,
        "body_encoding": "base64",
        "delivery_tag": tag,
    }
    body = base64.b64encode(json.dumps([args, {}, embed]).encode()).decode()
    envelope = {"body": body, "content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({**envelope, "headers": headers, "properties": properties}).encode()


def legacy_copies(scene: Scene) -> dict[Copy, list[bytes]]:
    """Return the bytes of every copy in the legacy queues."""
    found: dict[Copy, list[bytes]] = {}
    for wire in ("default", "default.DQ"):
        bodies = scene.legacy.hgetall(f"dramatiq:{wire}.msgs")
        listed = Counter(scene.legacy.lrange(f"dramatiq:{wire}", 0, -1))
        for copy_id, raw in bodies.items():
            found["dramatiq", wire, copy_id.decode()] = [raw] * listed.pop(copy_id, 0)
        assert not listed, "an id without a body"
    for key in _priority_lists("celery"):
        for raw in scene.legacy.lrange(key, 0, -1):
            found.setdefault(("celery", "celery", json.loads(raw)["properties"]["delivery_tag"]), []).append(raw)
    return found


def carried_copies(scene: Scene) -> Counter[Copy]:
    """Return how often each legacy copy is in the unified queue or among the quarantined messages."""
    found: Counter[Copy] = Counter()
    for key in _priority_lists("unified"):
        for raw in scene.unified.lrange(key, 0, -1):
            mark = json.loads(raw)["headers"]["x-tqm"]
            found[mark["system"], mark["queue"], mark["id"]] += 1
    for system in ("dramatiq", "celery"):
        for name in scene.legacy.hkeys(f"tqm:kept:legacy:{system}"):
            wire, _, rest = name.decode().partition("|")
            copy_id = rest.rpartition("|")[0]
            if not copy_id:
                raw = scene.legacy.hget(f"tqm:kept:legacy:{system}", name).partition(b"\n")[2]
                copy_id = json.loads(raw)["properties"]["delivery_tag"]
            found[system, wire, copy_id] += 1
    return found


def run_campaign(
    scene: Scene, *, messages: int, kills: int, seed: int = 1, tell: Callable[[str], None] = lambda text: None
) -> Outcome:
    """Move ``messages`` forward and back, killed ``kills`` times, and count what is lost, doubled or changed."""
    produce(scene, messages, seed=seed)
    before = legacy_copies(scene)
    outcome, rng = Outcome(messages=messages), random.Random(seed)
    assert len(before) == messages and all(len(copies) == 1 for copies in before.values())
    while outcome.kills < kills:
        _claim_as_dead_workers(scene, messages // 10)
        _finish(scene, Direction.FORWARD, outcome, rng, until=outcome.kills + (kills - outcome.kills + 1) // 2)
        there = carried_copies(scene)
        outcome.lost += [copy for copy in before if not there[copy]]
        outcome.doubled += [copy for copy, number in there.items() if number > 1]
        outcome.doubled += [copy for copy, raws in legacy_copies(scene).items() for _ in raws if there[copy]]
        tell(f"forward: {outcome.kills} kills, {len(outcome.lost)} lost, {len(outcome.doubled)} doubled")
        _finish(scene, Direction.BACK, outcome, rng, until=kills)
        back = legacy_copies(scene)
        outcome.lost += [copy for copy in before if not back.get(copy)]
        outcome.doubled += [copy for copy, raws in back.items() if len(raws) > 1]
        outcome.changed += [copy for copy, raws in back.items() if raws and raws[0] != before[copy][0]]
        tell(f"back: {outcome.kills} kills, {len(outcome.lost)} lost, {len(outcome.doubled)} doubled")
    return outcome


def _claim_as_dead_workers(scene: Scene, number: int) -> None:
    """Take messages out of the queues as workers do that are killed afterwards."""
    for wire in ("default", "default.DQ"):
        if ids := scene.legacy.lpop(f"dramatiq:{wire}", number // 3):
            scene.legacy.sadd(f"dramatiq:__acks__.killed.{wire}", *ids)
    for key in _priority_lists("celery"):
        for raw in scene.legacy.rpop(key, number // 12) or ():
            tag = json.loads(raw)["properties"]["delivery_tag"]
            # As kombu writes it: the message inside of a list with exchange and routing key.
            scene.legacy.hset("unacked", tag, b'[%b, "", "celery"]' % raw)
            scene.legacy.zadd("unacked_index", {tag: time.time()})


def _finish(scene: Scene, direction: Direction, outcome: Outcome, rng: random.Random, *, until: int) -> None:
    """Start the transfer until it finishes, killing it until ``until`` kills have happened."""
    while True:
        outcome.attempts += 1
        armed = outcome.kills < until
        status, resumed = _attempt(scene, direction, rng if armed else None)
        outcome.resumed += resumed
        if os.WIFSIGNALED(status):
            outcome.kills += 1
        elif os.waitstatus_to_exitcode(status) != 0:
            raise AssertionError(f"an attempt failed with status {status}")
        else:
            return


def _attempt(scene: Scene, direction: Direction, rng: random.Random | None) -> tuple[int, bool]:
    claims = sum(client.llen(key) for client in {scene.legacy, scene.unified} for key in client.keys("tqm:claim:*"))
    plan = rng and (rng.random(), rng.uniform(0, 0.02), rng.randint(0, 15))
    child = os.fork()
    if child == 0:
        try:
            _die_later(plan)
            _transfer(scene, direction)
            os._exit(0)
        except MigratorError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    return status, claims > 0


def _transfer(scene: Scene, direction: Direction) -> TransferReport:
    options = TransferOptions(direction=direction, batch_size=20, consumers_stopped=True, silence_s=0)
    return transfer(scene.plan, environ=scene.environ, options=options)


def _die_later(plan: tuple[float, float, int] | None) -> None:
    """Arrange for this process to be killed in the middle of its work: at a time, or before or after a request."""
    if plan is None:
        return
    kind, after_s, after_sends = plan
    requests = itertools.count()

    def dying(request: Callable[..., Any]) -> Callable[..., Any]:
        def send_and_die(self: Any, *args: Any) -> Any:
            number = next(requests)
            if kind < 0.4 and number == 0:
                threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if number == after_sends and 0.4 <= kind < 0.6:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = request(self, *args)
            if number == after_sends and kind >= 0.6:
                # With or without giving the server time to execute it.
                time.sleep(after_s / 4 if kind < 0.8 else 0)
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return send_and_die

    RedisPipeline.send = dying(RedisPipeline.send)  # type: ignore[method-assign]
    RedisPipeline.transact = dying(RedisPipeline.transact)  # type: ignore[method-assign]
    RedisServer.run = dying(RedisServer.run)  # type: ignore[method-assign]
