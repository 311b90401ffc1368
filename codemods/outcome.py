"""The outcome of one file: plain values that are sent between processes and need no parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codemods.plan.reason_codes import REASONS
from migrator.report import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One place in a file that a person must look at."""

    code: str
    line: int
    #: What was seen there.
    found: str
    #: What exactly, where the code alone doesn't say.
    detail: str = ""
    #: Where a comment about it may stand: the start of its statement's line; -1 for the file as a whole.
    anchor: int = -1

    @property
    def severity(self) -> Severity:
        """ERROR for what was left alone, WARNING for what was changed and should be known."""
        return REASONS[self.code].severity


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What the rewrites did to one file."""

    file: Path
    shown: str
    before: bytes = b""
    after: bytes = b""
    edits: Mapping[str, int] = field(default_factory=dict)
    leftovers: tuple[Leftover, ...] = ()
    unparsable: str = ""
    #: Dotted paths of legacy tasks of which a send stays here, with its line; and of those that are patched here.
    kept_sends: tuple[tuple[str, int], ...] = ()
    patched: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What other files must know about one file."""

    #: ``module.name`` of re-exported tasks, with the path that they stand for.
    exports: Mapping[str, str] = field(default_factory=dict)
    #: ``module.name`` of those that get another name.
    renames: Mapping[str, str] = field(default_factory=dict)
    #: ``module.name`` of constants that hold names of Celery tasks that get other ones, with those names.
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
