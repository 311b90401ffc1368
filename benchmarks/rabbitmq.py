"""How fast messages are carried where RabbitMQ is among the brokers, and how much memory the tool takes.

Run: ``python benchmarks/rabbitmq.py [--messages 100000] [--fuzz 100000]``. Forward and back in four constellations,
each leg in a process of its own; then mangled messages: none may crash it, and none may be gone. The last line is
stable: ``lost=0 doubled=0 peak_mib=… slowest_per_s=…``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from migrator.plan import load_plan
from migrator.servers import EmbeddedServer, embedded_server
from migrator.transfer import Direction, TransferOptions, transfer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "acceptance" / "rabbitmq")]
LEG_TIMEOUT_S = 3600


def main() -> int:
    """Run all legs and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--fuzz", type=int, default=100_000)
    parser.add_argument("--leg", nargs=2, metavar=("PLAN", "DIRECTION"), help="one leg, for its own process")
    options = parser.parse_args()
    if options.leg:
        return _leg(*options.leg)
    from rabbit_server import rabbit_server

    peak, rates, wrong = 0.0, [], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="migrator-rabbitmq-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "redis") as redis, rabbit_server(folder / "rabbit") as rabbit:
            for label in ("rabbitmq", "rabbitmq to redis", "redis to rabbitmq", "two rabbitmq"):
                urls = _urls(label, redis, rabbit)
                legs = _there_and_back(folder / label.replace(" ", "-"), urls, options.messages, wrong)
                for direction, found in legs.items():
                    peak = max(peak, found["peak_mib"])
                    rates.append(found["rate"])
                    print(f"{label:18} {direction:8} {found['rate']:8,.0f} a second  {found['peak_mib']:5.1f} MiB")
            _fuzz(folder / "fuzz", _urls("fuzz", redis, rabbit), options.fuzz, wrong)
    print(f"lost={wrong['lost']} doubled={wrong['doubled']} peak_mib={peak:.0f} slowest_per_s={min(rates):.0f}")
    return 1 if wrong["lost"] or wrong["doubled"] else 0


def _urls(label: str, redis: EmbeddedServer, rabbit: Any) -> dict[str, str]:
    import redis as library

    library.Redis(port=redis.port, socket_timeout=30).flushall()
    hosts = []
    for part in ("a", "b"):
        vhost = f"{label.replace(' ', '-')}-{part}"
        rabbit.manage("PUT", f"vhosts/{vhost}")
        rabbit.manage("PUT", f"permissions/{vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        hosts.append(rabbit.url(vhost))
    legacy = redis.url() if label == "redis to rabbitmq" else hosts[0]
    unified = {"rabbitmq to redis": redis.url(), "two rabbitmq": hosts[1]}.get(label, hosts[0])
    return {"dramatiq": legacy, "celery": legacy, "unified": unified}


def _there_and_back(folder: Path, urls: dict[str, str], number: int, wrong: Counter[str]) -> dict[str, Any]:
    from rabbit_scene import fill, make_scene

    folder.mkdir()
    legs: dict[str, Any] = {}
    with make_scene(folder, **urls) as scene:
        ids = [scene.send("health_check_task")]
        if urls["dramatiq"].startswith("amqp"):
            ids += fill(scene, number)
        else:
            ids += [scene.send("fetch_crypto_prices_task", [f"C{index}"]) for index in range(number)]
        for direction, place in ((Direction.FORWARD, "unified"), (Direction.BACK, "dramatiq")):
            call = [sys.executable, __file__, "--leg", str(scene.plan.file), direction.value]
            environ = {**os.environ, **scene.environ}
            done = subprocess.run(call, env=environ, stdout=subprocess.PIPE, check=True, timeout=LEG_TIMEOUT_S)
            legs[direction.value] = json.loads(done.stdout)
            found = Counter(message.id for message in scene.broker(place).scan())
            wrong["lost"] += sum((Counter(ids) - found).values())
            wrong["doubled"] += sum((found - Counter(ids)).values())
    return legs


def _leg(plan: str, direction: str) -> int:
    started = time.monotonic()
    report = transfer(
        load_plan(Path(plan)), environ=os.environ, options=TransferOptions(direction=Direction(direction))
    )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = report.moved / (time.monotonic() - started)
    print(json.dumps({"moved": report.moved, "kept": report.kept, "rate": rate, "peak_mib": peak_mib}))
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
        print(f"fuzz: {report.seen:,} seen, {report.moved:,} carried, {report.kept:,} kept, {back.restored:,} restored")


if __name__ == "__main__":
    sys.exit(main())
