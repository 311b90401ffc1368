"""The line in the sand for the source tree: from the next step on, legacy processes are stopped.

They can only be started again from legacy source, so every way back that goes over this line also takes the rewrite
back, in one commit. Forward it only notes the commit; the rewrite itself was made and committed before.
"""

from __future__ import annotations

from functools import partial

from migrator.journal import Phase
from migrator.report import Report
from migrator.steps.commits import commit_paths, head
from migrator.steps.protocol import Action, Context, Facts, Step, nothing_to_check, nothing_to_do, recorded

NAME = "source"


def actions(context: Context) -> tuple[Action, ...]:
    """Note the commit."""
    return (Action(id="note", sentence="note the commit of the converted source", run=partial(_note, context)),)


def undo(context: Context) -> tuple[Action, ...]:
    """Take the rewrite back and commit that."""
    if context.options.undo_source is None:
        return nothing_to_do(context)
    return (
        Action(id="undo", sentence="take the rewrite of the source back", run=partial(_undo, context)),
        Action(id="commit", sentence="commit the legacy source", run=partial(_commit, context)),
    )


def verify(context: Context) -> Report:
    """There is nothing to verify about a note."""
    return nothing_to_check(context)


def cannot_undo(context: Context) -> tuple[str, ...]:
    """Return what the operator has to do again for the next cutover."""
    if context.options.undo_source is None:
        return ("the source tree stays as it is: no recorded rewrite to take back",)
    return ("the source is taken back too: before the next cutover run `migrator rewrite-imports` and commit",)


def _note(context: Context) -> Facts:
    return {"commit": head(context)}


def _undo(context: Context) -> Facts:
    assert context.options.undo_source is not None
    return {"paths": context.options.undo_source()}


def _commit(context: Context) -> Facts:
    paths = recorded(context, NAME, "undo", phase=Phase.BACK).get("paths", ())
    commit = commit_paths(context, "undo-source", subject="Take the rewrite of the task modules back", paths=paths)
    return {"commit": commit}


STEP = Step(
    name=NAME,
    title="Note the converted source",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=cannot_undo,
)
