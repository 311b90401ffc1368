"""A report is green only if something was checked and nothing is open."""

from __future__ import annotations

import pytest

from migrator.errors import ExitCode, PlanError, RefusedError, UnreachableError, UsageError, sentence
from migrator.report import Finding, Mismatch, Outcome, Report, Severity, merge


def finding(severity: Severity) -> Finding:
    return Finding(code="X", severity=severity, where="here", what="is odd", found="1", remedy="do this")


def mismatch(outcome: Outcome) -> Mismatch:
    return Mismatch(case="c", task="t", system="celery", path="value", outcome=outcome)


def test_nothing_checked_is_not_green() -> None:
    assert not Report(subject="s", checked=0).ok
    assert Report(subject="s", checked=0).exit_code is ExitCode.DIFFERENCES
    assert Report(subject="s", checked=1).ok


@pytest.mark.parametrize(("severity", "ok"), [(Severity.ERROR, False), (Severity.WARNING, True), (Severity.INFO, True)])
def test_only_errors_forbid_going_on(severity: Severity, ok: bool) -> None:
    assert Report(subject="s", checked=1, findings=(finding(severity),)).ok is ok


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_could_not_be_compared_is_never_equal(outcome: Outcome) -> None:
    expected = outcome in (Outcome.MATCHED, Outcome.WAIVED)
    assert Report(subject="s", checked=1, mismatches=(mismatch(outcome),)).ok is expected


def test_merged_reports_keep_everything_in_order() -> None:
    first = Report(subject="a", checked=1, findings=(finding(Severity.INFO),), facts={"a": 1})
    second = Report(subject="b", checked=2, findings=(finding(Severity.ERROR),), facts={"b": 2})
    merged = merge("both", [first, second])
    assert (merged.checked, dict(merged.facts)) == (3, {"a": 1, "b": 2})
    assert [f.severity for f in merged.findings] == [Severity.INFO, Severity.ERROR]
    assert not merged.ok


def test_a_finding_reads_where_what_found_remedy() -> None:
    assert str(finding(Severity.ERROR)) == "here: is odd (1); do this"
    assert sentence(where="", what="is odd") == "is odd"


def test_every_failure_has_its_exit_code() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 70]
    assert UsageError("a", "b").exit_code is ExitCode.USAGE
    assert UnreachableError("a", "b").exit_code is ExitCode.UNREACHABLE
    assert RefusedError("a", "b").exit_code is ExitCode.REFUSED
    assert "  one\n  two" in str(PlanError("plan", ("one", "two")))
