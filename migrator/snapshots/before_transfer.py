"""The snapshot that `migrator transfer` writes before it moves the first message."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from migrator.plan.model import Plan
from migrator.snapshots.snapshot import write_snapshot
from migrator.state.snapshot_file import SnapshotFacts

_STALE_S = 3600.0


def write_before_transfer(plan: Plan, *, environ: Mapping[str, str], accept_forgotten: bool) -> SnapshotFacts | None:
    """Write all messages of the plan's queues to a file; return None if there are none.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        accept_forgotten: A server may have forgotten messages since the last command.
    """
    folder = plan.state_folder / "snapshots"
    for partial in folder.glob(".transfer-*.partial"):
        # Left by a run that was killed while writing; a run that is writing now has a newer one.
        if time.time() - partial.stat().st_mtime > _STALE_S:
            partial.unlink(missing_ok=True)
    name = f"transfer-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.snapshot"
    facts = write_snapshot(plan, environ=environ, file=folder / name, accept_forgotten=accept_forgotten)
    if facts.messages:
        return facts
    facts.file.unlink()
    return None
