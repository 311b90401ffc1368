"""Write many files atomically: all of them or none, whatever interrupts it.

New contents go to temporary files in the same folders; then an intent is recorded and the files are renamed into place.
A run that finds an intent completes it; one that finds only preparations removes them. Signals wait while renaming.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from codemods.files.record import (
    RunRecord,
    backup_file,
    digest,
    record_bytes,
    record_file,
    sync_folder,
    write_durably,
)
from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.state.state_folder import ensure_state_folder


def intent_file(plan: Plan) -> Path:
    """Return where an unfinished write is recorded."""
    return plan.state_folder / "rewrite.intent.json"


def write_all(
    plan: Plan,
    *,
    run: str,
    contents: Mapping[Path, bytes | None],
    before: Mapping[Path, bytes],
    runs: Sequence[RunRecord],
) -> None:
    """Write, create or (None) remove files together.

    Args:
        plan: Its state folder holds the intent and the backups.
        run: Identifier under which the bytes before are kept.
        contents: New bytes by absolute path; None removes the file.
        before: Bytes that each existing file must still have.
        runs: The record as it reads when this write is done.

    Raises:
        RefusedError: A file changed in the meantime; nothing was written.
    """
    ensure_state_folder(plan)
    entries = [_entry(plan, file, data, before.get(file)) for file, data in contents.items()]
    folders = [str(f.relative_to(plan.folder)) for f in _missing_folders(plan, contents)]
    intent: dict[str, Any] = {"state": "prepare", "run": run, "entries": entries, "folders": folders}
    intent["record"] = record_bytes(runs).decode()
    write_durably(intent_file(plan), json.dumps(intent).encode())
    try:
        for file, entry in zip(contents, entries, strict=True):
            if file in before:
                write_durably(backup_file(plan, run, entry["path"]), before[file])
            _prepare(plan.folder / entry["temporary"], file, contents[file])
        _check_unchanged(plan, entries)
    except BaseException:
        _abandon(plan, intent)
        raise
    with _signals_waiting():
        write_durably(intent_file(plan), json.dumps({**intent, "state": "commit"}).encode())
        _commit(plan, entries)
        write_durably(record_file(plan), intent["record"].encode())
        intent_file(plan).unlink()


def recover(plan: Plan) -> str:
    """Complete or remove what an interrupted write left behind; return what was done, or an empty string.

    Raises:
        RefusedError: A file changed since, so the write can neither be completed nor undone.
    """
    file = intent_file(plan)
    try:
        intent = json.loads(file.read_bytes())
    except FileNotFoundError:
        return ""
    except ValueError:
        file.unlink()
        return "removed an unreadable intent"
    if intent["state"] == "prepare":
        _abandon(plan, intent)
        return f"removed the preparations of {len(intent['entries'])} files"
    _check_unchanged(plan, [entry for entry in intent["entries"] if _is_open(plan, entry)])
    with _signals_waiting():
        _commit(plan, intent["entries"])
        write_durably(record_file(plan), intent["record"].encode())
        file.unlink()
    return f"completed an interrupted write of {len(intent['entries'])} files"


def _is_open(plan: Plan, entry: Mapping[str, Any]) -> bool:
    """Tell whether a file has not been renamed into place, or removed, yet."""
    there = (plan.folder / entry["temporary"]).exists()
    return there and not (entry["remove"] and not (plan.folder / entry["path"]).exists())


def pending(plan: Plan) -> bool:
    """Tell whether an interrupted write waits for :func:`recover`."""
    return intent_file(plan).exists()


def _entry(plan: Plan, file: Path, data: bytes | None, before: bytes | None) -> dict[str, Any]:
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.migrator")
    return {
        "path": str(file.relative_to(plan.folder)),
        "temporary": str(temporary.relative_to(plan.folder)),
        "before": digest(before) if before is not None else "",
        "remove": data is None,
    }


def _missing_folders(plan: Plan, contents: Mapping[Path, bytes | None]) -> list[Path]:
    missing = {parent for file in contents for parent in file.parents if not parent.exists()}
    return sorted(missing, key=lambda folder: len(folder.parts), reverse=True)


def _prepare(temporary: Path, file: Path, data: bytes | None) -> None:
    _make_folder(temporary.parent)
    old = file.stat() if file.exists() else None
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if old is None else 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data or b"")
        stream.flush()
        os.fsync(stream.fileno())
    _give(temporary, old or file.parent.stat())
    if old is not None:
        temporary.chmod(old.st_mode & 0o7777)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; each belongs to the owner of the one that it lies in."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir()
        _give(folder, folder.parent.stat())


def _give(path: Path, like: os.stat_result) -> None:
    """Give a new file or folder owner and group of what it replaces, or lies in; only root can give to others."""
    now = path.stat()
    if os.geteuid() == 0 and (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid):
        os.chown(path, like.st_uid, like.st_gid)
    elif now.st_gid != like.st_gid:
        with suppress(PermissionError):
            os.chown(path, -1, like.st_gid)


def _check_unchanged(plan: Plan, entries: list[dict[str, Any]]) -> None:
    changed = []
    for entry in entries:
        file = plan.folder / entry["path"]
        now = digest(file.read_bytes()) if file.exists() else ""
        if now != entry["before"]:
            changed.append(entry["path"])
    if changed:
        raise RefusedError(
            ", ".join(changed[:5]), "changed while the rewrite ran", remedy="run it again; nothing of this run was kept"
        )


def _commit(plan: Plan, entries: list[dict[str, Any]]) -> None:
    folders = set()
    for entry in entries:
        temporary, file = plan.folder / entry["temporary"], plan.folder / entry["path"]
        if not temporary.exists():
            continue
        if entry["remove"]:
            file.unlink(missing_ok=True)
            temporary.unlink()
        else:
            temporary.replace(file)
        folders.add(file.parent)
    for folder in folders:
        sync_folder(folder)


def _abandon(plan: Plan, intent: Mapping[str, Any]) -> None:
    for entry in intent["entries"]:
        (plan.folder / entry["temporary"]).unlink(missing_ok=True)
    for folder in intent["folders"]:
        path = plan.folder / folder
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    intent_file(plan).unlink(missing_ok=True)


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the files are in place."""
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
