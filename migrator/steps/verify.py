"""Look whether the unified system works alone: it is what every later doubt is measured against.

One more sweep takes what a late producer may have sent; then the legacy queues must be empty, every unified process
alive and ready, no legacy process running, and the schedule that beat uses the plan's. What comes into a legacy Celery
queue while legacy aliases are on is not left there: unified workers take it.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.plan.model import Endpoint
from migrator.report import Finding, Report, merge
from migrator.steps.actions.process_actions import verify_ready, verify_stopped
from migrator.steps.guards import effective_schedule
from migrator.steps.protocol import (
    Action,
    Context,
    Facts,
    Step,
    error,
    findings_report,
    nothing_to_check,
    nothing_to_do,
    ran_before,
    staying,
)
from migrator.steps.transfer import OPEN_STATES, move
from migrator.transfer.options import Direction
from migrator.transfer.scope import planned_depths, waiting_tasks
from migrator.wire.message import Side, System
from migrator.workers.held_messages import longest_held_eta

NAME = "verify"


def actions(context: Context) -> tuple[Action, ...]:
    """Sweep once more."""
    sentence = "transfer what late producers may have sent"
    return (Action(id="sweep", sentence=sentence, run=partial(_sweep, context)),)


def verify(context: Context) -> Report:
    """Legacy queues are empty, unified processes ready, legacy ones gone or, where they stay, ready as well."""
    stays = staying(context)
    names = {process.name for process in stays}
    gone = [process for process in context.plan.select(side=Side.LEGACY) if process.name not in names]
    return merge(
        "the unified system works alone",
        (
            findings_report("legacy queues", [f for endpoint in context.plan.legacy for f in _left(context, endpoint)]),
            verify_ready(context, context.plan.select(side=Side.UNIFIED)),
            verify_ready(context, [process for process in stays if ran_before(context, process)]),
            verify_stopped(context, gone),
            effective_schedule.verify(context),
        ),
    )


def _sweep(context: Context) -> Facts:
    # While legacy aliases are on, unified workers hold legacy messages, and legacy ones that stay hold theirs.
    held = context.plan.cutover.legacy_aliases or bool(staying(context))
    facts = dict(move(context, Direction.FORWARD, consumers_stopped=not held))
    # The downtime ended with the transfer step; this sweep is no part of it.
    facts.pop("ended")
    late = ", ".join(f"{task} ({count})" for task, count in facts["by_task"].items())
    notes = [f"came into legacy queues after they had been moved: {late}; somebody still sends"] if late else []
    return {**facts, "longest_eta_at": _longest_eta(context), "notes": notes}


def _longest_eta(context: Context) -> float | None:
    """Return when the last delayed message is due, in seconds since the epoch; None if there is none."""
    unified = context.plan.unified
    with closing(connect(unified, context.environ)) as broker:
        due = [message.eta_at.timestamp() for message in broker.scan() if message.eta_at is not None]
    if is_on_rabbitmq(unified, context.environ):
        held = longest_held_eta(context.plan, environ=context.environ)
        due += [] if held is None else [held]
    return max(due, default=None)


def _left(context: Context, endpoint: Endpoint) -> tuple[Finding, ...]:
    with closing(connect(endpoint, context.environ)) as broker:
        depths = planned_depths(context.plan, endpoint, broker)
        caught = endpoint.system is System.CELERY and context.plan.cutover.legacy_aliases
        counts = {key: count for key, count in depths.items() if key[1] in OPEN_STATES and count and not caught}
        tasks = {key: waiting_tasks(broker, *key) for key in counts}
    return tuple(
        error(
            "LEGACY-NOT-EMPTY",
            f"{endpoint.system.value} queue {queue}",
            f"still holds {count} {state.value} messages",
            found=", ".join(f"{task} ({number})" for task, number in tasks[queue, state].items()),
            remedy="somebody unknown sends or works: stop it, then run the same command again",
        )
        for (queue, state), count in counts.items()
    )


STEP = Step(
    name=NAME,
    title="Verify that the unified system works alone",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=nothing_to_do,
)
