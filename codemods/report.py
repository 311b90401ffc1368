"""The result of a run of the rewrites: plain values for the command line and the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from codemods.syntax.diffs import shown_diff
from migrator.errors import ExitCode
from migrator.report import Finding, Severity


class Mode(StrEnum):
    """What a run may do."""

    WRITE = "write"
    #: Only report whether anything would change.
    CHECK = "check"
    #: Only show what would change.
    DIFF = "diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that changes or would change."""

    #: Absolute.
    file: Path
    #: Relative to the plan's folder.
    shown: str
    before: bytes
    after: bytes
    #: Which rewrites changed how many places.
    edits: Mapping[str, int] = field(default_factory=dict)

    @property
    def diff(self) -> str:
        """Unified diff, for people; made when asked for."""
        return shown_diff(self.shown, self.before, self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteReport:
    """The outcome of one run."""

    mode: Mode
    changed: tuple[FileChange, ...] = ()
    #: Files that the installation of the unified app creates, relative to the plan's folder.
    created: tuple[str, ...] = ()
    #: Places that were left alone (ERROR) or changed in a way that should be known (WARNING).
    findings: tuple[Finding, ...] = ()
    #: Files that could not be parsed, relative to the plan's folder, with the reason.
    unparsable: tuple[tuple[str, str], ...] = ()
    files_seen: int = 0
    files_parsed: int = 0
    elapsed_s: float = 0.0
    #: Where the undo patch lies, after WRITE; None if nothing was written.
    patch: Path | None = None

    @property
    def leftovers(self) -> tuple[Finding, ...]:
        """The places that were left alone."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The places that were changed, or only named, and should be known."""
        return tuple(finding for finding in self.findings if finding.severity is not Severity.ERROR)

    @property
    def diff(self) -> str:
        """One unified diff of everything."""
        return "".join(change.diff for change in self.changed)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers for a summary."""
        return {
            "files": len(self.changed),
            "places": sum(sum(change.edits.values()) for change in self.changed),
            "created": len(self.created),
            "leftovers": len(self.leftovers),
            "notes": len(self.notes),
            "unparsable": len(self.unparsable),
            "files_seen": self.files_seen,
            "files_parsed": self.files_parsed,
        }

    @property
    def exit_code(self) -> ExitCode:
        """DIFFERENCES if anything is left for a person, or, without writing, if anything would change."""
        would = self.mode is not Mode.WRITE and bool(self.changed or self.created)
        return ExitCode.DIFFERENCES if would or self.leftovers or self.unparsable else ExitCode.CLEAN
