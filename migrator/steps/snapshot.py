"""Write down every message of the legacy queues before the first one moves.

Nobody sends and nobody works at that moment, so the snapshot is exact. It stays after an undo; nothing needs it then.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

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
    """The file is as long as when it was written and read back; reading it again would only lengthen the downtime."""
    facts = recorded(context, NAME, "write")
    file = snapshot_file(context)
    size = file.stat().st_size if file.exists() else None
    findings = []
    if size != facts.get("size_bytes"):
        found = "it is gone" if size is None else f"{size} bytes instead of {facts.get('size_bytes')}"
        findings.append(error("SNAPSHOT-WRONG", str(file), "is not what was written", found=found))
    return findings_report("snapshot", findings, checked=max(1, facts.get("messages", 0)))


def _write(context: Context, file: Path) -> Facts:
    from migrator.snapshots.snapshot import write_snapshot

    file.parent.mkdir(parents=True, exist_ok=True)
    facts = write_snapshot(context.plan, environ=context.environ, file=file)
    return {"file": str(file), "messages": facts.messages, "size_bytes": file.stat().st_size}


STEP = Step(
    name=NAME,
    title="Back up the messages",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=nothing_to_do,
)
