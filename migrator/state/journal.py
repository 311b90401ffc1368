"""What was done: one JSON line per fact, on disk before anybody relies on it; and the lock that keeps runs apart.

A run is one cutover with everything that belongs to it, its rollback included. Runs are numbered from 1.
A torn last line (the machine went down while it was written) is cut off and counts as never written.
Nothing here may hold a secret: texts pass through :func:`redact`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from migrator.errors import InterruptedRunError, RefusedError, UsageError
from migrator.plain_text import json_bytes
from migrator.plan.model import Plan
from migrator.redaction import redact
from migrator.state.state_folder import ensure_ignored, operator


class JournalError(InterruptedRunError):
    """Nothing can be recorded, so nothing more is done, not even undone; the run can be resumed."""


class Phase(StrEnum):
    """Which way a run goes."""

    FORWARD = "forward"
    BACK = "back"


class EntryKind(StrEnum):
    """What an entry says."""

    #: An action is about to run; it may have had its effect if nothing follows.
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    #: Entries about the run as a whole have the empty step.
    RUN_BEGUN = "run-begun"
    RUN_DONE = "run-done"
    RUN_INTERRUPTED = "run-interrupted"
    RUN_CLOSED = "run-closed"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One line of the journal."""

    #: Aware UTC.
    at: datetime
    run: int
    phase: Phase
    mark: EntryKind
    step: str = ""
    #: Action id; empty for entries about a step or the run.
    action: str = ""
    text: str = ""
    #: Facts that a later step or the rollback needs, JSON-serializable.
    data: Mapping[str, Any] = field(default_factory=dict)
    operator: str = ""
    host: str = ""
    #: The plan's fingerprint at that time.
    plan: str = ""


@dataclass(slots=True)
class JournalReader:
    """Reads a journal file once; after that only what was appended since."""

    file: Path
    _known: list[JournalEntry] = field(default_factory=list)
    #: The file that was read, by its inode, and how far.
    _inode: int = 0
    _offset: int = 0

    def entries(self) -> tuple[JournalEntry, ...]:
        """Return every entry, without a torn last line; none if there is no file.

        Raises:
            UsageError: A line in the middle can't be read, so the file was damaged or edited.
        """
        try:
            with self.file.open("rb") as stream:
                facts = os.fstat(stream.fileno())
                if facts.st_ino != self._inode or facts.st_size < self._offset:
                    self._known, self._inode, self._offset = [], facts.st_ino, 0
                stream.seek(self._offset)
                whole, newline, _torn = stream.read().rpartition(b"\n")
        except FileNotFoundError:
            self._inode = 0
            return ()
        for line in whole.split(b"\n") if newline else ():
            self._known.append(_parsed(line, f"{self.file}:{len(self._known) + 1}"))
            self._offset += len(line) + 1
        return tuple(self._known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The journal file of one plan."""

    file: Path
    operator: str
    host: str
    plan: str
    reader: JournalReader = field(repr=False, compare=False)

    def write(self, entry: JournalEntry) -> None:
        """Append an entry and wait until the disk has it.

        Raises:
            JournalError: The disk is full or the file can't be written; nothing was recorded.
        """
        document = {
            "at": entry.at,
            "run": entry.run,
            "phase": entry.phase,
            "mark": entry.mark,
            "step": entry.step,
            "action": entry.action,
            "text": redact(entry.text),
            "data": entry.data,
            "operator": self.operator,
            "host": self.host,
            "plan": self.plan,
        }
        _append(self.file, json_bytes(document) + b"\n")

    def entries(self, run: int | None = None) -> tuple[JournalEntry, ...]:
        """Return all entries, or those of one run, oldest first."""
        return tuple(entry for entry in self.reader.entries() if run in (None, entry.run))


def open_journal(plan: Plan) -> Journal:
    """Return the plan's journal; its folder is made when the first entry is written."""
    file = plan.state_folder / "journal.jsonl"
    reader = JournalReader(file)
    return Journal(file=file, operator=operator(), host=socket.gethostname(), plan=plan.fingerprint, reader=reader)


def entry(run: int, phase: Phase, mark: EntryKind, step: str = "", **rest: Any) -> JournalEntry:
    """Return an entry of this moment."""
    return JournalEntry(at=_now(), run=run, phase=phase, mark=mark, step=step, **rest)


def _append(file: Path, line: bytes) -> None:
    ensure_ignored(file.parent)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RefusedError(
            str(file), "can't be opened", found=error.strerror or "", remedy="make it writable"
        ) from error
    try:
        size = _cut_torn_line(descriptor)
        try:
            written = os.pwrite(descriptor, line, size)
            if written != len(line):
                raise OSError(0, f"only {written} of {len(line)} bytes were written")
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise JournalError(
                str(file),
                "nothing can be recorded",
                found=error.strerror or "",
                remedy="free some space; `migrator status` names the command that goes on",
            ) from error
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    whole = size
    while whole and os.pread(descriptor, 1, whole - 1) != b"\n":
        whole -= 1
    if whole != size:
        os.ftruncate(descriptor, whole)
    return whole


def _parsed(line: bytes, where: str) -> JournalEntry:
    try:
        return _entry(orjson.loads(line))
    except (orjson.JSONDecodeError, KeyError, ValueError, TypeError) as error:
        raise UsageError(
            where,
            "is no journal entry",
            found=line[:60].decode("utf-8", "replace"),
            remedy="restore the file from a backup; without it a rollback is not possible",
        ) from error


def _entry(document: dict[str, Any]) -> JournalEntry:
    _rename(document)
    return JournalEntry(
        at=datetime.fromisoformat(document["at"]),
        run=int(document["run"]),
        phase=Phase(document["phase"]),
        mark=EntryKind(document["mark"]),
        **{key: document[key] for key in ("step", "action", "text", "data", "operator", "host", "plan")},
    )


def _rename(document: dict[str, Any]) -> None:
    """Give what an earlier version wrote the names of this one."""
    if document["step"] == "alias_net":
        document["step"] = "legacy_aliases"
        document["action"] = "enable" if document["action"] == "hang" else document["action"]
    if document["action"].startswith("cease:"):
        document["action"] = document["action"].replace("cease:", "cancel:", 1)
    if "kept" in document["data"]:
        document["data"]["quarantined"] = document["data"].pop("kept")


def _now() -> datetime:
    return datetime.now(UTC)
