"""Findings of the rewrite that a person has looked at and dismissed: ``[[dismiss]]`` in the plan.

In Python a comment can do the same (``# migrator: ignore[CODE] reason``); text files and files of others have no other
way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from migrator.plan.toml_table import TomlTable
from migrator.report import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissal:
    """What is dismissed, and why."""

    code: str
    #: Relative to the plan's folder; ``*`` stands for anything.
    path: str
    #: Part of the line that was found; empty for any line.
    text: str
    reason: str

    def fits(self, finding: Finding) -> bool:
        """Tell whether it dismisses a finding, whose place is ``path:line``."""
        path = finding.where.rpartition(":")[0]
        return finding.code == self.code and fnmatchcase(path, self.path) and self.text in finding.found


def read_dismissals(tables: Iterable[TomlTable]) -> tuple[Dismissal, ...]:
    """Read ``[[dismiss]]``."""
    found = []
    for table in tables:
        dismissal = Dismissal(
            code=table.text("code"),
            path=table.text("path"),
            text=table.text("text", default=""),
            reason=table.text("reason"),
        )
        if not dismissal.reason.strip():
            table.problem("reason", "needs a reason", "it is what the next person reads")
        table.close()
        found.append(dismissal)
    return tuple(found)
