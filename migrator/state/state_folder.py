"""The folder ``.migrator`` beside the plan, and who writes there."""

from __future__ import annotations

import getpass
import os
import uuid
from pathlib import Path

from migrator.errors import RefusedError
from migrator.plan.model import Plan


def ensure_state_folder(plan: Plan) -> Path:
    """Make ``.migrator`` with its own ``.gitignore``, for its owner alone, and return it.

    Raises:
        RefusedError: It can't be written, or others could have written what is in it.
    """
    folder = ensure_ignored(plan.state_folder)
    found = folder.stat()
    if found.st_mode & 0o022:
        raise RefusedError(
            str(folder),
            "others can write in this folder, and what is in it decides which processes and files are touched",
            found=f"mode {found.st_mode & 0o777:04o}",
            remedy=f"look whether journal and snapshots are yours, then `chmod -R go-rwx {folder}`",
        )
    if found.st_uid == os.geteuid():
        folder.chmod(0o700)
    return folder


def ensure_ignored(folder: Path) -> Path:
    """Make a folder that git ignores and return it.

    Raises:
        RefusedError: It can't be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise RefusedError(
            str(folder), "can't be written", found=error.strerror or str(error), remedy="make it writable for yourself"
        ) from error
    return folder


def folder_id(plan: Plan, *, create: bool = False) -> str:
    """Return the id of the state folder, which a copy has too; empty if it has none yet."""
    file = plan.state_folder / "id"
    if create and not file.is_file():
        (ensure_state_folder(plan) / "id").write_text(f"{uuid.uuid4().hex}\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def operator() -> str:
    """Return the name of the user who runs the tool."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
