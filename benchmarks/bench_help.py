"""How long ``migrator --help`` takes beside a process that only imports Click; the goal is at most twice as long."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "migrator --help": [str(BIN / "migrator"), "--help"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="the goal is printed beside the ratio, never judged")
    rounds = parser.parse_args().rounds
    for command in COMMANDS.values():
        seconds(command)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _round in range(rounds):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    baseline = statistics.median(taken["import click"])
    print(f"{'command':<26}{'median ms':>10}{'ratio':>8}   (median of {rounds} interleaved rounds; goal: 2.0 or less)")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:<26}{median * 1000:>10.1f}{median / baseline:>8.2f}")


if __name__ == "__main__":
    main()
