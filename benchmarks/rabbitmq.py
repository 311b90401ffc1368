"""How fast messages are carried where RabbitMQ is among the brokers, and how much memory the tool takes.

Run: ``python benchmarks/rabbitmq.py [--messages 100000] [--fuzz 100000] [--rounds 3] [--only rabbitmq]``. Forward and
back in four constellations, each leg in a process of its own; beside the first one, in turn with it, a loop that
publishes, waits for the confirm and acknowledges one by one (what a shovel does with ``prefetch-count`` 1), and
``celery.contrib.migrate.move`` as it is. Then mangled messages: none may crash it, and none may be gone. On a machine
that does other things as well only CPU times and ratios are worth quoting. The last line is stable: ``lost=0 doubled=0
peak_mib=… slowest_per_s=…``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from peak_memory import peak_mib

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.plan.loader import load_plan
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.transfer import transfer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "acceptance" / "rabbitmq")]
LEG_TIMEOUT_S = 3600
LABELS = ("rabbitmq", "rabbitmq to redis", "redis to rabbitmq", "two rabbitmq")
#: Celery's mover declares a queue while it handles a message, which hands it the next one: with a few hundred waiting
#: it ends with a RecursionError.
VERY_FEW = 50


def main() -> int:
    """Run all legs and return the exit status."""
    # Celery's mover handles a message that arrives while it waits for a confirmation inside of that wait, as deep as
    # there are messages.
    sys.setrecursionlimit(50_000)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--fuzz", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="comparisons with the peers; no ratio is judged")
    parser.add_argument(
        "--few", type=int, default=2000, help="messages of a peer, whose rate does not depend on their number"
    )
    parser.add_argument("--only", choices=LABELS, help="only this constellation")
    parser.add_argument("--leg", nargs=2, metavar=("PLAN", "DIRECTION"), help="one leg, for its own process")
    options = parser.parse_args()
    if options.leg:
        return _leg(*options.leg)
    from rabbit_server import rabbit_server

    peak, rates, wrong = 0.0, [], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="migrator-rabbitmq-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "redis") as redis, rabbit_server(folder / "rabbit") as rabbit:
            for label in (options.only,) if options.only else LABELS:
                brokers = _empty_urls(label, redis, rabbit)
                legs = _there_and_back(
                    folder / label.replace(" ", "-"), brokers, options.messages, wrong, pid=rabbit.pid
                )
                for direction, found in legs.items():
                    peak = max(peak, found["peak_mib"])
                    rates.append(found["rate"])
                    text = f"{label:18} {direction:8} {found['moved']:9,} {found['rate']:7,.0f} a second"
                    cpu = f"CPU tool {found['tool_us']:4.0f} us, server {found['server_us']:4.0f} us a message"
                    print(f"{text}  {found['peak_mib']:5.1f} MiB  {cpu}", flush=True)
            for number in range(options.rounds):
                peers = _empty_urls(f"peers-{number}", redis, rabbit)
                _beside_peers(folder / f"peers-{number}", peers, wrong, few=options.few)
            if options.fuzz:
                _fuzz(folder / "fuzz", _empty_urls("fuzz", redis, rabbit), options.fuzz, wrong)
    print(f"lost={wrong['lost']} doubled={wrong['doubled']} peak_mib={peak:.0f} slowest_per_s={min(rates):.0f}")
    return 1 if wrong["lost"] or wrong["doubled"] else 0


def urls(label: str, database: str, rabbit: Any) -> dict[str, str]:
    """Return the brokers of one constellation: a Redis database, or virtual hosts of their own."""
    hosts = [rabbit.make_host(f"{label.replace(' ', '-')}-{part}") for part in ("a", "b")]
    legacy = database if label == "redis to rabbitmq" else hosts[0]
    unified = {"rabbitmq to redis": database, "two rabbitmq": hosts[1]}.get(label, hosts[0])
    return {"dramatiq": legacy, "celery": legacy, "unified": unified}


def _empty_urls(label: str, redis: EmbeddedServer, rabbit: Any) -> dict[str, str]:
    import redis as library

    library.Redis(port=redis.port, socket_timeout=30).flushall()
    return urls(label, redis.url(), rabbit)


def _there_and_back(
    folder: Path, urls: dict[str, str], number: int, wrong: Counter[str], *, pid: int
) -> dict[str, Any]:
    from rabbit_scene import fill, make_scene

    folder.mkdir()
    legs: dict[str, Any] = {}
    with make_scene(folder, **urls) as scene:
        ids = [scene.send("health_check_task")]
        if urls["dramatiq"].startswith("amqp"):
            ids += fill(scene, number)
        else:
            ids += [scene.send("fetch_crypto_prices_task", [f"C{index}"]) for index in range(number)]
        for direction, address in ((Direction.FORWARD, "unified"), (Direction.BACK, "dramatiq")):
            call = [sys.executable, __file__, "--leg", str(scene.plan.file), direction.value]
            environ = {**os.environ, **scene.environ}
            before = _cpu_s(pid)
            done = subprocess.run(call, env=environ, stdout=subprocess.PIPE, check=True, timeout=LEG_TIMEOUT_S)
            legs[direction.value] = leg = json.loads(done.stdout)
            leg["server_us"] = (_cpu_s(pid) - before) * 1e6 / max(leg["moved"], 1)
            found = Counter(message.id for message in scene.broker(address).scan())
            wrong["lost"] += sum((Counter(ids) - found).values())
            wrong["doubled"] += sum((found - Counter(ids)).values())
    return legs


def _cpu_s(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def _beside_peers(folder: Path, urls: dict[str, str], wrong: Counter[str], *, few: int) -> None:
    """Let one by one, Celery's mover and ours carry in turn, and print what each does a second."""
    from rabbit_scene import fill, make_scene

    folder.mkdir()
    with make_scene(folder, **urls) as scene:
        scene.send("health_check_task")
        ids = fill(scene, few)
        one = _rate(lambda: _one_by_one(urls["dramatiq"], few), few)
        wrong["lost"] += sum(1 for _ in scene.broker("dramatiq").scan()) != len(ids) + 1 - few
        very_few = min(few, VERY_FEW)
        for index in range(very_few):
            scene.apply("fetch_yahoo_stocks_task", [f"Y{index}"])
        mover = _rate(lambda: _celerys_mover(scene.celery, very_few), very_few)
        fill(scene, 5 * few)
        ours = _rate(scene.forward, 5 * few)
    rates = f"one by one {one:,.0f}, celery.contrib.migrate.move {mover:,.0f}, ours {ours:,.0f} a second"
    print(f"peers: {rates}; ours is x{ours / one:.1f} and x{ours / mover:.1f}", flush=True)


def _rate(work: Callable[[], Any], number: int) -> float:
    started = time.monotonic()
    work()
    return number / (time.monotonic() - started)


def _one_by_one(url: str, number: int) -> None:
    """Publish each message to another queue, wait for the confirm, then acknowledge it."""
    import pika

    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("elsewhere", durable=True)
        for _ in range(number):
            got, properties, body = channel.basic_get("default")
            channel.basic_publish("", "elsewhere", body, properties)
            channel.basic_ack(got.delivery_tag)


def _celerys_mover(app: Any, number: int) -> None:
    from celery.contrib.migrate import move

    move(lambda _body, _message: "elsewhere", app=app, source=["celery"], limit=number, timeout=5.0)


def _leg(plan: str, direction: str) -> int:
    started = time.monotonic()
    report = transfer(
        load_plan(Path(plan)), environ=os.environ, options=TransferOptions(direction=Direction(direction))
    )
    rate = report.moved / (time.monotonic() - started)
    tool_us = time.process_time() * 1e6 / max(report.moved, 1)
    print(json.dumps({"moved": report.moved, "rate": rate, "peak_mib": peak_mib(), "tool_us": tool_us}))
    return 0


def _fuzz(folder: Path, urls: dict[str, str], number: int, wrong: Counter[str]) -> None:
    """Put mangled messages into the legacy queues: there and back, all are still there as they were."""
    from rabbit_fuzz import put_mangled, whole
    from rabbit_scene import make_scene

    folder.mkdir()
    with make_scene(folder, **urls) as scene:
        put_mangled(scene, number, random.Random(5))
        before = whole(scene)
        report = scene.forward()
        back = scene.back()
        after = whole(scene)
        wrong["lost"] += sum((before - after).values())
        wrong["doubled"] += sum((after - before).values())
        there = f"{report.seen:,} seen, {report.moved:,} moved, {report.quarantined:,} quarantined"
        print(f"fuzz: {there}, {back.restored:,} restored")


if __name__ == "__main__":
    sys.exit(main())
