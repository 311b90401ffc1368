"""What the journeys measured, one line each at the end of the run."""

from __future__ import annotations

import pytest

FIGURES = "journey"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the line that each journey recorded with ``record_property("journey", line)``."""
    reports = terminalreporter.getreports("passed")
    for line in sorted(str(value) for report in reports for name, value in report.user_properties if name == FIGURES):
        terminalreporter.write_line(line)
