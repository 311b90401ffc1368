"""A demo run: legacy workers, rewrite, parity, cutover under load, rollback, cutover again, and the accounting."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.runner import ParityOptions, parity_check
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.demo.accounting import SystemTally
from migrator.demo.load import wait_until_answering
from migrator.demo.scratch import commit, create_scratch, find_fixtures, git, manage
from migrator.demo.servers import demo_servers
from migrator.demo.suppressions import suppress_leftovers
from migrator.demo.system import SystemUnderTest
from migrator.errors import RefusedError
from migrator.events import Event, EventKind, Listener
from migrator.runner.cutover import cutover, rollback
from migrator.runner.report import RunReport
from migrator.steps.protocol import RunOptions
from migrator.wire.message import Side
from migrator.wiring import guarded

ROW_COUNTS = (
    "from assets.models import AssetPricesHistoric as P; from news.models import NewsArticle as N; "
    "print(P.objects.count(), N.objects.count())"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Options of a demo run."""

    messages: int = 2000
    seed: int = 1
    fixtures: Path | None = None
    #: A server to use instead of an embedded one.
    redis_url: str | None = None
    #: Folder for the scratch system, which is then kept; None for a temporary one.
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The result of a demo run."""

    lost: int
    duplicated: int
    #: The longer downtime of the two cutovers, in seconds.
    downtime_s: float
    #: Source files that the rewrite changed or created.
    files: int
    #: Comparisons of the parity check.
    cases: int
    tallies: dict[str, SystemTally]
    measured: dict[str, Any]
    checks: dict[str, bool]
    #: Seconds by phase.
    seconds: dict[str, float]
    folder: Path
    reports: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True if no message was lost or duplicated and every expectation was met."""
        return self.lost == 0 and self.duplicated == 0 and self.cases > 0 and all(self.checks.values())


def run_demo(options: DemoOptions, listener: Listener) -> DemoResult:
    """Run the demo and return its result.

    Raises:
        MigratorError: A phase failed; the scratch folder is deleted unless it is kept.
    """
    fixtures = find_fixtures(options.fixtures)
    with ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migrator-demo-")))
        else:
            folder = options.keep
            folder.mkdir(parents=True)
        environ = stack.enter_context(demo_servers(fixtures, folder, options.redis_url))
        scratch = create_scratch(fixtures, folder, environ)
        system = SystemUnderTest(scratch=scratch, listener=listener, messages=options.messages, seed=options.seed)
        stack.callback(system.stop)
        seconds: dict[str, float] = {}
        for name, text, phase in PHASES:
            seconds[name] = _timed(system, name, text, phase)
        return _result(system, seconds)


def _timed(system: SystemUnderTest, name: str, text: str, phase: Callable[[SystemUnderTest], None]) -> float:
    started = time.monotonic()
    system.listener(Event(kind=EventKind.STEP_STARTED, step=name, text=text))
    try:
        phase(system)
    except BaseException:
        system.listener(Event(kind=EventKind.STEP_FAILED, step=name, text=text))
        raise
    elapsed_s = time.monotonic() - started
    system.listener(Event(kind=EventKind.STEP_FINISHED, step=name, text=text, elapsed_s=elapsed_s))
    return elapsed_s


def _legacy(system: SystemUnderTest) -> None:
    manage(system.scratch, ("migrate", "--verbosity", "0"))
    manage(system.scratch, ("seed_assets",))
    manage(system.scratch, ("load_history",))
    system.start(Side.LEGACY)
    system.checks["the API answers before the migration"] = wait_until_answering(
        int(system.scratch.environ["API_PORT"])
    )
    system.enqueue(system.messages - system.messages // 2)


def _rewrite(system: SystemUnderTest) -> None:
    preview = rewrite(system.scratch.plan, mode=Mode.CHECK)
    system.measured["leftovers suppressed"] = suppress_leftovers(system.scratch.plan.folder, preview.leftovers)
    commit(system.scratch.plan.folder, "Suppress the leftovers of the rewrite")
    system.legacy_commit = git(system.scratch.plan.folder, "rev-parse", "HEAD").strip()
    report = rewrite(system.scratch.plan, mode=Mode.WRITE)
    system.measured["files"] = len(report.changed) + len(report.created)
    system.checks["no leftover is open"] = not report.leftovers and not report.unparsable
    again = rewrite(system.scratch.plan, mode=Mode.CHECK)
    system.checks["a second rewrite would change nothing"] = not again.changed and not again.created
    commit(system.scratch.plan.folder, "Rewrite to the unified tasks")


def _parity(system: SystemUnderTest) -> None:
    report = parity_check(
        system.scratch.plan, environ=system.scratch.environ, options=ParityOptions(), listener=system.listener
    )
    system.measured["cases"] = report.cases
    system.measured["reports"] = dict(report.facts.get("files", {}))
    system.checks["parity holds"] = report.ok
    if not report.ok:
        where = report.facts.get("files", {}).get("html", "")
        raise RefusedError("parity", "does not hold, so no message is moved", found=str(report.counts), remedy=where)


def _cutover(system: SystemUnderTest, name: str, late_messages: int) -> None:
    def listener(event: Event) -> None:
        system.listener(event)
        if event.kind is EventKind.STEP_STARTED and event.step == "stop_workers":
            system.note(name, f"the old release, still deployed elsewhere, enqueues {late_messages:,} messages")
            system.enqueue(late_messages, root=system.scratch.old_release)

    with system.load():
        report = cutover(
            system.scratch.plan,
            environ=system.scratch.environ,
            options=guarded(system.scratch.plan, RunOptions()),
            listener=listener,
        )
        _require(name, report)
        system.tally(name)
    system.measured.setdefault("downtimes_s", []).append(report.downtime_s)
    system.measured[f"{name}: moved"] = report.moved
    system.measured[f"{name}: quarantined"] = report.quarantined
    tracked = git(system.scratch.plan.folder, "ls-files").splitlines()
    retired = system.scratch.plan.project.retire
    system.checks[f"{name}: the legacy files are removed from the tree"] = not set(retired) & set(tracked)
    left = system.depths(Side.LEGACY)
    waiting = sum(left.get(state, 0) for state in ("ready", "delayed", "claimed", "moving"))
    system.checks[f"{name}: no message waits in a legacy queue"] = waiting == 0


def _first_cutover(system: SystemUnderTest) -> None:
    _cutover(system, "cutover", late_messages=system.messages // 2)


def _unified(system: SystemUnderTest) -> None:
    system.enqueue(max(system.messages // 10, 20))
    system.checks["the unified workers run all ready messages"] = system.drain("unified running", Side.UNIFIED)
    rows = manage(system.scratch, ("shell", "--verbosity", "0", "-c", ROW_COUNTS)).split()
    system.measured["price rows"], system.measured["news rows"] = int(rows[-2]), int(rows[-1])
    system.checks["there are prices in the database"] = int(rows[-2]) > 0
    system.enqueue(max(system.messages // 10, 20))


def _rollback(system: SystemUnderTest) -> None:
    with system.load():
        report = rollback(
            system.scratch.plan,
            environ=system.scratch.environ,
            options=guarded(system.scratch.plan, RunOptions()),
            listener=system.listener,
        )
        _require("rollback", report)
        system.tally("rollback")
    system.measured["rollback: moved back"] = report.moved
    folder = system.scratch.plan.folder
    tracked = git(folder, "ls-files").splitlines()
    restored = set(system.scratch.plan.project.retire) <= set(tracked)
    system.checks["rollback: the legacy files are restored"] = restored
    system.checks["rollback: the source is as before the rewrite"] = (
        git(folder, "diff", "--stat", system.legacy_commit) == ""
    )
    system.checks["the legacy workers run all ready messages"] = system.drain("rollback", Side.LEGACY)


def _again(system: SystemUnderTest) -> None:
    rewrite(system.scratch.plan, mode=Mode.WRITE)
    commit(system.scratch.plan.folder, "Rewrite to the unified tasks again")
    _cutover(system, "cutover again", late_messages=max(system.messages // 10, 20))
    system.drain("cutover again", Side.UNIFIED)


def _proof(system: SystemUnderTest) -> None:
    system.stop()
    tally = system.tally("proof", workers_stopped=True)
    system.checks["every message is accounted for"] = tally.balanced
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    system.measured["memory_mb"] = round(size / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _require(name: str, report: RunReport) -> None:
    if not report.ok:
        errors = "; ".join(str(finding) for finding in report.findings if finding.severity == "error")
        raise RefusedError(name, report.failure or report.outcome.value, found=errors, remedy="see the findings")


def _result(system: SystemUnderTest, seconds: dict[str, float]) -> DemoResult:
    tallies = system.tallies.values()
    measured = dict(system.measured)
    return DemoResult(
        lost=len({identifier for tally in tallies for identifier in tally.lost}),
        duplicated=len({identifier for tally in tallies for identifier in tally.duplicated}),
        downtime_s=max(downtime or 0.0 for downtime in measured.pop("downtimes_s")),
        files=measured.pop("files"),
        cases=measured.pop("cases"),
        reports=measured.pop("reports"),
        tallies=dict(system.tallies),
        measured=measured,
        checks=dict(system.checks),
        seconds=seconds,
        folder=system.scratch.folder,
    )


PHASES: tuple[tuple[str, str, Callable[[SystemUnderTest], None]], ...] = (
    ("legacy running", "start the Dramatiq worker, Celery worker, beat and API, and enqueue messages", _legacy),
    ("rewrite", "rewrite the source and install the unified app", _rewrite),
    ("parity", "run legacy and unified tasks on the same cases", _parity),
    ("cutover", "cut over to the unified tasks under load", _first_cutover),
    ("unified running", "run the moved messages with the unified workers", _unified),
    ("rollback", "roll everything back under load", _rollback),
    ("cutover again", "cut over to the unified tasks again", _again),
    ("proof", "stop all processes and account for every message by its id", _proof),
)
