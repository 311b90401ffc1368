"""Who works here? Every process of the plan, and whoever else the brokers know.

A worker that the plan doesn't name would go on taking messages while they move: refused. Celery workers are found by
their replies, on Redis also by their listening. Dramatiq's heartbeats name producers too, so only a living holder of
claimed messages counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.control_listeners import listeners
from migrator.brokers.redis import heartbeats
from migrator.errors import MigratorError
from migrator.plan.model import Endpoint
from migrator.plan.placeholders import endpoint_url
from migrator.plan.processes import Driver, Process, Role
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.wire.broker_url import read_broker_url
from migrator.wire.message import Side, System
from migrator.wire.url_readings import ServerAddress
from migrator.workers import celery_control
from migrator.workers.absent import REMEDY, absent_workers
from migrator.workers.drivers.process_record import living
from migrator.workers.signs import endpoint_of
from migrator.workers.start_stop import ProcessState, list_processes
from migrator.workers.unplanned import planned_children, replicas, silent_finding


def guard(context: Context) -> Report:
    """Return which processes are missing, orphaned, silent or unknown."""
    states = list_processes(context.plan, environ=context.environ)
    findings = [
        error("PROCESS-ABSENT", f"{context.plan.file}", f"the plan has no {what}", remedy=REMEDY)
        for what in absent_workers(context.plan)
    ]
    findings += _states(states)
    known = {record.pid for record in living(context.plan)}
    known |= {pid for state in states for pid in state.children}
    for endpoint in _distinct(context, (*context.plan.legacy, context.plan.unified)):
        try:
            findings += _unknown(context, endpoint, known, states)
        except MigratorError:
            # The guard of the brokers reports a server that does not answer.
            continue
    running = [state.name for state in states if state.state == "running"]
    return findings_report("workers", findings, checked=max(1, len(states)), running=running)


def _states(states: Iterable[ProcessState]) -> Iterator[Finding]:
    for state in states:
        where = f"process {state.name}"
        if state.state == "stranger":
            yield error("PROCESS-STRANGER", where, state.problem)
        elif state.state == "orphaned":
            pids = ", ".join(str(pid) for pid in state.children)
            remedy = f"migrator workers stop {state.name}"
            yield error(
                "PROCESS-ORPHANED", where, "its children work on without it", found=f"pid {pids}", remedy=remedy
            )
        elif state.side is Side.LEGACY and state.state == "stopped":
            yield warning(
                "PROCESS-NOT-RUNNING",
                where,
                "is not running, as far as its record and pidfile say",
                remedy="if it does run, give the plan its pidfile; otherwise there is nothing to stop",
            )
        elif state.state == "stopping" and state.side is Side.LEGACY:
            yield warning("PROCESS-STOPPING", where, "was told to stop and still runs", found=f"pid {state.pid}")


def _unknown(
    context: Context, endpoint: Endpoint, known: set[int], states: Iterable[ProcessState]
) -> Iterator[Finding]:
    if endpoint.system is System.DRAMATIQ:
        yield from _unknown_dramatiq(context, endpoint, states)
        return
    ours = {queue for other in (*context.plan.legacy, context.plan.unified) for queue in other.queues}
    here = {process.name for process in context.plan.processes if _works_here(context, process, endpoint)}
    with celery_control.control(endpoint, context.environ) as app:
        nodes = celery_control.all_nodes(app)
        silent = [s for s in states if s.name in here and s.state == "running" and not _answers(s, nodes)]
        yield from (silent_finding(context.plan, state) for state in silent)
        # Counted after the answers, so one that ends in between is no stranger.
        elsewhere = [s for s in states if s.name in _unplaced(context) and s.state == "running" and s.node not in nodes]
        strangers = listeners(endpoint, context.environ) - len(nodes) - len(silent) - len(elsewhere)
        if strangers > 0:
            yield error(
                "WORKER-SILENT",
                f"the {endpoint.side.value} Celery broker",
                "workers listen that are no processes of the plan and do not answer, as one does that is busy",
                found=f"{strangers} workers",
                remedy="stop them, or add them to the plan; one whose machine has just died counts for some minutes",
            )
        planned, too_many = replicas(context.plan, here, environ=context.environ)
        yield from too_many
        for node, pid in nodes.items():
            if pid in known or node in planned:
                continue
            facts = celery_control.node_facts(app, node)
            queues = set(facts.queues) if facts is not None else ours
            if queues & ours:
                yield error(
                    "WORKER-UNKNOWN",
                    f"worker {node}",
                    "consumes queues of the plan and is no process of it",
                    found=f"pid {pid}, queues {', '.join(sorted(queues & ours))}",
                    remedy="stop it, or add it to the plan as a [[process]] with its pidfile",
                )


def _answers(state: ProcessState, nodes: Mapping[str, int]) -> bool:
    """True if a Celery worker answers: by its name, or by a pid where its name isn't known."""
    return state.node in nodes if state.node else bool({state.pid, *state.children} & set(nodes.values()))


def _unknown_dramatiq(context: Context, endpoint: Endpoint, states: Iterable[ProcessState]) -> Iterator[Finding]:
    workers = [p for p in context.plan.select(side=Side.LEGACY, role=Role.WORKER) if p.system is System.DRAMATIQ]
    there = [planned_children(process) for process in workers if process.driver is Driver.EXTERNAL]
    if 0 in there:
        # The plan doesn't say how many children each of its replicas has.
        return
    names = {process.name for process in workers}
    children = sum(len(state.children) for state in states if state.name in names) + sum(there)
    if is_on_rabbitmq(endpoint, context.environ):
        yield from _unknown_consumers(context, endpoint, children)
        return
    holders = heartbeats.living_holders(endpoint, context.environ, besides=children)
    if len(holders) > children:
        yield error(
            "WORKER-UNKNOWN",
            f"dramatiq namespace {endpoint.namespace}",
            f"{len(holders)} living processes hold messages",
            found=f"the plan's workers have {children} children",
            remedy="stop the other worker, or add it to the plan",
        )


def _unknown_consumers(context: Context, endpoint: Endpoint, children: int) -> Iterator[Finding]:
    """On RabbitMQ each worker process consumes each queue once, and nobody tells who it is."""
    with closing(connect(endpoint, context.environ)) as broker:
        owners = broker.owners()
    for owner in owners:
        if owner.consumers > children:
            yield error(
                "WORKER-UNKNOWN",
                f"dramatiq queue {owner.queue}{'.DQ' if owner.delayed else ''}",
                f"{owner.consumers} processes consume it",
                found=f"the plan's workers have {children} children",
                remedy="stop the other worker, or add it to the plan as a [[process]] with its pidfile",
            )


def _unplaced(context: Context) -> set[str]:
    """Return the Celery workers of whose broker the plan says nothing, as of those that serve what stays only."""
    workers = (p for p in context.plan.processes if p.role is Role.WORKER and p.system is System.CELERY)
    return {process.name for process in workers if endpoint_of(context.plan, process) is None}


def _works_here(context: Context, process: Process, endpoint: Endpoint) -> bool:
    """True for a Celery worker on the broker of this endpoint."""
    own = endpoint_of(context.plan, process)
    if process.role is not Role.WORKER or own is None or own.system is not System.CELERY:
        return False
    return _place(context, own) == _place(context, endpoint)


def _distinct(context: Context, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    chosen: dict[object, Endpoint] = {}
    for endpoint in endpoints:
        chosen.setdefault(_place(context, endpoint), endpoint)
    return tuple(chosen.values())


def _place(context: Context, endpoint: Endpoint) -> tuple[ServerAddress, System, str]:
    """Return what two endpoints share whose workers hear the same control messages."""
    read = read_broker_url(endpoint_url(endpoint, context.environ))
    return replace(read.address, user="", password="", tls=None), endpoint.system, endpoint.key_prefix
