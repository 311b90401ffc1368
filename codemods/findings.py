"""What the rewrites leave or changed noticeably, as findings of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codemods.install.files import Installation
from codemods.outcome import FileOutcome, Leftover
from codemods.plan.beat_places import BeatPlaces
from codemods.plan.reason_codes import REASONS
from migrator.plan.model import Plan
from migrator.report import Finding


def findings(
    plan: Plan, outcomes: Iterable[FileOutcome], installation: Installation, places: BeatPlaces
) -> Iterator[Finding]:
    """Yield the findings of every file, of the installation, and of a schedule that no file can take up."""
    if places.problem and not places.problem_at and not places.settings:
        yield _finding("SETTINGS", f"{plan.file.name}:1", plan.project.settings, places.problem)
    for outcome in outcomes:
        for leftover in outcome.leftovers:
            yield to_finding(outcome.shown, leftover)
        if outcome.unparsable:
            yield _finding("UNPARSABLE", f"{outcome.shown}:1", outcome.unparsable)
    for file in installation.conflicts:
        yield _finding("EXISTS", f"{file.relative_to(plan.folder)}:1", "")
    if installation.label_taken_by:
        yield _finding("LABEL-TAKEN", installation.label_taken_by, plan.project.app_label)
    if installation.app_wanted_by is not None:
        yield _finding("CELERY-APP", f"{installation.app_wanted_by.relative_to(plan.folder)}:1", "")


def without_dismissed(plan: Plan, found: Iterable[Finding], *, whole: bool) -> Iterator[Finding]:
    """Yield the findings that the plan doesn't dismiss, and, for the whole tree, dismissals that dismiss nothing."""
    used: set[int] = set()
    for finding in found:
        fitting = {index for index, dismissal in enumerate(plan.dismissals) if dismissal.fits(finding)}
        used |= fitting
        if not fitting:
            yield finding
    for index, dismissal in enumerate(plan.dismissals if whole else ()):
        if index not in used:
            detail = "no such code" if dismissal.code not in REASONS else f"{dismissal.path} {dismissal.text}".strip()
            yield _finding("UNUSED-IGNORE", f"{plan.file.name}: dismiss[{index}]", dismissal.code, detail)


def to_finding(shown: str, leftover: Leftover) -> Finding:
    """Return a leftover as the report holds it: ``where`` is ``path:line``."""
    return _finding(leftover.code, f"{shown}:{leftover.line}", leftover.found, leftover.detail)


def _finding(code: str, where: str, found: str, detail: str = "") -> Finding:
    reason = REASONS[code]
    what = f"{reason.what}: {detail}" if detail else reason.what
    return Finding(code=code, severity=reason.severity, where=where, what=what, found=found, remedy=reason.remedy)
