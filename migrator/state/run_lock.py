"""The lock that keeps runs in one state folder apart; :mod:`migrator.runner.held_run` keeps other machines out."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.state.state_folder import ensure_state_folder, operator


@contextmanager
def run_lock(plan: Plan, command: str) -> Iterator[str]:
    """Hold the plan's lock: one run at a time. Yields a note if a dead owner's lock was taken over, else "".

    Raises:
        RefusedError: Somebody else holds it.
    """
    file = ensure_state_folder(plan) / "lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(descriptor):
            raise RefusedError(
                str(file), "another run is going on", found=_owner(descriptor), remedy="wait for it: `migrator status`"
            )
        owner = _owner(descriptor)
        since = f"since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        text = f"{operator()} on {socket.gethostname()}, pid {os.getpid()}, {command}, {since}"
        _write_owner(file, descriptor, text.encode())
        try:
            yield f"took over the lock of a run that ended without releasing it: {owner}" if owner else ""
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def lock_owner(plan: Plan) -> str:
    """Return who holds the plan's lock right now; empty if nobody does. Changes nothing."""
    try:
        descriptor = os.open(plan.state_folder / "lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _lock(descriptor: int) -> bool:
    """Take the lock; a status command holds it for a moment, so one refusal is not the last word."""
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return True
    return False


def _write_owner(file: Path, descriptor: int, text: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        if os.pwrite(descriptor, text, 0) != len(text):
            raise OSError(0, "only a part was written")
    except OSError as error:
        os.ftruncate(descriptor, 0)
        raise RefusedError(
            str(file), "can't be written", found=error.strerror or "", remedy="free some space, run again"
        ) from error


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode("utf-8", "replace").strip()
