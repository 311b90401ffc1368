"""How fast messages are transferred, beside a loop inside the server, ``celery.contrib.migrate.move`` and one by one.

Run: ``python benchmarks/bench_transfer.py [--messages 100000] [--rounds 5] [--million]``. All contenders run in turn,
in every round; only the ratios are worth quoting. Goals, against ``move``: Dramatiq to Celery 100, Celery to Celery 80,
two servers 70; with 100,000 messages or more the exit status says whether one was missed.

The floor is a loop inside the server that holds the messages: it moves the like of them without reading them. A
machine that does other things as well is now fast and now slow, so the floor runs before and after each contender, and
each round gives a ratio of its own; the table shows their median, the smallest and the largest.
The CPU time of the tool and of the servers stands beside it. ``move, CPU`` compares both together, ``floor, CPU`` the
floor with the slower of the two, which is what an idle machine with a core for each would show.
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
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "transfer"))

import redis
from celery import Celery
from celery.contrib.migrate import move
from message_traffic import Scene, fill, make_scene
from peak_memory import peak_mib

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer
from migrator.translation.result import Translator
from migrator.translation.translators import forward
from migrator.wire.queue_address import QueueAddress

#: How many times as fast as ``move`` each has to be.
GOALS = {
    "one server, Dramatiq to Celery": 100,
    "one server, Celery to Celery": 80,
    "two servers, Dramatiq to Celery": 70,
}
JUDGED_FROM = 100_000
#: Bodies from Dramatiq's hash to a list.
FLOOR_BODIES = """
local ids = redis.call('LRANGE', KEYS[1], 0, 999)
if #ids == 0 then return 0 end
local bodies = redis.call('HMGET', KEYS[2], unpack(ids))
redis.call('LPUSH', KEYS[3], unpack(bodies))
redis.call('HDEL', KEYS[2], unpack(ids))
redis.call('LTRIM', KEYS[1], #ids, -1)
return #ids
"""
#: Messages from one list to another.
FLOOR_LIST = """
local messages = redis.call('LRANGE', KEYS[1], -1000, -1)
if #messages == 0 then return 0 end
redis.call('LPUSH', KEYS[2], unpack(messages))
redis.call('LTRIM', KEYS[1], 0, -#messages - 1)
return #messages
"""
#: Makes a Dramatiq message 368 bytes long.
SYMBOLS = (
    "ETH",
    "SOL",
    "ADA",
    "XRP",
    "DOT",
    "LTC",
    "BCH",
    "LINK",
    "ATOM",
    "AVAX",
    "NEAR",
    "ALGO",
    "UNI",
    "FIL",
    "XLM",
    "TRX",
    "DOGE",
    "MATIC",
)


MOVE_LABEL, ONE_LABEL = "celery.contrib.migrate.move", "one by one"
#: Does the work that was prepared and returns the number of messages.
Run = Callable[[], int]


class Cost(NamedTuple):
    """What one run has cost for each message."""

    #: Messages a second by the clock on the wall.
    rate: float
    #: Microseconds of CPU for each message.
    tool_us: float
    server_us: float


class Job(NamedTuple):
    """What is measured, prepared."""

    run: Run
    #: Where the messages are, and the keys of the floor: Dramatiq's list and hash, or one list.
    client: redis.Redis
    keys: tuple[str, ...] = ()


class Result(NamedTuple):
    """One round of one contender."""

    cost: Cost
    #: Of the floor beside it; None where there is none.
    floor: Cost | None


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=JUDGED_FROM, help="the goals are not judged with fewer")
    parser.add_argument(
        "--few", type=int, default=4000, help="messages of a slow contender, whose rate does not depend on their number"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="also move a million and measure the memory")
    parser.add_argument("--many", type=int, default=1_000_000, help="how many a million is")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _child(options.child)
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="migrator-bench-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "a") as first, embedded_server(folder=folder / "b") as second:
            if options.rounds:
                missed = _compare(folder, first, second, options)
            if options.million:
                for number in (options.many // 10, options.many):
                    _memory(folder, first, second, number)
    for line in missed:
        print(f"goal missed: {line}")
    return 1 if missed and options.messages >= JUDGED_FROM else 0


def _compare(folder: Path, first: EmbeddedServer, second: EmbeddedServer, options: argparse.Namespace) -> list[str]:
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    results: dict[str, list[Result]] = {}
    with (
        make_scene(one, legacy=first, unified=first) as scene,
        make_scene(two, legacy=first, unified=second) as apart,
    ):
        contenders: dict[str, tuple[Scene, Callable[[], Job]]] = {
            "one server, Dramatiq to Celery": (scene, lambda: _ours(scene, options.messages)),
            "one server, back": (scene, lambda: _back(scene, options.messages)),
            "one server, Celery to Celery": (scene, lambda: _rename(scene, options.messages)),
            "two servers, Dramatiq to Celery": (apart, lambda: _ours(apart, options.messages)),
            "two servers, back": (apart, lambda: _back(apart, options.messages)),
            "translation alone": (scene, lambda: _translation(scene, 5 * options.few)),
            MOVE_LABEL: (scene, lambda: _contrib(scene, options.few)),
            ONE_LABEL: (scene, lambda: _one_by_one(scene, options.few)),
        }
        for number in range(options.rounds):
            for label, (where, prepared) in contenders.items():
                result = _beside_floor(where, prepared)
                results.setdefault(label, []).append(result)
                print(f"round {number + 1}: {label}: {result.cost.rate:,.0f}", file=sys.stderr, flush=True)
    return _table(results)


def _beside_floor(scene: Scene, prepared: Callable[[], Job]) -> Result:
    """Measure a contender, and the floor before and after it, each with messages that were just made."""
    job = prepared()
    if not job.keys:
        return Result(_measured({scene.legacy, scene.unified}, job.run), None)
    before = _measured({job.client}, lambda: _floor(job))
    cost = _measured({scene.legacy, scene.unified}, prepared().run)
    job = prepared()
    after = _measured({job.client}, lambda: _floor(job))
    rate = 2 / (1 / before.rate + 1 / after.rate)
    return Result(cost, Cost(rate, (before.tool_us + after.tool_us) / 2, (before.server_us + after.server_us) / 2))


def _floor(job: Job) -> int:
    script = job.client.register_script(FLOOR_LIST if len(job.keys) == 1 else FLOOR_BODIES)
    number = 0
    while moved := script(keys=[*job.keys, "floor"]):
        number += moved
    return number


def _measured(clients: set[redis.Redis], run: Run) -> Cost:
    server_s, tool_s, started = sum(map(_server_cpu_s, clients)), time.process_time(), time.perf_counter()
    number = run()
    elapsed_s, tool_s = time.perf_counter() - started, time.process_time() - tool_s
    server_s = sum(map(_server_cpu_s, clients)) - server_s
    return Cost(rate=number / elapsed_s, tool_us=tool_s / number * 1e6, server_us=server_s / number * 1e6)


def _server_cpu_s(client: redis.Redis) -> float:
    facts = client.info("cpu")
    return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


def _table(results: dict[str, list[Result]]) -> list[str]:
    """Print the ratios and return the goals that were missed."""
    costs = {
        label: Cost(*map(statistics.median, zip(*(one.cost for one in rounds), strict=True)))
        for label, rounds in results.items()
    }
    titles = ("msg/s", "floor msg/s", "of floor", "x move", "x one", "tool us", "server us", "move, CPU", "floor, CPU")
    print(f"{'':34}" + "".join(f"{title:>19}" if title == "of floor" else f"{title:>12}" for title in titles))
    move, one = costs[MOVE_LABEL], costs[ONE_LABEL]
    for label, cost in costs.items():
        floors = [result.floor for result in results[label] if result.floor]
        ratios = sorted(result.cost.rate / result.floor.rate for result in results[label] if result.floor)
        of_floor = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})" if ratios else "-"
        floor_rate = f"{statistics.median(floor.rate for floor in floors):,.0f}" if floors else "-"
        floor_us = statistics.median(floor.server_us for floor in floors) if floors else 0.0
        both = (move.tool_us + move.server_us) / (cost.tool_us + cost.server_us)
        print(
            f"{label:34}{cost.rate:>12,.0f}{floor_rate:>12}{of_floor:>19}{cost.rate / move.rate:>12.1f}"
            f"{cost.rate / one.rate:>12.1f}{cost.tool_us:>12.2f}{cost.server_us:>12.2f}{both:>12.1f}"
            f"{floor_us / max(cost.tool_us, cost.server_us):>12.2f}"
        )
    reached = {label: costs[label].rate / move.rate for label in GOALS}
    return [f"{label}: x{reached[label]:.0f} of {goal}" for label, goal in GOALS.items() if reached[label] < goal]


def _fresh(scene: Scene, number: int) -> None:
    for client in {scene.legacy, scene.unified}:
        client.flushall()
    # What it has forgotten, it need not know.
    (scene.plan.state_folder / "book.sqlite3").unlink(missing_ok=True)
    fill(scene.legacy, number, symbols=SYMBOLS)


def _ours(scene: Scene, number: int) -> Job:
    _fresh(scene, number)
    return Job(lambda: _all_of(scene.forward(), number), scene.legacy, ("dramatiq:default", "dramatiq:default.msgs"))


def _back(scene: Scene, number: int) -> Job:
    _fresh(scene, number)
    _all_of(scene.forward(), number)
    lists = [key.decode() for key in scene.unified.scan_iter("unified*", _type="list")]
    assert len(lists) == 1, lists
    return Job(lambda: _all_of(scene.back(), number), scene.unified, (lists[0],))


def _all_of(report: TransferReport, number: int) -> int:
    assert report.moved == number and not report.balance, report
    return report.moved


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


def _rename(scene: Scene, number: int) -> Job:
    _celery_messages(scene, number)
    return Job(lambda: _all_of(scene.forward(), number), scene.legacy, ("celery",))


def _contrib(scene: Scene, number: int) -> Job:
    _celery_messages(scene, number)
    app = Celery("mover", broker=scene.environ["CELERY_BROKER_URL"], set_as_current=False)

    def run() -> int:
        move(lambda body, message: ("", "elsewhere"), app=app, source=["celery"], limit=number, timeout=1.0)
        moved = scene.legacy.llen("elsewhere")
        app.close()
        assert moved >= number - 1, moved
        return moved

    return Job(run, scene.legacy)


def _one_by_one(scene: Scene, number: int) -> Job:
    _fresh(scene, number)
    translate, address = _translator(scene)
    client = scene.legacy

    def run() -> int:
        while copy_id := client.lindex("dramatiq:default", 0):
            raw = client.hget("dramatiq:default.msgs", copy_id)
            with client.pipeline() as pipe:
                pipe.lpush("unified", translate(address, copy_id.decode(), raw).payload)  # type: ignore[union-attr]
                pipe.lpop("dramatiq:default").hdel("dramatiq:default.msgs", copy_id)
                pipe.execute()
        return number

    return Job(run, scene.legacy)


def _translation(scene: Scene, number: int) -> Job:
    _fresh(scene, number)
    items = list(scene.legacy.hgetall("dramatiq:default.msgs").items())
    translate, address = _translator(scene)

    def run() -> int:
        for copy_id, raw in items:
            translate(address, copy_id.decode(), raw)
        return len(items)

    return Job(run, scene.legacy)


def _translator(scene: Scene) -> tuple[Translator, QueueAddress]:
    endpoint = scene.plan.legacy[0]
    translate = forward(scene.plan, endpoint, unified_url="redis://", now_ms=int(time.time() * 1000))
    return translate, QueueAddress(endpoint.side, endpoint.system, "default")


def _memory(folder: Path, server: EmbeddedServer, idle: EmbeddedServer, number: int) -> None:
    """Carry many in a process of its own, watched from another client of this server and of an idle one."""
    scene_folder = folder / f"many-{number}"
    scene_folder.mkdir()
    with make_scene(scene_folder, legacy=server, unified=server) as scene:
        _fresh(scene, number)
        before = scene.legacy.info("memory")["used_memory"]
        job = json.dumps({"plan": str(scene.plan.file), "environ": scene.environ})
        child = subprocess.Popen([sys.executable, __file__, "--child", job], stdout=subprocess.PIPE, text=True)
        pings: list[list[float]] = [[], []]
        clients = [redis.Redis(port=one.port, socket_timeout=10) for one in (server, idle)]
        while child.poll() is None:
            for client, taken in zip(clients, pings, strict=True):
                started = time.perf_counter()
                client.ping()
                taken.append((time.perf_counter() - started) * 1000)
            time.sleep(0.002)
        result = json.loads(child.stdout.read() if child.stdout else "{}")
        after = scene.legacy.info("memory")["used_memory"]
        print(
            f"{number:>9,} messages: {result['elapsed_s']:.1f} s, CPU {result['cpu_us']:.2f} us each, "
            f"tool {result['rss_mib']:.0f} MiB, server {before >> 20} to {after >> 20} MiB, "
            f"PING {_tail(pings[0])}; of an idle server {_tail(pings[1])}",
            flush=True,
        )


def _tail(pings: list[float]) -> str:
    ordered = sorted(pings)
    return f"p99 {ordered[len(ordered) * 99 // 100]:.1f} ms, max {ordered[-1]:.1f} ms"


def _child(job: str) -> int:
    from migrator.plan.loader import load_plan

    arguments = json.loads(job)
    started = time.perf_counter()
    options = TransferOptions(direction=Direction.FORWARD, park=True)
    report = transfer(load_plan(Path(arguments["plan"])), environ=arguments["environ"], options=options)
    assert report.balance == 0
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_us = (used.ru_utime + used.ru_stime) / report.seen * 1e6
    elapsed_s = time.perf_counter() - started
    print(json.dumps({"elapsed_s": elapsed_s, "rss_mib": peak_mib(), "cpu_us": cpu_us}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
