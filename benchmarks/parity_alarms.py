"""Run the sample's parity again and again on unchanged code and count false alarms: there must be none.

Each run has other hash seeds and another clock offset of the second observation. What the runs found is printed run
by run, with every difference that is not waived.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from parity_sample import rewritten_sample, show

from checks.runner import ParityOptions, parity_check
from checks.runs.observe import Variations

RUNS = 50
#: How far the second observation's clock is off, at most.
OFFSET_LIMIT_S = 6 * 3600


def main() -> int:
    """Run as often as asked; the exit code is 1 after any alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these cases; patterns are allowed")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=1, help="of the seeds and offsets")
    options = parser.parse_args()
    draw, alarms = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="parity-alarms-") as name:
        plan = rewritten_sample(Path(name))
        for number in range(1, options.runs + 1):
            around = Variations(
                hash_seed=draw.randrange(2**32),
                hash_seed_again=draw.randrange(2**32),
                clock_offset_s=float(draw.randrange(600, OFFSET_LIMIT_S)),
            )
            started = time.perf_counter()
            chosen = ParityOptions(names=tuple(options.names), variations=around)
            report = parity_check(plan, environ=os.environ, options=chosen)
            alarms += not report.ok
            verdict = "green" if report.ok else "ALARM"
            print(
                f"{number:3} {time.perf_counter() - started:5.1f} s  {verdict}  {report.cases} comparisons  "
                f"seeds {around.hash_seed}, {around.hash_seed_again}  offset {around.clock_offset_s:.0f} s",
                flush=True,
            )
            if not report.ok:
                show(report)
    print(f"runs={options.runs} alarms={alarms}")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
