"""What the tests of the guards share: the context of a check, and the codes of its findings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shop import Shop, options

from migrator.report import Report, Severity
from migrator.state.journal import open_journal
from migrator.steps.protocol import Context


def context(shop: Shop, **changes: Any) -> Context:
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, options=options())
    return replace(given, **changes)


def codes(report: Report, severity: Severity = Severity.ERROR) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity is severity}
