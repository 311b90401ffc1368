"""Two campaigns beside the kills: a connection cut at every single point, and a hundred thousand mangled payloads.

Run: ``python benchmarks/faults.py [--payloads 100000] [--messages 60] [--every 1]``. Cuts: the transfer runs through a
proxy, forward and back, and the connection is cut at the first piece of data, at the second, and so on until a run
comes to its end undisturbed; once so that the request is lost, once so that the server does it and the answer is lost.
Payloads: truncated, nested deeply, huge, of wrong types, not UTF-8. The last line of each is stable:
``cuts=… lost=0 doubled=0 changed=0 unbalanced=0`` and ``payloads=… moved=… quarantined=… missing=0 changed=0``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "transfer"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "translation"))

import redis
from flaky_proxy import FlakyProxy, flaky_proxy
from kill_campaign import carried_copies, legacy_copies, produce
from legacy_messages import celery_raw, dramatiq_raw, mutations
from message_traffic import Scene, _priority_lists, make_scene

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import UnreachableError
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer

LEGACY_URLS, UNIFIED_URL = ("DRAMATIQ_BROKER_URL", "CELERY_BROKER_URL"), ("UNIFIED_BROKER_URL",)


def main() -> int:
    """Run both campaigns and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--payloads", type=int, default=100_000, help="at least 1000; 0 leaves them out")
    parser.add_argument("--messages", type=int, default=60, help="of each run that is cut; 0 leaves the cuts out")
    parser.add_argument("--every", type=int, default=1, help="cut only at every n-th point")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="migrator-faults-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "a") as first, embedded_server(folder=folder / "b") as second:
            if options.payloads:
                bad += _payloads(folder, first, options)
            if options.messages:
                bad += _cuts(folder, first, second, options)
    return 1 if bad else 0


def _cuts(folder: Path, first: EmbeddedServer, second: EmbeddedServer, options: argparse.Namespace) -> int:
    total: Counter[str] = Counter()
    for label, unified, names in (
        ("one server", first, (*LEGACY_URLS, *UNIFIED_URL)),
        ("two servers, the legacy one cut", second, LEGACY_URLS),
        ("two servers, the unified one cut", second, UNIFIED_URL),
    ):
        for lose_answer in (False, True):
            address = folder / f"{label}-{lose_answer}".replace(" ", "-")
            address.mkdir()
            with make_scene(address, legacy=first, unified=unified) as scene:
                port = (unified if names == UNIFIED_URL else first).port
                with flaky_proxy(port) as proxy:
                    proxy.lose_answer = lose_answer
                    found = _leg(scene, proxy, names, options)
            lost = "answer lost" if lose_answer else "request lost"
            print(f"  {label}, {lost}: " + " ".join(f"{key}={number}" for key, number in found.items()), flush=True)
            total.update(found)
    keys = ("cuts", "lost", "doubled", "changed", "unbalanced")
    print(" ".join(f"{key}={total[key]}" for key in keys))
    return sum(total[key] for key in keys[1:])


def _leg(scene: Scene, proxy: FlakyProxy, names: tuple[str, ...], options: argparse.Namespace) -> dict[str, int]:
    """Cut at one point after the other, forward and back."""
    environ = {**scene.environ, **dict.fromkeys(names, proxy.url())}
    for client in {scene.legacy, scene.unified}:
        client.flushall()
    # What it has forgotten, it need not know.
    (scene.plan.state_folder / "book.sqlite3").unlink(missing_ok=True)
    produce(scene, options.messages, seed=options.seed)
    before = legacy_copies(scene)
    found, point, cut = dict.fromkeys(("cuts", "lost", "doubled", "changed", "unbalanced"), 0), 1, True
    while cut:
        cut = False
        for direction in Direction:
            proxy.cut_after, proxy.cuts_left, proxy._seen, proxy.cuts = point, 1, 0, 0
            report = _resumed(scene, environ, direction)
            cut |= proxy.cuts > 0
            found["cuts"] += proxy.cuts
            found["unbalanced"] += report.balance != 0
            there, here = carried_copies(scene), legacy_copies(scene)
            if direction is Direction.FORWARD:
                found["lost"] += sum(not there[copy] for copy in before)
                found["doubled"] += sum(there[copy] + len(here.get(copy, ())) > 1 for copy in before)
            else:
                found["lost"] += sum(not here.get(copy) for copy in before)
                found["doubled"] += sum(len(here.get(copy, ())) + there[copy] > 1 for copy in before)
                found["changed"] += sum(bool(raws) and raws[0] != before[copy][0] for copy, raws in here.items())
        point += options.every
    return found


def _resumed(scene: Scene, environ: dict[str, str], direction: Direction) -> TransferReport:
    """Run again after a clear error, as an operator does."""
    while True:
        try:
            options = TransferOptions(direction=direction, batch_size=10, park=True)
            return transfer(scene.plan, environ=environ, options=options)
        except UnreachableError:
            continue


def _payloads(folder: Path, server: EmbeddedServer, options: argparse.Namespace) -> int:
    address = folder / "payloads"
    address.mkdir()
    chance = random.Random(options.seed)
    with make_scene(address, legacy=server, unified=server) as scene:
        scene.legacy.flushall()
        (scene.plan.state_folder / "book.sqlite3").unlink(missing_ok=True)
        before = _mangle(scene.legacy, options.payloads, chance)
        started = time.monotonic()
        report = scene.forward()
        elapsed_s = time.monotonic() - started
        quarantined = Counter(
            raw.partition(b"\n")[2]
            for system in ("dramatiq", "celery")
            for raw in scene.legacy.hvals(f"tqm:kept:legacy:{system}")
        )
        missing = options.payloads - report.moved - report.quarantined + abs(report.balance)
        missing += sum((quarantined - before).values()) + report.quarantined - sum(quarantined.values())
        left = scene.legacy.llen("dramatiq:default") + scene.legacy.llen("celery")
        scene.back()
        after = Counter(scene.legacy.hvals("dramatiq:default.msgs"))
        for key in _priority_lists("celery"):
            after.update(scene.legacy.lrange(key, 0, -1))
        changed = sum((before - after).values()) + sum((after - before).values())
    reasons = ", ".join(f"{name} {number}" for name, number in report.reasons.items())
    print(f"  forward in {elapsed_s:.1f} s; quarantined: {reasons}", flush=True)
    print(
        f"payloads={options.payloads} moved={report.moved} quarantined={report.quarantined} "
        f"missing={missing + left} changed={changed}",
        flush=True,
    )
    return missing + left + changed


def _mangle(client: redis.Redis, number: int, chance: random.Random) -> Counter[bytes]:
    """Put mangled messages into both legacy queues; return their bytes."""
    now_ms = int(time.time() * 1000)
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    actors = [
        dramatiq_raw("fetch_crypto_prices_task", ["BTC"], options={"retries": 1, "eta": now_ms + 9}),
        dramatiq_raw("fetch_technical_indicators_task", "A", options={"pipe_target": {"actor_name": "x"}}),
        dramatiq_raw("fetch_crypto_prices_task", ["x" * 100_000]),
    ]
    tasks = [
        celery_raw("calculate_indicators_task", [["A"], {"period": 3}, embed], headers={"eta": "2030-01-01T00:00:00"}),
        celery_raw("health_check_task", [[], {}, {**embed, "chain": [{"task": "x"}]}]),
    ]
    put: Counter[bytes] = Counter()
    pipe = client.pipeline(transaction=False)
    for seeds, is_dramatiq in ((actors, True), (tasks, False)):
        # Of the huge one a few are enough.
        plain, huge = seeds[:2], seeds[2:]
        mangled = [
            *mutations(plain, number // 2 - 200 * len(huge), chance),
            *mutations(huge or plain, 200 * len(huge), chance),
        ]
        for raw in mangled:
            put[raw] += 1
            if is_dramatiq:
                copy_id = str(uuid.UUID(int=chance.getrandbits(128)))
                pipe.hset("dramatiq:default.msgs", copy_id, raw).rpush("dramatiq:default", copy_id)
            else:
                pipe.lpush("celery", raw)
            if len(pipe) >= 1000:
                pipe.execute()
    pipe.execute()
    return put


if __name__ == "__main__":
    sys.exit(main())
