"""The long kill campaign: SIGKILL the transfer hundreds of times and account for every message by id.

Run: ``python benchmarks/chaos.py [--messages 20000] [--kills 500] [--seed 1]``. Four legs: forward and back, on one
server and on two. The last line is stable: ``lost=0 doubled=0 changed=0 kills=1000 resumed=…``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "transfer"))

from kill_campaign import Outcome, run_campaign
from message_traffic import make_scene

from migrator.embedded_redis import EmbeddedServer, embedded_server


def main() -> int:
    """Run the campaign and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=500, help="on one server, and again on two")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.messages} messages, {options.kills} kills each", flush=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="migrator-chaos-") as name:
        folder = Path(name)
        with embedded_server(folder=folder / "a") as first, embedded_server(folder=folder / "b") as second:
            for label, unified in (("one server", first), ("two servers", second)):
                outcomes.append(_leg(folder / label.replace(" ", "-"), label, first, unified, options))
    totals = {key: sum(len(getattr(outcome, key)) for outcome in outcomes) for key in ("lost", "doubled", "changed")}
    kills, resumed = sum(outcome.kills for outcome in outcomes), sum(outcome.resumed for outcome in outcomes)
    print(" ".join(f"{key}={number}" for key, number in totals.items()), f"kills={kills} resumed={resumed}")
    return 1 if any(totals.values()) else 0


def _leg(
    folder: Path, label: str, legacy: EmbeddedServer, unified: EmbeddedServer, options: argparse.Namespace
) -> Outcome:
    import redis

    folder.mkdir()
    for server in {legacy.port, unified.port}:
        redis.Redis(port=server, socket_timeout=10).flushall()
    started = time.monotonic()
    with make_scene(folder, legacy=legacy, unified=unified) as scene:
        outcome = run_campaign(
            scene,
            messages=options.messages,
            kills=options.kills,
            seed=options.seed,
            tell=lambda text: print(f"  {label}: {text}", flush=True),
        )
    print(f"{label}: {outcome.kills} kills, {outcome.resumed} resumed, {time.monotonic() - started:.0f} s", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
