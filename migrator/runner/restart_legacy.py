"""At the end of a rollback: every legacy process that ran before the run runs again.

A process that was started early in the rollback may have died since, or may never have been stopped and was killed by
somebody else. The rollback has not ended while one of them is missing.
"""

from __future__ import annotations

from migrator.errors import MigratorError
from migrator.events import Event, EventKind
from migrator.runner.execute import StepFailedError
from migrator.state.journal import EntryKind, Phase, entry
from migrator.steps.actions.process_actions import start_actions
from migrator.steps.order import step_named
from migrator.steps.protocol import Context, ran_before
from migrator.wire.message import Side
from migrator.workers.processes import current


def restart_legacy(context: Context) -> None:
    """Start the legacy processes that ran before and don't run now, and wait until they are ready.

    Raises:
        StepFailedError: One of them does not start; the rollback can be run again.
    """
    try:
        _restart_legacy(context)
    except MigratorError as failure:
        step = step_named("verify")
        assert step is not None
        context.journal.write(entry(context.run, Phase.BACK, EntryKind.FAILED, "verify", text=str(failure)))
        raise StepFailedError(step, failure) from failure


def _restart_legacy(context: Context) -> None:
    gone = [
        process
        for process in context.plan.select(side=Side.LEGACY)
        if ran_before(context, process) and current(context.plan, process, environ=context.environ) is None
    ]
    if not gone:
        return
    text = f"ended meanwhile and started again: {', '.join(process.name for process in gone)}"
    context.listener(Event(kind=EventKind.NOTE, step="verify", text=text))
    context.journal.write(entry(context.run, Phase.BACK, EntryKind.NOTE, "verify", text=text))
    for action in start_actions(context, gone):
        action.run()
