"""Look at everything that could go wrong before anything is touched. Changes nothing; also the whole of a dry run."""

from __future__ import annotations

from migrator.report import Report, merge
from migrator.steps.guards import (
    brokers,
    commits,
    database,
    managers,
    messages,
    queues,
    schedule_state,
    schedulers,
    source,
    staying,
    worker_probe,
    workers,
)
from migrator.steps.protocol import Context, Step, nothing_to_check, nothing_to_do

NAME = "preflight"

GUARDS = (
    source.guard,
    commits.guard,
    database.guard,
    brokers.guard,
    managers.guard,
    workers.guard,
    schedulers.guard,
    schedule_state.guard,
    worker_probe.guard,
    staying.guard,
    queues.guard,
    messages.guard,
)


def check(context: Context) -> Report:
    """Return what every guard has found; none hides another."""
    return merge(NAME, [guard(context) for guard in GUARDS])


STEP = Step(
    name=NAME,
    title="Preflight",
    check=check,
    actions=nothing_to_do,
    verify=nothing_to_check,
    undo=nothing_to_do,
)
