"""Executables of the operator, called at every step; one that exits non-zero vetoes.

A hook is a file in the hooks folder named after the event: ``before-<step>``, ``after-<step>``,
``before-undo-<step>``; ``tasks`` stands for the step that moves single tasks. A file there that looks like a hook and
is named after no event is refused, because it would never veto. It gets the context in its environment:
``MIGRATOR_EVENT``, ``MIGRATOR_PLAN``, ``MIGRATOR_RUN``, ``MIGRATOR_STATE``. No shell takes part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from migrator.errors import RefusedError, UsageError, did_you_mean
from migrator.project.commands import last_lines, run
from migrator.steps.protocol import Context

HOOK_TIMEOUT_S = 300.0
#: Stands in the names of hooks for the move of single tasks.
SINGLE_TASKS = "tasks"


def require_hooks(folder: Path | None, steps: Iterable[str]) -> None:
    """Refuse a folder that is not there, and hooks that nothing would ever call.

    Raises:
        UsageError: There is one.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise UsageError(f"--hooks {folder}", "is no folder", remedy="create it, or correct the path")
    events = [f"{when}-{step}" for step in (*steps, SINGLE_TASKS) for when in ("before", "after", "before-undo")]
    for file in sorted(folder.iterdir()):
        if file.name.startswith(("before-", "after-")) and file.name not in events:
            remedy = did_you_mean(file.name, events) or f"name it after a step, such as {events[0]}"
            raise UsageError(str(file), "no event has that name, so it would never be called", remedy=remedy)


def call_hook(context: Context, event: str) -> None:
    """Run the hook of an event, if there is one.

    Raises:
        RefusedError: It vetoed, or can't be executed.
        UnreachableError: It took too long.
    """
    folder = context.options.hooks
    file = folder / event if folder is not None else None
    if file is None or not file.exists():
        return
    if not os.access(file, os.X_OK):
        raise RefusedError(str(file), "is no executable", remedy=f"chmod +x {file}, or take it away")
    environ = {
        **context.environ,
        "MIGRATOR_EVENT": event,
        "MIGRATOR_PLAN": str(context.plan.file),
        "MIGRATOR_RUN": str(context.run),
        "MIGRATOR_STATE": str(context.plan.state_folder),
    }
    code, output, errors = run(
        [str(file.absolute())], folder=context.plan.folder, environ=environ, limit_s=HOOK_TIMEOUT_S
    )
    if code != 0:
        raise RefusedError(
            f"hook {event}",
            f"vetoed with exit status {code}",
            found=last_lines(errors or output),
            remedy="see the hook",
        )
