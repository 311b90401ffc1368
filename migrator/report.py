"""Findings of guards and checks, and differences between legacy and unified tasks.

Differences are data; failures are exceptions (:mod:`migrator.errors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from migrator.errors import ExitCode, sentence


class Severity(StrEnum):
    """Whether a finding stops a run."""

    #: The run is refused.
    ERROR = "error"
    #: The run may go on, but the finding deserves attention.
    WARNING = "warning"
    #: Information only.
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding of a guard, step or codemod."""

    #: Stable reason code, such as ``BROKER-EVICTION``; documented in RUNBOOK.md.
    code: str
    severity: Severity
    where: str
    what: str
    found: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return sentence(where=self.where, what=self.what, found=self.found, remedy=self.remedy)


class Outcome(StrEnum):
    """The result of comparing one path of one case."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    WAIVED = "waived"
    #: The legacy or unified task could not be run; never counted as equal.
    NOT_COMPARED = "could-not-compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One difference between the legacy and the unified task in a case."""

    case: str
    #: Unified task name.
    task: str
    #: The legacy system: ``dramatiq`` or ``celery``.
    system: str
    #: Path in the observation, such as ``effects.rows.assets_price.inserted``.
    path: str
    outcome: Outcome
    legacy: Any = None
    unified: Any = None
    #: The waiver's reason, or why it could not be compared.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a check. A report that checked nothing is never ok."""

    subject: str
    #: The number of items that were checked.
    checked: int
    findings: tuple[Finding, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    #: Measurements and facts by key, JSON-serializable.
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop the run."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def ok(self) -> bool:
        """True if something was checked and there is neither an error nor an open difference."""
        open_outcomes = (Outcome.MISMATCHED, Outcome.NOT_COMPARED)
        return self.checked > 0 and not self.errors and all(m.outcome not in open_outcomes for m in self.mismatches)

    @property
    def exit_code(self) -> ExitCode:
        """CLEAN or DIFFERENCES."""
        return ExitCode.CLEAN if self.ok else ExitCode.DIFFERENCES


def merge(subject: str, reports: Iterable[Report]) -> Report:
    """Return one report with the contents of the given ones, in their order."""
    parts = tuple(reports)
    facts: dict[str, Any] = {}
    for part in parts:
        facts.update(part.facts)
    return Report(
        subject=subject,
        checked=sum(part.checked for part in parts),
        findings=tuple(finding for part in parts for finding in part.findings),
        mismatches=tuple(mismatch for part in parts for mismatch in part.mismatches),
        facts=facts,
    )
