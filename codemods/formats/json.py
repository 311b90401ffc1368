"""The report as one JSON document.

Shape (``schema_version`` 1): ``schema_version``, ``mode``, ``exit_code``, ``counts``, ``changed`` (path, rewrites,
diff), ``created``, ``findings`` (code, severity, path, line, what, found, remedy), ``unparsable`` (path, reason),
``undo_patch``, ``elapsed_s``, ``next_steps``.
"""

from __future__ import annotations

from collections.abc import Sequence

from codemods.formats.places import place
from codemods.report import RewriteReport
from migrator.plain_text import json_document

SCHEMA_VERSION = 1


def as_json(report: RewriteReport, *, next_steps: Sequence[str] = ()) -> str:
    """Return the report as JSON, indented, keys in the order of the shape."""
    findings = []
    for finding in report.findings:
        path, line = place(finding)
        findings.append(
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "path": path,
                "line": line,
                "what": finding.what,
                "found": finding.found,
                "remedy": finding.remedy,
            }
        )
    document = {
        "schema_version": SCHEMA_VERSION,
        "mode": report.mode.value,
        "exit_code": int(report.exit_code),
        "counts": report.counts,
        "changed": [
            {"path": change.shown, "rewrites": dict(change.edits), "diff": change.diff} for change in report.changed
        ],
        "created": list(report.created),
        "findings": findings,
        "unparsable": [{"path": path, "reason": reason} for path, reason in report.unparsable],
        "undo_patch": str(report.patch) if report.patch else None,
        "elapsed_s": round(report.elapsed_s, 3),
        "next_steps": list(next_steps),
    }
    return json_document(document)
