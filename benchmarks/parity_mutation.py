"""Seed faults into the unified tasks, one at a time, and count how many the parity check finds at the right task.

The old side is observed once; for each fault the unified side runs again on the cases of the tasks it belongs to: once,
or twice where the unchanged task was seen to differ from itself.
The faults are data (``parity_faults.toml``): a file of the installed tasks, a text in it, what takes its place, and
where it must show.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parity_sample import rewritten_sample

from checks.cases.load import load_cases
from checks.compare.report import ParityReport
from checks.compare.verdict import concluded, judge
from checks.compare.waivers import load_waivers
from checks.configuration import load_configuration
from checks.registry import compare_all
from checks.runs.observe import Request, Seen, context, observe
from migrator.events import ignore
from migrator.plan.model import Plan
from migrator.report import Outcome

FAULTS = Path(__file__).parent / "parity_faults.toml"
#: What the campaign promises.
LEAST_FAULTS, LEAST_SHARE = 60, 0.95


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="only faults whose name contains one of these, and only the cases of their tasks"
    )
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    faults = tomllib.loads(FAULTS.read_text())["fault"]
    chosen = [item for item in faults if not options.names or any(name in item["name"] for name in options.names)]
    with tempfile.TemporaryDirectory(prefix="parity-mutation-") as name:
        plan = rewritten_sample(Path(name))
        configuration = load_configuration(plan)
        tasks = {task for fault in chosen for task in fault["tasks"]}
        cases = load_cases(configuration.cases, plan).cases
        if options.names:
            cases = tuple(case for case in cases if case.task in tasks)
        asked = Request(
            plan=plan,
            cases=cases,
            configuration=configuration,
            noise=True,
            isolate=False,
            whole=True,
            templates=Path(name) / "templates",
        )
        before = observe(asked, environ=os.environ, processes=options.processes, listener=ignore)
        # Of some cases nobody can tell which waivers cover nothing.
        if not report_of(asked, before, whole=not options.names).ok:
            print("the unchanged tasks are not green: run parity_sample.py first")
            return 2
        found = 0
        for number, fault in enumerate(chosen, 1):
            started = time.perf_counter()
            where = run_with(plan, fault, asked, before, options.processes)
            right = sorted(set(where) & set(fault["tasks"]))
            found += bool(right)
            told = ", ".join(right) or (f"elsewhere: {', '.join(where)}" if where else "NOT FOUND")
            print(f"{number:3} {time.perf_counter() - started:5.1f} s  {fault['name']:45} {told}", flush=True)
    share = found / len(chosen) if chosen else 0.0
    print(f"faults={len(chosen)} found={found} share={share:.3f}")
    enough = bool(options.names) or len(chosen) >= LEAST_FAULTS
    return 0 if enough and share >= LEAST_SHARE else 1


def run_with(plan: Plan, fault: Mapping[str, Any], asked: Request, before: Seen, processes: int) -> list[str]:
    """Return the tasks at which the fault shows."""
    file = plan.folder / plan.project.install_to / fault["file"]
    text = file.read_text()
    if text.count(fault["find"]) < 1:
        raise SystemExit(f"{fault['name']}: the text is not in {fault['file']}; correct {FAULTS.name}")
    file.write_text(text.replace(fault["find"], fault["replace"], 1))
    try:
        cases = tuple(case for case in asked.cases if case.task in fault["tasks"])
        # No fault is about importing, so that is not tried again; one that breaks it shows in every case.
        configuration = replace(asked.configuration, bare_environment={})
        only = replace(asked, systems=("unified",), cases=cases, noise=False, configuration=configuration)
        seen = observe(only, environ=os.environ, processes=processes, listener=ignore)
        seen["unified-again"] = dict(seen["unified"])
        noisy = tuple(case for case in cases if case.name in noisy_cases(before))
        if noisy:
            twice = replace(only, cases=noisy, noise=True, whole=False)
            for lane, answers in observe(twice, environ=os.environ, processes=processes, listener=ignore).items():
                seen[lane] |= answers
        after = {**before, **seen}
    finally:
        file.write_text(text)
    report = report_of(only, after, whole=True)
    bad = (Outcome.MISMATCHED, Outcome.NOT_COMPARED)
    return sorted({item.task for item in report.comparisons if item.outcome in bad})


def noisy_cases(before: Seen) -> set[str]:
    """Return the cases in which the unchanged unified task differs from itself."""
    first, again = before["unified"], before["unified-again"]
    spent = ("duration_s", "run_s")
    return {
        key.partition("|")[0]
        for key, answer in first.items()
        if key != "@description"
        and {k: v for k, v in answer.items() if k not in spent}
        != {k: v for k, v in again[key].items() if k not in spent}
    }


def report_of(asked: Request, seen: Seen, *, whole: bool) -> ParityReport:
    """Return what the parity check says of these observations."""
    comparisons, _ = judge(asked.plan, asked.cases, seen, asked.configuration.rules)
    comparisons += tuple(compare_all(context(asked, seen)))
    return concluded(asked.plan, comparisons, load_waivers(asked.configuration.waivers), whole=whole)


if __name__ == "__main__":
    sys.exit(main())
