"""How much longer a case takes than the task alone, for each system; at most 2.5 times is promised.

A side sets up a world, runs the task through its library, and reads what changed. Counted is a whole case in its
process against the task's own time in the same run. Setting Django up once per process is told apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from parity_sample import rewritten_sample

from checks.cases.load import load_cases
from checks.cases.patterns import fits
from checks.configuration import load_configuration
from checks.runs.observe import Request, observe
from migrator.events import ignore

PROMISED = 2.5


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these cases (patterns are allowed), and the goal is not judged")
    options = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="parity-overhead-") as name:
        plan = rewritten_sample(Path(name))
        configuration = load_configuration(plan)
        cases = tuple(
            case
            for case in load_cases(configuration.cases, plan).cases
            if not options.names or any(fits(pattern, case.name) for pattern in options.names)
        )
        print(f"{'system':10} {'runs':>5} {'tasks s':>8} {'cases s':>8} {'ratio':>6} {'process s':>10}")
        called = {call.mapping.system.value for case in cases for call in case.calls}
        for system in ("unified", *sorted(called)):
            asked = Request(
                plan=plan,
                cases=cases,
                configuration=configuration,
                noise=False,
                isolate=False,
                whole=False,
                systems=(system,),
            )
            started = time.perf_counter()
            seen = observe(asked, environ=os.environ, processes=1, listener=ignore)[system]
            elapsed_s = time.perf_counter() - started
            tasks_s = sum(answer["duration_s"] for answer in seen.values())
            runs_s = sum(answer["run_s"] for answer in seen.values())
            worst = max(worst, runs_s / tasks_s)
            print(f"{system:10} {len(seen):5} {tasks_s:8.2f} {runs_s:8.2f} {runs_s / tasks_s:6.2f} {elapsed_s:10.2f}")
    print(f"worst={worst:.2f} promised={PROMISED}")
    return 0 if options.names or worst <= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
