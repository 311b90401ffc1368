"""Accepted differences: declared with a reason, an owner and an expiry date, and tied to their exact content.

``waivers.toml`` is written by people: which differences, why, who is responsible, until when. ``waivers.lock.json``
next to it holds what was accepted, difference by difference. A difference whose content changed is no longer waived; a
waiver that covers nothing or has expired fails the run.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from checks.cases.patterns import fits
from migrator.agent.canonical import digest, sort_key
from migrator.errors import PlanError, UsageError
from migrator.plan.toml_table import Problems, TomlTable
from migrator.report import Finding, Mismatch, Outcome, Severity

#: Longest value that is written to the lock file for reviewers.
PREVIEW_LENGTH = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One reason to accept a kind of difference."""

    id: str
    #: The improvement of the migration guide that it belongs to, such as ``B. Exponential backoff``; empty if none.
    improvement: str
    #: Patterns: any of the paths, and the task, system and case.
    paths: tuple[str, ...]
    tasks: tuple[str, ...]
    systems: tuple[str, ...]
    cases: tuple[str, ...]
    reason: str
    owner: str
    #: The last day on which it is valid.
    expires: date

    def covers(self, mismatch: Mismatch) -> bool:
        """True if the difference is of this kind; its content is checked separately."""
        return (
            any(fits(pattern, mismatch.path) for pattern in self.paths)
            and any(fits(pattern, mismatch.task) for pattern in self.tasks)
            and any(fits(pattern, mismatch.system) for pattern in self.systems)
            and any(fits(pattern, mismatch.case) for pattern in self.cases)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The exact content of one accepted difference."""

    waiver: str
    case: str
    system: str
    path: str
    digest: str
    #: The values, shortened, for reviewers of the file.
    legacy: str = ""
    unified: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Identify the difference."""
        return self.case, self.system, self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Waivers:
    """Waivers and the differences accepted under them."""

    file: Path
    waivers: tuple[Waiver, ...] = ()
    pins: tuple[Pin, ...] = ()

    @property
    def lock_file(self) -> Path:
        """The file of the accepted differences."""
        return self.file.with_suffix(".lock.json")


def load_waivers(file: Path) -> Waivers:
    """Read a waiver file and its lock file; a missing file has no waivers.

    Raises:
        UsageError: A file can't be read.
        PlanError: It has problems; all of them are listed.
    """
    if not file.is_file():
        return Waivers(file=file)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(str(file), "it can't be read", found=str(error), remedy="correct the file") from error
    problems = Problems()
    top = TomlTable(document, "", problems)
    waivers = tuple(_waiver(child) for child in top.tables("waiver"))
    top.close()
    for waiver in waivers:
        if sum(other.id == waiver.id for other in waivers) > 1:
            problems.add(f"waiver:{waiver.id}", "is defined more than once", "ids must be unique")
    if problems.sentences:
        raise PlanError(str(file), tuple(problems.sentences))
    found = Waivers(file=file, waivers=waivers)
    return replace(found, pins=_pins(found.lock_file))


def apply_waivers(mismatches: Iterable[Mismatch], waivers: Waivers, today: date) -> tuple[Mismatch, ...]:
    """Return the differences; those that a valid waiver covers and whose content was accepted are waived."""
    pins = {pin.key: pin for pin in waivers.pins}
    by_id = {waiver.id: waiver for waiver in waivers.waivers}
    result = []
    for mismatch in mismatches:
        pin = pins.get((mismatch.case, mismatch.system, mismatch.path))
        if mismatch.outcome is not Outcome.MISMATCHED:
            result.append(mismatch)
            continue
        candidate = next((waiver for waiver in waivers.waivers if waiver.covers(mismatch)), None)
        waiver = by_id.get(pin.waiver) if pin else None
        if pin is None or waiver is None or not waiver.covers(mismatch):
            hint = (
                f"{candidate.id} covers it; run with --accept {candidate.id} to accept its content" if candidate else ""
            )
            result.append(replace(mismatch, reason=hint))
        elif pin.digest != content(mismatch):
            result.append(replace(mismatch, reason=f"{waiver.id} was accepted for other content: {pin.unified}"))
        elif waiver.expires < today:
            result.append(replace(mismatch, reason=f"{waiver.id} expired on {waiver.expires}"))
        else:
            result.append(replace(mismatch, outcome=Outcome.WAIVED, reason=f"{waiver.id}: {waiver.reason}"))
    return tuple(result)


def review(mismatches: Iterable[Mismatch], waivers: Waivers, today: date) -> tuple[Finding, ...]:
    """Return findings about the waivers themselves, after a whole run."""
    found = tuple(mismatches)
    waived = {(item.case, item.system, item.path) for item in found if item.outcome is Outcome.WAIVED}
    differing = {(item.case, item.system, item.path) for item in found}
    findings = []
    for waiver in waivers.waivers:
        where = f"{waivers.file.name}: {waiver.id}"
        if waiver.expires < today:
            remedy = "decide again: remove it, or set a new date"
            findings.append(_finding("WAIVER-EXPIRED", where, "has expired", f"{waiver.expires}", remedy))
        elif not any(pin.waiver == waiver.id and pin.key in waived for pin in waivers.pins):
            remedy = "remove it, accept what it covers, or run with --prune"
            findings.append(_finding("WAIVER-UNMATCHED", where, "covers no difference", "", remedy))
    stale = [pin for pin in waivers.pins if pin.key not in differing]
    for pin in stale:
        where = f"{waivers.lock_file.name}: {pin.case} {pin.system} {pin.path}"
        remedy = "run with --prune to remove it"
        findings.append(_finding("WAIVER-STALE", where, "is accepted but no longer differs", pin.waiver, remedy))
    return tuple(findings)


def content(mismatch: Mismatch) -> str:
    """Return the digest that ties a waiver to the content of a difference."""
    return digest([mismatch.legacy, mismatch.unified])


def accept(mismatches: Iterable[Mismatch], waivers: Waivers, ids: Iterable[str]) -> Waivers:
    """Return waivers with the current content of everything that the named ones cover; nothing is written."""
    wanted = [waiver for waiver in waivers.waivers if waiver.id in set(ids)]
    pins = {pin.key: pin for pin in waivers.pins}
    for mismatch in mismatches:
        waiver = next((waiver for waiver in wanted if waiver.covers(mismatch)), None)
        if waiver is None or mismatch.outcome is Outcome.NOT_COMPARED:
            continue
        earlier = pins.get((mismatch.case, mismatch.system, mismatch.path))
        if earlier and earlier.waiver != waiver.id and earlier.digest == content(mismatch):
            continue
        pin = Pin(
            waiver=waiver.id,
            case=mismatch.case,
            system=mismatch.system,
            path=mismatch.path,
            digest=content(mismatch),
            legacy=_preview(mismatch.legacy),
            unified=_preview(mismatch.unified),
        )
        pins[pin.key] = pin
    return replace(waivers, pins=tuple(pins.values()))


def pruned(mismatches: Iterable[Mismatch], waivers: Waivers) -> Waivers:
    """Return waivers without accepted differences that no longer occur or have no waiver; nothing is added."""
    differing = {(item.case, item.system, item.path) for item in mismatches}
    known = {waiver.id for waiver in waivers.waivers}
    return replace(waivers, pins=tuple(pin for pin in waivers.pins if pin.key in differing and pin.waiver in known))


def write_lock(waivers: Waivers) -> None:
    """Write the accepted differences, one per line, in a stable order."""
    lines = [
        json.dumps({name: getattr(pin, name) for name in Pin.__dataclass_fields__}, ensure_ascii=False)
        for pin in sorted(waivers.pins, key=lambda pin: (pin.waiver, *pin.key))
    ]
    waivers.lock_file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _waiver(table: TomlTable) -> Waiver:
    expires = table.take("expires")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        table.problem("expires", "needs a date, such as 2027-06-30", f"found {expires!r}")
        expires = date.min
    waiver = Waiver(
        id=table.text("id"),
        improvement=table.text("improvement", default=""),
        paths=table.texts("paths"),
        tasks=table.texts("tasks", default=("*",)),
        systems=table.texts("systems", default=("*",)),
        cases=table.texts("cases", default=("*",)),
        reason=table.text("reason"),
        owner=table.text("owner"),
        expires=expires,
    )
    table.close()
    return waiver


def _pins(file: Path) -> tuple[Pin, ...]:
    if not file.is_file():
        return ()
    try:
        entries: list[Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Pin(**entry) for entry in entries)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(str(file), "it can't be read", found=str(error), remedy="restore it from git") from error


def _preview(value: Any) -> str:
    text = sort_key(value).decode()
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}… ({len(text)} characters)"


def _finding(code: str, where: str, what: str, found: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)
