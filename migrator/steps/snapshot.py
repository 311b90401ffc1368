"""Write down every message of the legacy queues before the first one moves.

Nobody sends and nobody works at that moment, so the snapshot is exact. It stays after an undo; nothing needs it then.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from migrator.errors import MigratorError
from migrator.report import Report
from migrator.steps.protocol import (
    Action,
    Context,
    Facts,
    Step,
    error,
    findings_report,
    nothing_to_check,
    nothing_to_do,
    recorded,
)

NAME = "snapshot"


def snapshot_file(context: Context) -> Path:
    """Return the snapshot of this run."""
    return context.plan.state_folder / "snapshots" / f"run-{context.run}.snapshot"


def actions(context: Context) -> tuple[Action, ...]:
    """Write it."""
    file = snapshot_file(context)
    return (Action(id="write", sentence=f"copy all messages to {file}", run=partial(_write, context, file)),)


def verify(context: Context) -> Report:
    """The file can be read whole and holds what was counted."""
    from migrator.snapshot_file import verify_snapshot

    file = snapshot_file(context)
    counted = recorded(context, NAME, "write").get("messages", 0)
    findings = []
    try:
        found = verify_snapshot(file).messages
        if found != counted:
            findings.append(error("SNAPSHOT-WRONG", str(file), f"holds {found} messages", found=f"{counted} counted"))
    except (MigratorError, OSError) as failure:
        findings.append(error("SNAPSHOT-WRONG", str(file), "can't be read back", found=str(failure)))
    return findings_report("snapshot", findings, checked=max(1, counted))


def _write(context: Context, file: Path) -> Facts:
    from migrator.snapshot import write_snapshot

    file.parent.mkdir(parents=True, exist_ok=True)
    facts = write_snapshot(context.plan, environ=context.environ, file=file)
    return {"file": str(file), "messages": facts.messages}


STEP = Step(
    name=NAME,
    title="Back up the messages",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=nothing_to_do,
)
