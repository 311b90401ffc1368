"""One writing rewrite at a time per project."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.state.state_folder import ensure_state_folder


@contextmanager
def locked(plan: Plan) -> Iterator[None]:
    """Hold the lock of the rewrites; it is released when the process ends.

    Raises:
        RefusedError: Another rewrite of this project is running.
    """
    ensure_state_folder(plan)
    with (plan.state_folder / "rewrite.lock").open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                str(plan.folder), "another rewrite of this project is running", remedy="wait until it has finished"
            ) from None
        yield
