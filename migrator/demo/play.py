"""The play: legacy at work, rewrite, parity, cutover under load, rollback, cutover again, and the proof after each."""

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
from codemods.runner import Mode, rewrite
from migrator.demo.account import Account
from migrator.demo.decisions import dismiss
from migrator.demo.load import wait_until_answering
from migrator.demo.scratch import commit, create_scratch, find_fixtures, git, manage
from migrator.demo.servers import demo_servers
from migrator.demo.stage import Stage
from migrator.errors import RefusedError
from migrator.events import Event, EventKind, Listener
from migrator.runner.cutover import RunOptions, RunReport, cutover, rollback
from migrator.wire.message import Side
from migrator.wiring import guarded

ROW_COUNTS = (
    "from assets.models import AssetPricesHistoric as P; from news.models import NewsArticle as N; "
    "print(P.objects.count(), N.objects.count())"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to play."""

    messages: int = 2000
    seed: int = 1
    fixtures: Path | None = None
    #: A server to use instead of an embedded one.
    redis_url: str | None = None
    #: Folder for the scratch system, which then stays; None for one that goes.
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo has shown."""

    lost: int
    duplicated: int
    #: The longer of the two cutovers' gaps, in seconds.
    gap_s: float
    #: Source files that the rewrite changed or created.
    files: int
    #: Comparisons of the parity check.
    cases: int
    accounts: dict[str, Account]
    measured: dict[str, Any]
    checks: dict[str, bool]
    #: Seconds by phase.
    seconds: dict[str, float]
    folder: Path
    reports: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True if nothing was lost or doubled and every expectation held."""
        return self.lost == 0 and self.duplicated == 0 and self.cases > 0 and all(self.checks.values())


def play(options: DemoOptions, listener: Listener) -> DemoResult:
    """Run the demo and return what it has shown.

    Raises:
        MigratorError: A phase failed; what it left is gone with the scratch folder, unless that is kept.
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
        stage = Stage(scratch=scratch, listener=listener, messages=options.messages, seed=options.seed)
        stack.callback(stage.stop)
        seconds: dict[str, float] = {}
        for name, text, phase in PHASES:
            seconds[name] = _timed(stage, name, text, phase)
        return _result(stage, seconds)


def _timed(stage: Stage, name: str, text: str, phase: Callable[[Stage], None]) -> float:
    started = time.monotonic()
    stage.listener(Event(kind=EventKind.STEP_STARTED, step=name, text=text))
    try:
        phase(stage)
    except BaseException:
        stage.listener(Event(kind=EventKind.STEP_FAILED, step=name, text=text))
        raise
    elapsed_s = time.monotonic() - started
    stage.listener(Event(kind=EventKind.STEP_FINISHED, step=name, text=text, elapsed_s=elapsed_s))
    return elapsed_s


def _legacy(stage: Stage) -> None:
    manage(stage.scratch, ("migrate", "--verbosity", "0"))
    manage(stage.scratch, ("seed_assets",))
    manage(stage.scratch, ("load_history",))
    stage.start(Side.LEGACY)
    stage.checks["the API answers before the migration"] = wait_until_answering(int(stage.scratch.environ["API_PORT"]))
    stage.enqueue(stage.messages - stage.messages // 2)


def _rewrite(stage: Stage) -> None:
    looked = rewrite(stage.scratch.plan, mode=Mode.CHECK)
    stage.measured["places left to a person"] = dismiss(stage.scratch.plan.folder, looked.leftovers)
    commit(stage.scratch.plan.folder, "Decide about the places that the rewrite leaves alone")
    stage.before = git(stage.scratch.plan.folder, "rev-parse", "HEAD").strip()
    report = rewrite(stage.scratch.plan, mode=Mode.WRITE)
    stage.measured["files"] = len(report.changed) + len(report.created)
    stage.checks["nothing is left undecided"] = not report.leftovers and not report.unparsable
    again = rewrite(stage.scratch.plan, mode=Mode.CHECK)
    stage.checks["a second rewrite would change nothing"] = not again.changed and not again.created
    commit(stage.scratch.plan.folder, "Rewrite to the unified tasks")


def _parity(stage: Stage) -> None:
    report = parity_check(
        stage.scratch.plan, environ=stage.scratch.environ, options=ParityOptions(), listener=stage.listener
    )
    stage.measured["cases"] = report.cases
    stage.measured["reports"] = dict(report.facts.get("files", {}))
    stage.checks["parity holds"] = report.ok
    if not report.ok:
        where = report.facts.get("files", {}).get("html", "")
        raise RefusedError("parity", "does not hold, so nothing is moved", found=str(report.counts), remedy=where)


def _cutover(stage: Stage, name: str, flood: int) -> None:
    def listener(event: Event) -> None:
        stage.listener(event)
        if event.kind is EventKind.STEP_STARTED and event.step == "stop_workers":
            stage.tell(name, f"the old release, still deployed elsewhere, enqueues {flood:,} messages")
            stage.enqueue(flood, root=stage.scratch.old_release)

    with stage.load():
        report = cutover(
            stage.scratch.plan,
            environ=stage.scratch.environ,
            options=guarded(stage.scratch.plan, RunOptions()),
            listener=listener,
        )
        _require(name, report)
        stage.account(name)
    stage.measured.setdefault("gaps_s", []).append(report.gap_s)
    stage.measured[f"{name}: carried over"] = report.moved
    stage.measured[f"{name}: kept back"] = report.kept
    tracked = git(stage.scratch.plan.folder, "ls-files").splitlines()
    retired = stage.scratch.plan.project.retire
    stage.checks[f"{name}: the old files are gone from the tree"] = not set(retired) & set(tracked)
    left = stage.depths(Side.LEGACY)
    waiting = sum(left.get(state, 0) for state in ("ready", "delayed", "claimed", "moving"))
    stage.checks[f"{name}: nothing waits in a legacy queue"] = waiting == 0


def _first_cutover(stage: Stage) -> None:
    _cutover(stage, "cutover", flood=stage.messages // 2)


def _unified(stage: Stage) -> None:
    stage.enqueue(max(stage.messages // 10, 20))
    stage.checks["the unified workers run what is ready"] = stage.work_off("unified at work", Side.UNIFIED)
    rows = manage(stage.scratch, ("shell", "--verbosity", "0", "-c", ROW_COUNTS)).split()
    stage.measured["price rows"], stage.measured["news rows"] = int(rows[-2]), int(rows[-1])
    stage.checks["there are prices in the database"] = int(rows[-2]) > 0
    stage.enqueue(max(stage.messages // 10, 20))


def _rollback(stage: Stage) -> None:
    with stage.load():
        report = rollback(
            stage.scratch.plan,
            environ=stage.scratch.environ,
            options=guarded(stage.scratch.plan, RunOptions()),
            listener=stage.listener,
        )
        _require("rollback", report)
        stage.account("rollback")
    stage.measured["rollback: carried back"] = report.moved
    folder = stage.scratch.plan.folder
    tracked = git(folder, "ls-files").splitlines()
    back = set(stage.scratch.plan.project.retire) <= set(tracked)
    stage.checks["rollback: the old files are back"] = back
    stage.checks["rollback: the source is as it was"] = git(folder, "diff", "--stat", stage.before) == ""
    stage.checks["the legacy workers run what is ready"] = stage.work_off("rollback", Side.LEGACY)


def _again(stage: Stage) -> None:
    rewrite(stage.scratch.plan, mode=Mode.WRITE)
    commit(stage.scratch.plan.folder, "Rewrite to the unified tasks again")
    _cutover(stage, "cutover again", flood=max(stage.messages // 10, 20))
    stage.work_off("cutover again", Side.UNIFIED)


def _proof(stage: Stage) -> None:
    stage.stop()
    account = stage.account("proof", quiet=True)
    stage.checks["every message is accounted for"] = account.balanced
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stage.measured["memory_mb"] = round(size / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _require(name: str, report: RunReport) -> None:
    if not report.ok:
        errors = "; ".join(str(finding) for finding in report.findings if finding.severity == "error")
        raise RefusedError(name, report.failure or report.outcome.value, found=errors, remedy="see the findings")


def _result(stage: Stage, seconds: dict[str, float]) -> DemoResult:
    accounts = stage.accounts.values()
    measured = dict(stage.measured)
    return DemoResult(
        lost=len({identifier for account in accounts for identifier in account.lost}),
        duplicated=len({identifier for account in accounts for identifier in account.duplicated}),
        gap_s=max(gap or 0.0 for gap in measured.pop("gaps_s")),
        files=measured.pop("files"),
        cases=measured.pop("cases"),
        reports=measured.pop("reports"),
        accounts=dict(stage.accounts),
        measured=measured,
        checks=dict(stage.checks),
        seconds=seconds,
        folder=stage.scratch.folder,
    )


PHASES: tuple[tuple[str, str, Callable[[Stage], None]], ...] = (
    ("legacy at work", "Dramatiq worker, Celery worker, beat and API run; traffic begins", _legacy),
    ("rewrite", "rewrite the source and install the unified app", _rewrite),
    ("parity", "run legacy and unified tasks on the same cases", _parity),
    ("cutover", "move to the unified tasks under load", _first_cutover),
    ("unified at work", "the unified workers run what was carried over", _unified),
    ("rollback", "take it all back under load", _rollback),
    ("cutover again", "move to the unified tasks once more", _again),
    ("proof", "stop everything and account for each message by its id", _proof),
)
