"""Enable legacy aliases: what producers that are not redeployed yet send under legacy Celery names runs all the same.

Optional (``[cutover] legacy_aliases = true`` in the plan). The unified workers begin to consume the legacy Celery
queues, run each legacy name as the unified task that took its place, and count it. It comes after the transfer: until
then legacy workers consume these queues, and what they hold could not be told from what unified workers hold. Late
senders of Dramatiq are not caught: ``migrator transfer --follow`` transfers their messages. Undo makes the workers
leave the legacy queues before anything legacy starts again. The counts stay.
"""

from __future__ import annotations

from functools import partial

from migrator.plan.processes import Process, Role
from migrator.report import Report
from migrator.steps.actions.process_actions import verify_stopped
from migrator.steps.protocol import Action, Context, Facts, Step, error, findings_report, nothing_to_check, processes
from migrator.wire.message import Side
from migrator.workers import legacy_aliases

NAME = "legacy_aliases"


def check(context: Context) -> Report:
    """No legacy worker runs: two sides would share a queue."""
    if not context.plan.cutover.legacy_aliases:
        return nothing_to_check(context)
    return verify_stopped(context, processes(context, Side.LEGACY, Role.WORKER))


def actions(context: Context) -> tuple[Action, ...]:
    """Write the legacy aliases to the broker, then tell each running worker."""
    plan = context.plan
    if not plan.cutover.legacy_aliases:
        return ()
    names = ", ".join(legacy_aliases.queues(plan))
    return (
        Action(
            id="enable",
            sentence=f"write down what becomes of {len(legacy_aliases.aliases(plan))} legacy names",
            run=partial(_enable, context),
        ),
        *(
            Action(
                id=f"consume:{worker.name}",
                sentence=f"tell {worker.name} to consume {names} as well",
                run=partial(_consume, context, worker),
            )
            for worker in _workers(context)
        ),
    )


def verify(context: Context) -> Report:
    """Every unified worker consumes the legacy queues, and the next one that starts will."""
    plan, environ = context.plan, context.environ
    if not plan.cutover.legacy_aliases:
        return nothing_to_check(context)
    findings = []
    if not legacy_aliases.is_enabled(plan, environ):
        findings.append(
            error("LEGACY-ALIASES-GONE", "legacy aliases", "is not on the broker", remedy="migrator cutover")
        )
    for worker in _workers(context):
        missing = legacy_aliases.missing(plan, worker, environ=environ)
        if missing:
            findings.append(
                error(
                    "ALIAS-NOT-CONSUMED",
                    f"process {worker.name}",
                    f"does not consume {', '.join(missing)}",
                    remedy="see its log, then run the same command again",
                )
            )
    return findings_report("legacy aliases", findings)


def undo(context: Context) -> tuple[Action, ...]:
    """Disable the legacy aliases; the table goes last, when no worker can receive a legacy name any more."""
    plan = context.plan
    if not plan.cutover.legacy_aliases:
        return ()
    names = ", ".join(legacy_aliases.queues(plan))
    return (
        Action(
            id="forget-queues",
            sentence=f"let no worker that starts consume {names}",
            run=partial(legacy_aliases.forget_queues, plan, context.environ),
        ),
        *(
            Action(
                id=f"leave:{worker.name}",
                sentence=f"tell {worker.name} to leave {names}",
                run=partial(_leave, context, worker),
            )
            for worker in _workers(context)
        ),
        Action(
            id="forget-table",
            sentence="take the table of legacy names away",
            run=partial(legacy_aliases.forget_table, plan, context.environ),
        ),
    )


def _workers(context: Context) -> tuple[Process, ...]:
    return processes(context, Side.UNIFIED, Role.WORKER)


def _enable(context: Context) -> Facts:
    legacy_aliases.enable(context.plan, context.environ)
    return {"names": sorted(legacy_aliases.aliases(context.plan)), "queues": legacy_aliases.queues(context.plan)}


def _consume(context: Context, worker: Process) -> Facts:
    return {"queues": legacy_aliases.consume(context.plan, worker, environ=context.environ)}


def _leave(context: Context, worker: Process) -> Facts:
    return {"queues": legacy_aliases.stop_consuming(context.plan, worker, environ=context.environ)}


STEP = Step(
    name=NAME,
    title="Enable legacy aliases",
    check=check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=lambda context: (),
)
