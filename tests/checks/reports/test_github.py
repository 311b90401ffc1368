"""Annotations and summary stay within GitHub's limits, and no value is interpreted as a command."""

from __future__ import annotations

from checks.compare.experiment import Comparison
from checks.compare.report import ParityReport
from checks.reports.github import SUMMARY_LIMIT_BYTES, step_summary, workflow_commands
from checks.reports.page import page
from migrator.report import Mismatch, Outcome

NASTY = "<script>alert(1)</script>\n::error::x | `b` [l](javascript:0) %0A \u00e9"


def report(count: int, *, text: str = "x") -> ParityReport:
    comparisons = tuple(
        Comparison(
            case=f"case-{number}",
            title=text,
            kind="usual",
            task=f"tasks.{text}",
            system="celery",
            legacy_name=text,
            mismatches=(
                Mismatch(
                    case=f"case-{number}",
                    task=f"tasks.{text}",
                    system="celery",
                    path=f"value.{text}",
                    outcome=Outcome.MISMATCHED,
                    legacy={text: [text]},
                    unified=text,
                ),
            ),
        )
        for number in range(count)
    )
    return ParityReport(plan=text, fingerprint="f", comparisons=comparisons)


def test_ten_annotations_at_most() -> None:
    lines = workflow_commands(report(25)).splitlines()
    assert len(lines) == 10
    assert "and 16 more" in lines[-1]


def test_a_value_cannot_inject_a_command() -> None:
    lines = workflow_commands(report(1, text=NASTY)).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("::error title=")
    assert "\n" not in lines[0] and "%0A" in lines[0]


def test_a_summary_fits() -> None:
    text = step_summary(report(20_000))
    assert len(text.encode()) <= SUMMARY_LIMIT_BYTES
    assert text.endswith("see the HTML report._\n")
    assert len(step_summary(report(3), limit_bytes=400).encode()) <= 400


def test_a_summary_is_plain_text() -> None:
    text = step_summary(report(1, text=NASTY))
    assert "<script>" not in text
    assert "[l](" not in text
    # Every row of the tables has as many cells as its head.
    rows = [line for line in text.splitlines() if line.startswith("| tasks")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [6, 6]


def test_a_green_run_is_a_notice() -> None:
    green = ParityReport(plan="p", fingerprint="f", comparisons=())
    assert workflow_commands(green).startswith("::notice")


def test_the_page_escapes_everything() -> None:
    text = page(report(2, text=NASTY))
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert "https://" not in text and "src=" not in text


def test_the_page_of_a_large_run_stays_small() -> None:
    assert len(page(report(1400))) < 6_000_000
