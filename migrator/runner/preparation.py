"""How far a migration is prepared before its cutover, and the one command that comes next.

Asked from what is there (plan, source, git, proof, rehearsal), never from what was done once: a revert, another
checkout or a changed case counts the moment it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import orjson

from migrator.errors import InterruptedRunError, MigratorError
from migrator.plan.model import Plan
from migrator.project.commands import git
from migrator.report import Finding, Report
from migrator.state.proof import FRESH, read_proof, verify_proof
from migrator.state.rehearsed import rehearsed_at
from migrator.steps.protocol import RunOptions
from migrator.workers.absent import REMEDY, absent_workers


class Stage(StrEnum):
    """Where in its life a migration is."""

    NO_PLAN = "no plan"
    DRAFTED = "drafted"
    #: A rewrite was broken off in the middle.
    INTERRUPTED = "rewrite interrupted"
    PLANNED = "planned"
    REWRITTEN = "rewritten"
    COMMITTED = "committed"
    PROVED = "proved"
    REHEARSED = "rehearsed"
    #: A cutover or a rollback has been begun and has not ended.
    RUNNING = "running"
    CUT_OVER = "cut over"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Where the preparation stands."""

    stage: Stage
    #: One sentence: what has been done, and what has not.
    text: str
    #: The one command, or the one thing by hand, that comes next.
    next_step: str


def preparation(plan: Plan, *, environ: Mapping[str, str], options: RunOptions) -> Preparation:
    """Return the last stage that holds.

    Args:
        plan: The plan.
        environ: For git.
        options: Its checks of plan and source, which only higher layers know.
    """
    return (
        _source(plan, options)
        or _uncommitted(plan, environ)
        or _unproved(plan)
        or _proved(plan, proof_until=_until(plan))
    )


def _source(plan: Plan, options: RunOptions) -> Preparation | None:
    try:
        source = _asked(options.check_source)
    except InterruptedRunError:
        text = "a rewrite was broken off while it wrote: some files are new and some are old"
        return Preparation(stage=Stage.INTERRUPTED, text=text, next_step="migrator rewrite-imports")
    complete = _asked(options.check_inventory)
    if complete.errors:
        text = (
            f"the plan does not fit the source: {len(complete.errors)} findings, such as {_named(complete.errors[0])}"
        )
        return Preparation(stage=Stage.DRAFTED, text=text, next_step="migrator rewrite-imports --check")
    open_files = [finding for finding in source.errors if finding.code == "SOURCE-NOT-CONVERTED"]
    if open_files:
        text = f"the source is not rewritten: {len(open_files)} files would change"
        return Preparation(stage=Stage.PLANNED, text=text, next_step="migrator rewrite-imports")
    if source.errors:
        text = f"the rewrite left what has to be done by hand: {_named(source.errors[0])}"
        return Preparation(stage=Stage.PLANNED, text=text, next_step="migrator rewrite-imports --check")
    return None


def _named(finding: Finding) -> str:
    return f"{finding.code} {finding}"


def _asked(check: Callable[[], Report] | None) -> Report:
    return check() if check is not None else Report(subject="not asked", checked=0)


def _uncommitted(plan: Plan, environ: Mapping[str, str]) -> Preparation | None:
    try:
        changed = git(plan, "status", "--porcelain", "--", ".", environ=environ).splitlines()
    except MigratorError as failure:
        text = f"the source is rewritten; git does not answer ({failure.found})"
        return Preparation(stage=Stage.REWRITTEN, text=text, next_step="git init && git add -A && git commit")
    if not changed:
        return None
    text = f"the source is rewritten; {len(changed)} files are not committed"
    return Preparation(stage=Stage.REWRITTEN, text=text, next_step="git add -A && git commit")


def _unproved(plan: Plan) -> Preparation | None:
    errors = verify_proof(plan, read_proof(plan)).errors
    if not errors:
        return None
    why = "; ".join(dict.fromkeys(finding.what for finding in errors))
    report = plan.state_folder / "reports" / "parity.json"
    if errors[0].code == "PROOF-MISSING" and _was_red(report):
        why = f"the last parity check was red: see {report.with_suffix('.html')}"
    text = f"the source is rewritten and committed; parity is not proved: {why}"
    return Preparation(stage=Stage.COMMITTED, text=text, next_step="migrator parity-check")


def _was_red(report: Path) -> bool:
    try:
        return not orjson.loads(report.read_bytes())["ok"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _until(plan: Plan) -> str:
    proof = read_proof(plan)
    assert proof is not None
    return f"{datetime.fromisoformat(proof.created_at) + FRESH:%Y-%m-%d %H:%M} UTC"


def _proved(plan: Plan, *, proof_until: str) -> Preparation:
    text = f"rewritten, committed, and parity is proved until {proof_until}"
    absent = absent_workers(plan)
    if absent:
        text = f"{text}; the plan has no {' and no '.join(absent)}: {REMEDY}"
        return Preparation(stage=Stage.PROVED, text=text, next_step=f"edit {plan.file}")
    done_at = rehearsed_at(plan)
    if not done_at:
        text = f"{text}; not rehearsed with this plan and this source"
        return Preparation(stage=Stage.PROVED, text=text, next_step="migrator rehearse")
    text = f"{text}; rehearsed {datetime.fromisoformat(done_at):%Y-%m-%d %H:%M} UTC"
    return Preparation(stage=Stage.REHEARSED, text=text, next_step="migrator cutover")
