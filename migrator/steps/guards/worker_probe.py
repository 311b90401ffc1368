"""Would a unified worker know every task, read what is transferred to it, and take urgent work first?

A worker probe is run (:mod:`migrator.agent.worker_probe`): the project's own code with the project's own settings,
not what the plan hopes.

Source: kombu/transport/redis.py (lists by `priority_steps` and `sep`, `global_keyprefix`, `visibility_timeout`).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from migrator.brokers.connect import is_on_rabbitmq
from migrator.errors import UnreachableError, did_you_mean
from migrator.plan.model import Plan, PriorityLevel
from migrator.plan.processes import Role
from migrator.project.commands import ProjectCodeError
from migrator.report import Finding, Report
from migrator.state.proof import other_versions, proof_file, read_proof
from migrator.steps.guards.effective_schedule import schedule_findings
from migrator.steps.guards.unified_broker import broker_findings, queue_findings
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.wire.message import Side
from migrator.workers import legacy_aliases
from migrator.workers.probe import alike, ask
from migrator.workers.schedule_store import beat_process


def guard(context: Context) -> Report:
    """Return what the worker probe shows."""
    plan = context.plan
    worker, beat = next(iter(plan.select(side=Side.UNIFIED, role=Role.WORKER)), None), beat_process(plan)
    try:
        seen = ask(plan, worker, environ=context.environ)
        for_beat = seen if alike(worker, beat) else ask(plan, beat, environ=context.environ)
    except UnreachableError as failure:
        remedy = "set `[project] python`, or correct what its error says"
        return findings_report("worker probe", [error("PROJECT-UNREACHABLE", "project", str(failure), remedy=remedy)])
    except ProjectCodeError as failure:
        remedy = "import the unified app in the project by hand to see why"
        return findings_report(
            "worker probe", [error("WORKER-PROBE-FAILED", "unified app", str(failure), remedy=remedy)]
        )
    findings = [*_tasks(plan, seen), *_settings(context, seen["settings"]), *_priorities(context, seen)]
    if (proof := read_proof(plan)) is not None:
        findings += other_versions(proof, seen["versions"], str(proof_file(plan)))
    findings += [
        *broker_findings(context, seen["settings"]),
        *queue_findings(context, seen["queues"]),
        *_net(context, seen["settings"]),
        *schedule_findings(plan, for_beat),
    ]
    releases = seen["settings"]["releases_parked"]
    return findings_report("worker probe", findings, checked=len(plan.tasks), releases_parked=releases)


def _tasks(plan: Plan, seen: Mapping[str, Any]) -> Iterator[Finding]:
    for task in plan.tasks:
        if task.name not in seen["registered"]:
            yield error(
                "TASK-NOT-REGISTERED",
                f"task {task.name}",
                "no unified worker would know it",
                remedy=did_you_mean(task.name, seen["registered"]) or "import its module in the app's `include`",
            )
            continue
        queue = seen["sent"].get(task.name, {}).get("queue")
        planned = (task.queue,) if task.queue else plan.unified.queues
        if queue is not None and queue not in planned:
            where = "which no unified worker consumes" if queue not in plan.unified.queues else "another than its own"
            yield error(
                "TASK-QUEUE",
                f"task {task.name}",
                f"would be sent to {queue!r}, {where}",
                found=f"the plan has {', '.join(planned)}",
                remedy="correct CELERY_TASK_ROUTES or CELERY_TASK_DEFAULT_QUEUE, or the queues in the plan",
            )


def _settings(context: Context, settings: Mapping[str, Any]) -> Iterator[Finding]:
    unified = context.plan.unified
    if settings["always_eager"]:
        remedy = "remove CELERY_TASK_ALWAYS_EAGER"
        yield error("TASK-EAGER", "settings", "tasks would run where they are sent, not in a worker", remedy=remedy)
    if not on_redis(context):
        return
    transport = settings["transport"]
    given = transport.get("sep", "\x06\x16"), tuple(transport.get("priority_steps", (0, 3, 6, 9)))
    if given != (unified.priority_separator, unified.priority_steps):
        what = "unified workers read other lists than messages are transferred to"
        found = f"settings have steps {list(given[1])}, the plan {list(unified.priority_steps)}"
        remedy = "write `priority_steps` and `priority_separator` under [unified] as the settings have them"
        yield error("PRIORITY-STEPS", "settings", what, found=found, remedy=remedy)
    if transport.get("global_keyprefix"):
        what = "unified workers read keys with a prefix that the plan doesn't know"
        found, remedy = f"global_keyprefix {transport['global_keyprefix']!r}", "take it out for the migration"
        yield error("BROKER-PREFIX", "settings", what, found=found, remedy=remedy)
    timeout_s = float(transport.get("visibility_timeout", 3600))
    if timeout_s < unified.visibility_timeout_s:
        what = "the plan counts on a longer visibility timeout than workers have; late messages would run twice"
        found = f"settings have {timeout_s:g} s, the plan {unified.visibility_timeout_s:g} s"
        remedy = f"visibility_timeout_s = {timeout_s:g} under [unified], or raise it in the settings"
        yield error("VISIBILITY-MISMATCH", "settings", what, found=found, remedy=remedy)


def _priorities(context: Context, seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the order in which levels are served with the order that the plan means."""
    served: dict[PriorityLevel, list[float]] = {}
    for task in context.plan.tasks:
        if task.name in seen["sent"]:
            number = seen["sent"][task.name]["priority"] or 0
            served.setdefault(task.priority, []).append(_turn(context, int(number)))
    levels = [level for level in PriorityLevel if level in served]
    for urgent, other in pairwise(levels):
        found = "; ".join(f"{name}: {sent['priority']}" for name, sent in list(seen["sent"].items())[:4])
        where = f"priorities of {urgent.value} and {other.value} tasks"
        if max(served[urgent]) > min(served[other]):
            what = f"some {urgent.value} tasks would run after {other.value} ones"
            remedy = "on Redis 0 runs first, on RabbitMQ the highest number does"
            yield error("PRIORITY-INVERTED", where, what, found=found, remedy=remedy)
        elif max(served[urgent]) == min(served[other]):
            what = "are served alike"
            remedy = "nothing if it was so before; transferred messages keep the order that the plan gives"
            yield warning("PRIORITY-FLAT", where, what, found=found, remedy=remedy)


def _turn(context: Context, number: int) -> float:
    """Return a number that is lower for what is served sooner."""
    if not on_redis(context):
        return -number
    steps = sorted(context.plan.unified.priority_steps)
    return steps[max(bisect(steps, number) - 1, 0)]


def _net(context: Context, settings: Mapping[str, Any]) -> Iterator[Finding]:
    plan = context.plan
    if not plan.cutover.legacy_aliases:
        return
    remedy = "leave legacy_aliases out, and run `migrator transfer --follow` for late producers"
    for what, found in legacy_aliases.obstacles(plan, context.environ):
        yield error("ALIAS-UNSUPPORTED", "legacy aliases", what, found=found, remedy=remedy)
    if not settings["catches_aliases"]:
        what = "the unified app has no part that catches legacy names"
        yield error(
            "ALIAS-UNSUPPORTED", "legacy aliases", what, found="no LegacyAliases in its consumer", remedy=remedy
        )


def on_redis(context: Context) -> bool:
    """True if the unified queue lies on Redis."""
    return not is_on_rabbitmq(context.plan.unified, context.environ)
