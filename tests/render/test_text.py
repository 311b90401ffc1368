"""What a person reads: the verdict first, the gravest finding first, the remedy below it."""

from __future__ import annotations

from migrator.render.text import finding_lines, report_lines, table
from migrator.report import Finding, Report, Severity


def finding(severity: Severity, code: str) -> Finding:
    return Finding(code=code, severity=severity, where="queue [default]", what="is odd", found="7", remedy="do this")


def test_the_gravest_comes_first_with_its_remedy() -> None:
    lines = finding_lines([finding(Severity.INFO, "A"), finding(Severity.ERROR, "B"), finding(Severity.WARNING, "C")])
    assert lines[0] == "error   B  queue [default]: is odd (7)"
    assert lines[1].strip() == "do: do this"
    assert [line.split()[1] for line in lines[::2]] == ["B", "C", "A"]


def test_the_first_line_says_whether_to_go_on() -> None:
    assert report_lines(Report(subject="preflight", checked=3))[0] == "preflight: ok, 3 checked"
    assert "NOTHING WAS CHECKED" in report_lines(Report(subject="preflight", checked=0))[0]
    red = Report(subject="preflight", checked=3, findings=(finding(Severity.ERROR, "B"),))
    assert report_lines(red)[0] == "preflight: NOT OK, 3 checked: 1 error(s)"


def test_piped_output_is_not_folded() -> None:
    assert any("x" * 300 in line for line in table("", ["#n", "text"], [[1, "x" * 300]]))


def test_many_findings_of_one_code_are_counted_not_printed() -> None:
    lines = finding_lines([finding(Severity.WARNING, "C")] * 5 + [finding(Severity.ERROR, "B")], most=2)
    assert sum(line.startswith("warning") for line in lines) == 2
    assert lines[-1].strip() == "and 3 more C; --format json lists all"
