"""The report as one HTML page."""

from __future__ import annotations

from checks.parity_report import ParityReport


def page(report: ParityReport) -> str:
    """Return the page."""
    return "<!doctype html><title>parity</title>"
