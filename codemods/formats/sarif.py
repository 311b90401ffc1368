"""The report as SARIF 2.1.0, for code scanning.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import os
from typing import Any
from urllib.parse import quote

from codemods.formats.places import place
from codemods.plan.reason_codes import REASONS
from codemods.report import Mode, RewriteReport
from migrator import __version__
from migrator.plain_text import json_document
from migrator.report import Finding, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
#: Rule of a file that the rewrite would change.
WOULD_CHANGE = "WOULD-CHANGE"


def as_sarif(report: RewriteReport) -> str:
    """Return the report as a SARIF log with one run."""
    results = [_result(finding) for finding in report.findings]
    if report.mode is not Mode.WRITE:
        results += [_would(path) for path in (*(change.shown for change in report.changed), *report.created)]
    codes = sorted({result["ruleId"] for result in results})
    for result in results:
        result["ruleIndex"] = codes.index(result["ruleId"])
    driver = {
        "name": "migrator",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {"PROJECT": {"description": {"text": "The folder of the plan."}}},
        "columnKind": "utf16CodeUnits",
        "results": results,
        "invocations": [{"executionSuccessful": not report.unparsable, "exitCode": int(report.exit_code)}],
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json_document(document)


def _rule(code: str) -> dict[str, Any]:
    if code == WOULD_CHANGE:
        what, remedy, level = (
            "the rewrite would change or create this file",
            "run `migrator rewrite-imports`",
            "warning",
        )
    else:
        reason = REASONS[code]
        what, remedy, level = reason.what, reason.remedy, _LEVELS[reason.severity]
    return {
        "id": code,
        "shortDescription": {"text": what},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": level},
    }


def _result(finding: Finding) -> dict[str, Any]:
    path, line = place(finding)
    text = (
        finding.what
        + (f" ({finding.found})" if finding.found else "")
        + (f"; {finding.remedy}" if finding.remedy else "")
    )
    mark = hashlib.sha256(f"{finding.code}\0{path}\0{finding.found}".encode(errors="surrogateescape")).hexdigest()
    return {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [_location(path, line)],
        "partialFingerprints": {"place/v1": mark},
    }


def _would(path: str) -> dict[str, Any]:
    text = "the rewrite would change or create this file; run `migrator rewrite-imports`"
    result: dict[str, Any] = {"ruleId": WOULD_CHANGE, "level": "warning", "message": {"text": text}}
    return {**result, "locations": [_location(path, 1)]}


def _location(path: str, line: int) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(os.fsencode(path)), "uriBaseId": "PROJECT"},
            "region": {"startLine": line},
        }
    }
