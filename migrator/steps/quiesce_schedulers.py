"""Stop the legacy schedulers, so that nothing new is scheduled while messages move.

Where each beat remembers what it has sent is noted before: what only a running process tells is gone afterwards. What
falls due until the unified scheduler starts is run by that one, see :mod:`migrator.steps.hand_over_schedule`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from migrator.plan.processes import Role
from migrator.steps.actions.process_step import stop_step
from migrator.steps.protocol import Action, Context, Facts
from migrator.workers.schedule_store import legacy_beats, locate

NAME = "quiesce_schedulers"
#: The action whose facts say where each legacy beat remembers what it has sent.
NOTE = "note"


def actions(context: Context) -> tuple[Action, ...]:
    """Note where beats remember what they have sent, then stop all schedulers."""
    noting = Action(id=NOTE, sentence="note where the legacy schedulers keep their state", run=partial(_note, context))
    return (*((noting,) if legacy_beats(context.plan) else ()), *_STOPPING.actions(context))


def _note(context: Context) -> Facts:
    found = (locate(context.plan, process, environ=context.environ) for process in legacy_beats(context.plan))
    return {"stores": [store.facts() for store, _ in found]}


_STOPPING = stop_step(NAME, "Stop the legacy schedulers", Role.SCHEDULER)
STEP = replace(_STOPPING, actions=actions)
