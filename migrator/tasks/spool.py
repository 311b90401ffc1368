"""Dead letters on disk while the database can't store them: one fsynced file each, moved into place by a rename."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from kombu.utils import json

from .host_settings import spool_folder


def write(record: dict[str, Any]) -> Path:
    """Write a record; when this returns it survives a power cut. Writing the same key again changes nothing."""
    folder = spool_folder()
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
    target = folder / f"{record['key']}.json"
    draft = folder / f".{record['key']}.{uuid.uuid4().hex}.draft"
    with draft.open("x", encoding="ascii") as file:
        file.write(json.dumps(record))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    _sync_folder(folder)
    return target


def pending() -> list[Path]:
    """Return the files of the spooled records, oldest first."""
    found = []
    for path in spool_folder().glob("*.json"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # another worker has just imported it
            continue
    return [path for _, path in sorted(found)]


def read(path: Path) -> dict[str, Any]:
    """Return a spooled record; ValueError if the file does not hold one."""
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict) or "key" not in record:
        raise ValueError(f"{path}: not a dead letter (found {type(record).__name__}); move it away")
    return record


def remove(path: Path) -> None:
    """Remove the file of a record that is in the database now."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
