"""Where a finding lies: its ``where`` is ``path:line``."""

from __future__ import annotations

from migrator.report import Finding


def place(finding: Finding) -> tuple[str, int]:
    """Return path and line; line 1 where none is given."""
    path, _, line = finding.where.rpartition(":")
    return (path, max(int(line), 1)) if path and line.isdigit() else (finding.where, 1)
