"""Write a parity report as documents: JSON, JUnit XML, one HTML page, and GitHub annotations and summary."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks.compare.compare import detail
from checks.compare.experiment import Comparison
from checks.compare.report import SCHEMA, NoisyPath, ParityReport, summary_lines
from migrator.plain_text import json_document, one_line, plain_lines
from migrator.report import Mismatch, Outcome, Severity

#: Longest text of one failure in JUnit XML.
TEXT_LIMIT = 8_000


def write_reports(report: ParityReport, folder: Path) -> dict[str, str]:
    """Write every document and return their paths, by kind."""
    from checks.reports.github import step_summary, workflow_commands
    from checks.reports.page import page

    folder.mkdir(parents=True, exist_ok=True)
    documents = {
        "json": ("parity.json", f"{json_document(document(report))}\n".encode()),
        "junit": ("parity.junit.xml", junit(report)),
        "html": ("parity.html", page(report).encode(errors="backslashreplace")),
        "annotations": ("parity.annotations.txt", workflow_commands(report).encode(errors="backslashreplace")),
        "summary": ("parity.summary.md", step_summary(report).encode(errors="backslashreplace")),
    }
    files = {}
    for kind, (name, data) in documents.items():
        (folder / name).write_bytes(data)
        files[kind] = str(folder / name)
    return files


def document(report: ParityReport) -> dict[str, Any]:
    """Return the report as JSON-safe data; ``schema`` is its version."""
    return {
        "schema": SCHEMA,
        "plan": {"name": report.plan, "fingerprint": report.fingerprint},
        "started_at": report.started_at,
        "elapsed_s": round(report.elapsed_s, 3),
        "ok": report.ok,
        "whole": report.whole,
        "counts": report.counts,
        "summary": summary_lines(report),
        "by_task": {
            task: {outcome.value: count for outcome, count in sorted(counts.items())}
            for task, counts in report.by_task().items()
        },
        "comparisons": [_comparison(comparison) for comparison in report.comparisons],
        "disagreements": [
            {"case": item.case, "task": item.task, "paths": list(item.paths)} for item in report.disagreements
        ],
        "noise": [{name: getattr(item, name) for name in NoisyPath.__dataclass_fields__} for item in report.noise],
        "findings": [
            {name: str(getattr(item, name)) for name in ("code", "severity", "where", "what", "found", "remedy")}
            for item in report.findings
        ],
        "facts": dict(report.facts),
    }


def junit(report: ParityReport) -> bytes:
    """Return JUnit XML: a suite for each unified task, a test case for each comparison."""
    top = ET.Element("testsuites", name="parity", time=f"{report.elapsed_s:.3f}")
    suites: dict[str, ET.Element] = {}
    for comparison in report.comparisons:
        suite = suites.setdefault(comparison.task, ET.SubElement(top, "testsuite", name=comparison.task))
        _junit_case(suite, comparison)
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    if errors or not report.comparisons:
        suite = ET.SubElement(top, "testsuite", name="run")
        element = ET.SubElement(suite, "testcase", classname="parity", name="the run itself")
        text = "\n".join(map(str, errors)) or "nothing was compared"
        ET.SubElement(element, "failure", message="the run is not green").text = _shortened(text)
    for suite in top:
        suite.set("tests", str(len(suite)))
        for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(kind, str(sum(case.find(tag) is not None for case in suite)))
    for element in top.iter():
        element.attrib = {name: one_line(value) for name, value in element.attrib.items()}
        element.text = plain_lines(element.text) if element.text else None
    data: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _junit_case(suite: ET.Element, comparison: Comparison) -> None:
    element = ET.SubElement(
        suite,
        "testcase",
        classname=f"{comparison.task}.{comparison.system}",
        name=comparison.case,
        time=f"{comparison.legacy_s + comparison.unified_s:.3f}",
    )
    waived = [item for item in comparison.mismatches if item.outcome is Outcome.WAIVED]
    if waived:
        ET.SubElement(element, "system-out").text = _shortened("\n".join(f"{m.path}: {m.reason}" for m in waived))
    differing = [item for item in comparison.mismatches if item.outcome is not Outcome.WAIVED]
    if differing:
        tag = "error" if comparison.outcome is Outcome.NOT_COMPARED else "failure"
        message = ", ".join(item.path for item in differing)[:500]
        found = ET.SubElement(element, tag, message=_shortened(message))
        found.text = _shortened("\n".join(_difference(item) for item in differing))


def _comparison(comparison: Comparison) -> Mapping[str, Any]:
    names = ("case", "title", "kind", "task", "system", "legacy_name")
    return {
        **{name: getattr(comparison, name) for name in names},
        "outcome": comparison.outcome.value,
        "legacy_s": round(comparison.legacy_s, 4),
        "unified_s": round(comparison.unified_s, 4),
        "noise": [item.path for item in comparison.noise],
        "differences": [
            {
                "path": item.path,
                "outcome": item.outcome.value,
                "legacy": item.legacy,
                "unified": item.unified,
                "reason": item.reason,
                "detail": detail(item.legacy, item.unified),
            }
            for item in comparison.mismatches
        ],
    }


def _difference(mismatch: Mismatch) -> str:
    lines = [f"{mismatch.path}: {mismatch.reason or 'differs'}"]
    if mismatch.outcome is not Outcome.NOT_COMPARED:
        lines += [f"  legacy:  {mismatch.legacy!r}"[:2000], f"  unified: {mismatch.unified!r}"[:2000]]
        lines += [f"  {line}" for line in detail(mismatch.legacy, mismatch.unified)]
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text)} characters)"
