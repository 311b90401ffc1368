"""How fast messages are carried, beside a loop inside the server, ``celery.contrib.migrate.move`` and one by one.

Run: ``python benchmarks/bench_transfer.py [--messages 100000] [--rounds 3] [--million]``. All contenders run in turn,
in every round, on servers of their own; only the ratios are worth quoting. Goals, against ``move``: Dramatiq to Celery
60, Celery to Celery 44, two servers 40; and a quarter of the floor, which moves the same bytes without reading them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "transfer"))

import redis
from celery import Celery
from celery.contrib.migrate import move
from message_traffic import Scene, fill, make_scene

from migrator.servers import EmbeddedServer, embedded_server
from migrator.transfer import Direction, TransferOptions, transfer
from migrator.translate import forward
from migrator.translation import Place

FLOOR = """
local ids = redis.call('LRANGE', KEYS[1], 0, 999)
if #ids == 0 then return 0 end
local bodies = redis.call('HMGET', KEYS[2], unpack(ids))
redis.call('LPUSH', KEYS[3], unpack(bodies))
redis.call('HDEL', KEYS[2], unpack(ids))
redis.call('LTRIM', KEYS[1], #ids, -1)
return #ids
"""
#: A slow contender gets fewer messages; its rate does not depend on their number.
FEW = 4000


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="also carry a million and measure the memory")
    parser.add_argument("--many", type=int, default=1_000_000, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _child(options.child)
    with tempfile.TemporaryDirectory(prefix="migrator-bench-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "a") as first, embedded_server(folder=folder / "b") as second:
            if options.rounds:
                _compare(folder, first, second, options)
            if options.million:
                for number in (options.many // 10, options.many):
                    _memory(folder, first, number)
    return 0


def _compare(folder: Path, first: EmbeddedServer, second: EmbeddedServer, options: argparse.Namespace) -> None:
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    rates: dict[str, list[float]] = {}
    with (
        make_scene(one, legacy=first, unified=first) as scene,
        make_scene(two, legacy=first, unified=second) as apart,
    ):
        contenders: dict[str, Callable[[], float]] = {
            "floor: bodies moved in Lua": lambda: _floor(scene, options.messages),
            "one server, Dramatiq to Celery": lambda: _ours(scene, options.messages),
            "one server, back": lambda: _back(scene),
            "one server, Celery to Celery": lambda: _rename(scene, options.messages),
            "two servers, Dramatiq to Celery": lambda: _ours(apart, options.messages),
            "two servers, back": lambda: _back(apart),
            "translation alone": lambda: _translation(scene),
            "celery.contrib.migrate.move": lambda: _contrib(scene),
            "one by one": lambda: _one_by_one(scene),
        }
        for number in range(options.rounds):
            for label, run in contenders.items():
                rates.setdefault(label, []).append(run())
                print(f"round {number + 1}: {label}: {rates[label][-1]:,.0f}", file=sys.stderr, flush=True)
    _table(rates)


def _table(rates: dict[str, list[float]]) -> None:
    medians = {label: statistics.median(values) for label, values in rates.items()}
    floor, contrib = medians["floor: bodies moved in Lua"], medians["celery.contrib.migrate.move"]
    print(f"{'':34}{'msg/s':>10}{'of floor':>10}{'x move':>9}{'x one by one':>14}")
    for label, rate in medians.items():
        print(
            f"{label:34}{rate:>10,.0f}{rate / floor:>10.2f}{rate / contrib:>9.1f}{rate / medians['one by one']:>14.1f}"
        )


def _fresh(scene: Scene, number: int) -> None:
    for client in {scene.legacy, scene.unified}:
        client.flushall()
    fill(scene.legacy, number)


def _floor(scene: Scene, number: int) -> float:
    _fresh(scene, number)
    script = scene.legacy.register_script(FLOOR)
    started = time.perf_counter()
    while script(keys=["dramatiq:default", "dramatiq:default.msgs", "floor"]):
        pass
    return number / (time.perf_counter() - started)


def _ours(scene: Scene, number: int) -> float:
    _fresh(scene, number)
    started = time.perf_counter()
    report = scene.forward()
    assert (report.moved, report.balance) == (number, 0)
    return number / (time.perf_counter() - started)


def _back(scene: Scene) -> float:
    started = time.perf_counter()
    report = scene.back()
    assert report.moved and not report.balance
    return report.moved / (time.perf_counter() - started)


def _celery_messages(scene: Scene, number: int) -> None:
    _fresh(scene, 0)
    for index in range(200):
        scene.apply("fetch_yahoo_stocks_task", [f"S{index}"], kwargs={"limit": 5})
    sample = [json.loads(raw) for raw in scene.legacy.lrange("celery", 0, -1)]
    scene.legacy.delete("celery")
    pipe = scene.legacy.pipeline(transaction=False)
    for index in range(number):
        envelope = sample[index % len(sample)]
        envelope["properties"]["delivery_tag"] = envelope["headers"]["id"] = f"tag-{index}"
        pipe.lpush("celery", json.dumps(envelope))
        if index % 1000 == 999:
            pipe.execute()
    pipe.execute()


def _rename(scene: Scene, number: int) -> float:
    _celery_messages(scene, number)
    started = time.perf_counter()
    report = scene.forward()
    assert (report.moved, report.balance) == (number, 0), report
    return number / (time.perf_counter() - started)


def _contrib(scene: Scene) -> float:
    _celery_messages(scene, FEW)
    app = Celery("mover", broker=scene.environ["CELERY_BROKER_URL"], set_as_current=False)
    started = time.perf_counter()
    move(lambda body, message: ("", "elsewhere"), app=app, source=["celery"], limit=FEW, timeout=1.0)
    elapsed = time.perf_counter() - started
    moved = scene.legacy.llen("elsewhere")
    app.close()
    assert moved >= FEW - 1, moved
    return moved / elapsed


def _one_by_one(scene: Scene) -> float:
    _fresh(scene, FEW)
    translate = forward(scene.plan, scene.plan.legacy[0], unified_url="redis://", now_ms=int(time.time() * 1000))
    place = Place(scene.plan.legacy[0].side, scene.plan.legacy[0].system, "default")
    client, started = scene.legacy, time.perf_counter()
    while copy_id := client.lindex("dramatiq:default", 0):
        raw = client.hget("dramatiq:default.msgs", copy_id)
        with client.pipeline() as pipe:
            pipe.lpush("unified", translate(place, copy_id.decode(), raw).payload)  # type: ignore[union-attr]
            pipe.lpop("dramatiq:default").hdel("dramatiq:default.msgs", copy_id)
            pipe.execute()
    return FEW / (time.perf_counter() - started)


def _translation(scene: Scene) -> float:
    _fresh(scene, 20_000)
    items = list(scene.legacy.hgetall("dramatiq:default.msgs").items())
    translate = forward(scene.plan, scene.plan.legacy[0], unified_url="redis://", now_ms=int(time.time() * 1000))
    place = Place(scene.plan.legacy[0].side, scene.plan.legacy[0].system, "default")
    started = time.perf_counter()
    for copy_id, raw in items:
        translate(place, copy_id.decode(), raw)
    return len(items) / (time.perf_counter() - started)


def _memory(folder: Path, server: EmbeddedServer, number: int) -> None:
    """Carry many in a process of its own, watched from another client."""
    scene_folder = folder / f"many-{number}"
    scene_folder.mkdir()
    with make_scene(scene_folder, legacy=server, unified=server) as scene:
        _fresh(scene, number)
        before = scene.legacy.info("memory")["used_memory"]
        job = json.dumps({"plan": str(scene.plan.file), "environ": scene.environ})
        child = subprocess.Popen([sys.executable, __file__, "--child", job], stdout=subprocess.PIPE, text=True)
        pings = []
        with redis.Redis(port=server.port, socket_timeout=10) as bystander:
            while child.poll() is None:
                started = time.perf_counter()
                bystander.ping()
                pings.append((time.perf_counter() - started) * 1000)
                time.sleep(0.002)
        result = json.loads(child.stdout.read() if child.stdout else "{}")
        after = scene.legacy.info("memory")["used_memory"]
        pings.sort()
        print(
            f"{number:>9,} messages: {result['elapsed_s']:.1f} s, tool {result['rss_mib']:.0f} MiB, "
            f"server {before >> 20} to {after >> 20} MiB, PING p99 {pings[len(pings) * 99 // 100]:.1f} ms, "
            f"max {pings[-1]:.1f} ms"
        )


def _child(job: str) -> int:
    from migrator.plan import load_plan

    arguments = json.loads(job)
    started = time.perf_counter()
    options = TransferOptions(direction=Direction.FORWARD)
    report = transfer(load_plan(Path(arguments["plan"])), environ=arguments["environ"], options=options)
    assert report.balance == 0
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"elapsed_s": time.perf_counter() - started, "rss_mib": rss_mib}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
