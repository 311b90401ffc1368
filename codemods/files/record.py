"""What runs of the rewrite did: ``.migrator/rewrite.json``, and the bytes that an undo puts back.

Shape: ``{"version": 1, "runs": [{"id", "commit", "plan", "at", "patch", "undone_at", "files": [{"path", "before",
"after", "created", "mode"}]}]}``; before and after are SHA-256, before is empty for a created file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import UsageError
from migrator.plan.model import Plan

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file of one run."""

    #: Relative to the plan's folder.
    path: str
    before: str
    after: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run that wrote."""

    id: str
    #: HEAD when it ran; empty without git.
    commit: str
    #: Fingerprint of the plan.
    plan: str
    #: Aware UTC, ISO.
    at: str
    #: Relative to the state folder.
    patch: str
    files: tuple[FileRecord, ...]
    undone_at: str = ""


def record_file(plan: Plan) -> Path:
    """Return where the record lies."""
    return plan.state_folder / "rewrite.json"


def read_record(plan: Plan) -> tuple[RunRecord, ...]:
    """Return the recorded runs, oldest first.

    Raises:
        UsageError: The record can't be read.
    """
    file = record_file(plan)
    try:
        document = json.loads(file.read_bytes())
        runs = tuple(_run(item) for item in document["runs"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(str(file), "the record of the rewrite can't be read", found=str(error)) from error
    if document.get("version") != VERSION:
        raise UsageError(
            str(file), "is of another version", found=str(document.get("version")), remedy="use that version"
        )
    return runs


def record_bytes(runs: Sequence[RunRecord]) -> bytes:
    """Return the record as it is written."""
    document = {"version": VERSION, "runs": [_document(run) for run in runs]}
    return json.dumps(document, indent=2).encode()  # names of files may hold surrogates, which only this writes


def created_files(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the SHA-256 of the files that runs created and were not undone, by path."""
    return {file.path: file.after for run in runs if not run.undone_at for file in run.files if file.created}


def backup_file(plan: Plan, run: str, path: str) -> Path:
    """Return where the bytes of a file before a run are kept."""
    return plan.state_folder / "undo" / run / path


def write_durably(file: Path, data: bytes) -> None:
    """Write a file so that it is old or new after a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable (fsync)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def _run(item: dict[str, Any]) -> RunRecord:
    files = tuple(FileRecord(**entry) for entry in item["files"])
    return RunRecord(**{**item, "files": files})


def _document(run: RunRecord) -> dict[str, Any]:
    names = ("id", "commit", "plan", "at", "patch", "undone_at")
    files = [{"path": f.path, "before": f.before, "after": f.after, "created": f.created} for f in run.files]
    return {**{name: getattr(run, name) for name in names}, "files": files}


def head_commit(plan: Plan) -> str:
    """Return the commit that is checked out; empty without git."""
    command = ["git", "-C", str(plan.folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
