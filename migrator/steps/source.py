"""The line in the sand for the source tree: from the next step on, legacy processes are stopped.

They can only be started again from legacy source, so every rollback that goes past this step also takes the rewrite
back, in one commit, which comes when the workers have their messages: what git's hooks take is nobody's to wait for.
Forward it only notes the commit; the rewrite itself was made and committed before.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from migrator.errors import UnreachableError
from migrator.report import Report
from migrator.state.journal import Phase
from migrator.steps.actions.git_commit import commit_paths, head
from migrator.steps.protocol import Action, Context, Facts, Step, note, nothing_to_check, nothing_to_do, recorded

NAME = "source"
HOLD_POLL_S = 0.2
#: How often a waiting run says what it waits for.
HOLD_NOTE_S = 30.0


def actions(context: Context) -> tuple[Action, ...]:
    """Note the commit, and wait for the operator's word if that was asked for."""
    noting = Action(id="note", sentence="note the commit of the converted source", run=partial(_note, context))
    # Whoever goes on with a run that was waiting may not know that it was.
    noted = recorded(context, NAME, "note", phase=Phase.FORWARD).get("postpone_file", "")
    file = context.options.postpone_file or (Path(noted) if noted else None)
    if file is None:
        return (noting,)
    return (noting, Action(id="hold", sentence=f"wait until {file} is gone", run=partial(_hold, context, file)))


def undo(context: Context) -> tuple[Action, ...]:
    """Undo the rewrite."""
    if context.options.undo_source is None:
        return nothing_to_do(context)
    return (Action(id="undo", sentence="undo the rewrite of the source", run=partial(_undo, context)),)


def undo_late(context: Context) -> tuple[Action, ...]:
    """Commit that."""
    if context.options.undo_source is None:
        return nothing_to_do(context)
    return (Action(id="commit", sentence="commit the legacy source", run=partial(_commit, context)),)


def verify(context: Context) -> Report:
    """There is nothing to verify about a note."""
    return nothing_to_check(context)


def cannot_undo(context: Context) -> tuple[str, ...]:
    """Return what the operator has to do again for the next cutover."""
    if context.options.undo_source is None:
        return ("the source tree stays as it is: no recorded rewrite to undo",)
    return (
        "the rewrite of the source is undone too: before the next cutover run `migrator rewrite-imports` and commit",
    )


def _note(context: Context) -> Facts:
    file = context.options.postpone_file
    return {"commit": head(context), **({"postpone_file": str(file.absolute())} if file is not None else {})}


def _hold(context: Context, file: Path) -> Facts:
    began = time.monotonic()
    told_s = -HOLD_NOTE_S
    while file.exists():
        passed_s = time.monotonic() - began
        if passed_s > context.options.postpone_timeout_s:
            raise UnreachableError(
                str(file), f"is still there after {passed_s:.0f} s", remedy="delete it, then run the same command again"
            )
        if passed_s - told_s >= HOLD_NOTE_S:
            told_s = passed_s
            note(context, NAME, f"ready; waiting for `rm {file}` before the first legacy process is stopped")
        time.sleep(HOLD_POLL_S)
    return {"held_s": round(time.monotonic() - began, 1)}


def _undo(context: Context) -> Facts:
    assert context.options.undo_source is not None
    return {"paths": context.options.undo_source()}


def _commit(context: Context) -> Facts:
    paths = recorded(context, NAME, "undo", phase=Phase.BACK).get("paths", ())
    subject = "Undo the rewrite of the task modules"
    commit = commit_paths(context, "undo-source", subject=subject, paths=paths, way_back=True)
    return {"commit": commit}


STEP = Step(
    name=NAME,
    title="Note the converted source",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
    undo_late=undo_late,
    cannot_undo=cannot_undo,
)
