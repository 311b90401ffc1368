"""How long no worker runs: the downtime of a cutover and of its rollback on the sample, and where its seconds go.

Run: ``python benchmarks/bench_gap.py [--waiting 1000 10000 50000] [--rounds 1] [--actions]``. The sample's real
processes work and its API is asked all the time. Goal: under 5 s with 10,000 waiting messages on two cores, and from
there on not growing faster than the transfer moves them; no other number is judged.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))

from sample_scene import Scene, convert, open_scene, prepare

from migrator.state.journal import EntryKind, JournalEntry, Phase, open_journal
from migrator.steps.actions.downtime import measure_downtime


def main() -> int:
    """Run the benchmark; the exit status says whether the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--waiting", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--actions", action="store_true", help="print what each action of the downtime took")
    parser.add_argument("--goal-s", type=float, default=5.0, help="judged with 10,000 waiting messages only")
    options = parser.parse_args()
    missed = False
    print(
        f"{'waiting':>8} {'way':8} {'moved':>7} {'transfer s':>10} {'a second':>9} {'down s':>7} {'beside s':>8}  load"
    )
    for waiting in options.waiting * options.rounds:
        with tempfile.TemporaryDirectory(prefix="migrator-gap-") as name:
            for downtime_s in _measure(Path(name), waiting, actions=options.actions):
                missed |= waiting == 10_000 and downtime_s > options.goal_s
    return 1 if missed else 0


def _measure(folder: Path, waiting: int, *, actions: bool) -> list[float]:
    found = []
    with open_scene(folder) as scene:
        prepare(scene, waiting)
        convert(scene)
        with scene.system.load():
            for command, phase in (("cutover", Phase.FORWARD), ("rollback", Phase.BACK)):
                _run(scene, command)
                entries = open_journal(scene.system.scratch.plan).entries()
                found.append(_tell(waiting, phase, entries, actions=actions))
    return found


def _run(scene: Scene, command: str) -> None:
    process = scene.begin(command)
    output, _ = process.communicate(timeout=600)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}:\n{output[-3000:]}")


def _tell(waiting: int, phase: Phase, entries: tuple[JournalEntry, ...], *, actions: bool) -> float:
    downtime_s = measure_downtime(entries, phase) or 0.0
    move = next(line for line in reversed(entries) if line.phase is phase and line.action in ("move", "move-back"))
    moved, transfer_s = int(move.data["moved"]), float(move.data["elapsed_s"])
    beside_s, rate = downtime_s - transfer_s, moved / max(transfer_s, 0.001)
    figures = f"{moved:>7,} {transfer_s:>10.2f} {rate:>9,.0f} {downtime_s:>7.2f} {beside_s:>8.2f}"
    print(f"{waiting:>8,} {phase.value:8} {figures} {os.getloadavg()[0]:>5.1f}", flush=True)
    if actions:
        mine = [line for line in entries if line.phase is phase]
        ready = [line.at for line in mine if line.step == "stop_workers" and line.action.startswith("ready:")]
        _tell_actions(mine, max(move.at, *ready) if ready else move.at)
    return downtime_s


def _tell_actions(lines: list[JournalEntry], until: datetime) -> None:
    began = next((line.data["began"]["wall_s"] for line in lines if "began" in line.data), time.time())
    last = began
    for line in lines:
        at = line.at.timestamp()
        if at >= began and line.at <= until and line.mark is EntryKind.DONE:
            print(f"    {at - last:6.2f} s  {line.step:20} {line.action or '(verified)'}")
            last = at


if __name__ == "__main__":
    sys.exit(main())
