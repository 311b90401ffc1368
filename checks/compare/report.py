"""The result of a parity run, as values; :mod:`checks.reports` writes the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from checks.cases.patterns import fits
from checks.compare.experiment import Comparison, Disagreement
from migrator.errors import ExitCode
from migrator.report import Finding, Mismatch, Outcome, Report, Severity

#: Version of the JSON document; incremented when a key is removed or changes its meaning.
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyPath:
    """A path at which a legacy task differs between two runs."""

    task: str
    system: str
    path: str
    #: The number of cases with noise, of all cases of that task.
    seen: int
    of: int
    #: An example of the values of two runs, and the most likely reason.
    first: str = ""
    second: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """Everything that one run compared."""

    plan: str
    fingerprint: str
    comparisons: tuple[Comparison, ...]
    #: Findings about waivers, cases and the run itself.
    findings: tuple[Finding, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    noise: tuple[NoisyPath, ...] = ()
    #: False if only some cases were selected; such a run writes no proof.
    whole: bool = True
    started_at: str = ""
    elapsed_s: float = 0.0
    #: Versions, digests, reasons of waivers, paths of the reports.
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        """The number of comparisons, made or attempted."""
        return len(self.comparisons)

    @property
    def matched(self) -> int:
        """Comparisons without any difference."""
        return self._count(Outcome.MATCHED)

    @property
    def mismatched(self) -> int:
        """Comparisons with a difference that is not waived."""
        return self._count(Outcome.MISMATCHED)

    @property
    def waived(self) -> int:
        """Comparisons whose differences are all waived."""
        return self._count(Outcome.WAIVED)

    @property
    def could_not_compare(self) -> int:
        """Comparisons that could not be made; never counted as equal."""
        return self._count(Outcome.NOT_COMPARED)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Every difference, in the order of the cases."""
        return tuple(mismatch for comparison in self.comparisons for mismatch in comparison.mismatches)

    @property
    def ok(self) -> bool:
        """True if something was compared and no difference is open."""
        return self.as_report().ok

    @property
    def exit_code(self) -> ExitCode:
        """CLEAN or DIFFERENCES."""
        return self.as_report().exit_code

    @property
    def counts(self) -> dict[str, int]:
        """The number of comparisons by outcome, for the proof and the documents."""
        errors = sum(finding.severity is Severity.ERROR for finding in self.findings)
        return {
            "compared": self.cases,
            **{outcome.value: self._count(outcome) for outcome in Outcome},
            "findings": errors,
        }

    def by_task(self) -> dict[str, Counter[Outcome]]:
        """Return the outcomes of the comparisons of each unified task, in order of first appearance."""
        result: dict[str, Counter[Outcome]] = {}
        for comparison in self.comparisons:
            result.setdefault(comparison.task, Counter())[comparison.outcome] += 1
        return result

    def as_report(self) -> Report:
        """Return the run as a :class:`Report`, as guards and renderers take it."""
        return Report(
            subject="parity",
            checked=self.cases,
            findings=self.findings,
            mismatches=self.mismatches,
            facts={"counts": self.counts, "elapsed_s": round(self.elapsed_s, 3), **self.facts},
        )

    def _count(self, outcome: Outcome) -> int:
        return sum(comparison.outcome is outcome for comparison in self.comparisons)


def explain(report: ParityReport, pattern: str) -> list[str]:
    """Return why the legacy side differs between two runs at the paths that match a pattern, a few lines each."""
    lines = []
    for item in report.noise:
        if fits(pattern, item.path):
            lines.append(f"{item.task} ({item.system}) {item.path}: in {item.seen} of {item.of}; {item.why}")
            lines += [f"  first:  {item.first}", f"  second: {item.second}"]
    return lines or [f"no noise at {pattern}"]


def summary_lines(report: ParityReport) -> list[str]:
    """Return the summary of a run, in at most five lines."""
    verdict = "parity holds" if report.ok else "parity does not hold"
    if report.cases == 0:
        verdict = "nothing was compared, which is never green"
    lines = [
        f"{verdict}: {report.cases} comparisons of {len(report.by_task())} tasks in {report.elapsed_s:.1f} s: "
        f"{report.matched} matched, {report.waived} waived, {report.mismatched} mismatched, "
        f"{report.could_not_compare} could not be compared"
    ]
    worst = [
        f"{task} ({counts[Outcome.MISMATCHED] + counts[Outcome.NOT_COMPARED]})"
        for task, counts in report.by_task().items()
        if counts[Outcome.MISMATCHED] or counts[Outcome.NOT_COMPARED]
    ]
    if worst:
        lines.append(f"differing: {', '.join(worst[:6])}" + (f" and {len(worst) - 6} more" if len(worst) > 6 else ""))
    used = Counter(m.reason.partition(":")[0] for m in report.mismatches if m.outcome is Outcome.WAIVED)
    if used:
        lines.append("waived: " + ", ".join(f"{waiver} ({count})" for waiver, count in sorted(used.items())[:12]))
    if report.disagreements:
        tasks = sorted({item.task for item in report.disagreements})
        lines.append(f"the legacy systems differ from each other on {', '.join(tasks)}")
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    if errors:
        lines.append(f"{len(errors)} finding(s), first: {errors[0]}")
    elif report.noise:
        lines.append(
            f"noise: {len(report.noise)} path(s) at which the legacy side differs between two runs are ignored"
        )
    return lines[:5]
