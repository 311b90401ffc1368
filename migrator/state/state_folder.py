"""The folder ``.migrator`` beside the plan, and who writes there."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from migrator.errors import RefusedError
from migrator.plan.model import Plan


def ensure_state_folder(plan: Plan) -> Path:
    """Make ``.migrator`` with its own ``.gitignore`` and return it.

    Raises:
        RefusedError: It can't be written.
    """
    return ensure_ignored(plan.state_folder)


def ensure_ignored(folder: Path) -> Path:
    """Make a folder that git ignores and return it.

    Raises:
        RefusedError: It can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise RefusedError(
            str(folder), "can't be written", found=error.strerror or str(error), remedy="make it writable for yourself"
        ) from error
    return folder


def operator() -> str:
    """Return the name of the user who runs the tool."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
