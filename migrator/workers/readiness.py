"""Decide when a started process is ready: by the broker, the socket table or its own log, never by a sleep.

Celery worker: answers under its unique node name, with our pid, with all names it must know, on the queues it must
consume. Dramatiq worker: its children are alive and one has logged that it is ready, or has sent a heartbeat since.
Scheduler: alive and beat has started. Producer: alive and listening on the port that its command names.

Source: dramatiq/cli.py ("Worker process is ready for action."), celery/apps/beat.py ("beat: Starting...").
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

import psutil

from migrator.brokers.redis import heartbeats
from migrator.errors import UnreachableError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.processes import Driver, Process, Role
from migrator.redaction import redact
from migrator.wire.message import Side, System
from migrator.workers import celery_control, legacy_aliases
from migrator.workers.drivers import external
from migrator.workers.drivers.command import arguments, output, tail
from migrator.workers.drivers.process_identity import Identity, age_s, descendants
from migrator.workers.drivers.process_record import ProcessRecord, note_children, read_record
from migrator.workers.node_names import pids_of, with_node
from migrator.workers.processes import current, why_stopped
from migrator.workers.signs import endpoint_of

READY_TIMEOUT_S = 60.0
POLL_S = 0.1
#: How long the first requests to a worker that is starting wait for an answer.
SHORTEST_ANSWER_S = 0.2
#: A producer without a port, or a scheduler without a log, must live this long.
SETTLE_S = 1.0

_PORT = re.compile(r"(?:^|[:=])(?P<port>\d{2,5})$")


def wait_ready(
    plan: Plan, process: Process, *, environ: Mapping[str, str], timeout_s: float = READY_TIMEOUT_S
) -> ProcessRecord:
    """Wait until a started process is ready, and return its record.

    Raises:
        UnreachableError: It ended, or is not ready in time; the error says what is missing and quotes its log.
    """
    began = time.monotonic()
    is_external = process.driver is Driver.EXTERNAL
    timeout_s = max(timeout_s, process.elsewhere.start_timeout_s) if is_external else timeout_s
    end = began + timeout_s
    while True:
        # A request sent before the worker listens is lost: wait briefly at first, so that the next one comes soon.
        answer_s = min(celery_control.REPLY_TIMEOUT_S, max(SHORTEST_ANSWER_S, (time.monotonic() - began) / 8))
        record = current(plan, process, environ=environ)
        ended = record is None and not is_external
        if record is None:
            missing = why_stopped(plan, process, environ=environ)
            record = read_record(plan, process.name)
        else:
            missing = missing_for(plan, process, record, environ=environ, answer_s=answer_s)
            if not missing:
                if is_external:
                    return record
                # Its node name may have been recorded meanwhile.
                record = read_record(plan, process.name) or record
                return note_children(plan, record, descendants(record.identity))
        if ended or time.monotonic() >= end:
            raise UnreachableError(
                f"process {process.name}",
                "has ended" if ended else f"is not ready after {timeout_s:g} s",
                found=redact("; ".join(part for part in (missing, tail(record) if record else "") if part)),
                remedy=f"see {record.log}" if record and record.log else "start it by hand to see why",
            )
        time.sleep(POLL_S)


def missing_for(
    plan: Plan,
    process: Process,
    record: ProcessRecord,
    *,
    environ: Mapping[str, str],
    answer_s: float = celery_control.REPLY_TIMEOUT_S,
) -> str:
    """Return what a living process still lacks to be ready; empty if nothing. A worker has ``answer_s`` to answer."""
    if process.driver is Driver.EXTERNAL:
        return external.missing(plan, process, expected_names(plan, process.side, process.system), environ=environ)
    if process.role is Role.SCHEDULER:
        return _scheduler(record)
    if process.role is Role.PRODUCER:
        return _producer(plan, process, record, environ)
    endpoint = endpoint_of(plan, process)
    if endpoint is None:
        return "" if age_s(record.identity) > SETTLE_S else "it has just started"
    if process.system is System.DRAMATIQ:
        return _dramatiq(record, endpoint, environ)
    return _celery(plan, process, record, environ, answer_s)


def expected_names(plan: Plan, side: Side, system: System | None) -> frozenset[str]:
    """Return the task names that a worker of this side must know.

    Where the plan has a scope, a legacy worker may be one that stays, which knows none of the plan's any more.
    """
    if side is Side.UNIFIED:
        return frozenset(task.name for task in plan.tasks)
    if plan.scope:
        return frozenset()
    return frozenset(mapping.name for mapping in plan.mappings() if mapping.system is system)


def _celery(plan: Plan, process: Process, record: ProcessRecord, environ: Mapping[str, str], answer_s: float) -> str:
    endpoint = endpoint_of(plan, process)
    if endpoint is None:
        return ""
    node = with_node(plan, process, record, environ=environ).node
    if not node:
        return f"no worker answers with its pid {record.pid}"
    with celery_control.control(endpoint, environ) as app:
        facts = celery_control.node_facts(app, node, timeout_s=answer_s)
    if facts is None:
        return f"worker {node} does not answer"
    if facts.pid not in pids_of(record):
        return f"worker {node} answers with pid {facts.pid}, not {record.pid}"
    lacking = expected_names(plan, process.side, process.system) - facts.registered
    if lacking:
        return f"it does not know {_some(lacking)}"
    other = set(facts.queues) - set(endpoint.queues) - set(_alias_queues(plan))
    if process.side is Side.UNIFIED and other:
        return f"it consumes {_some(other)}, which is not among the unified queues"
    return "" if facts.queues else "it consumes no queue"


def _alias_queues(plan: Plan) -> tuple[str, ...]:
    """Return the legacy queues that unified workers may consume while legacy aliases are on."""
    return legacy_aliases.queues(plan) if plan.cutover.legacy_aliases else ()


def _dramatiq(record: ProcessRecord, endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    if not descendants(record.identity):
        return "it has no worker children yet"
    if "Worker process is ready for action" in output(record):
        return ""
    if heartbeats.heartbeats_since(endpoint, environ, since=record.started_at):
        return ""
    return "no child is ready yet"


def _scheduler(record: ProcessRecord) -> str:
    if "beat: Starting" in output(record) or age_s(record.identity) > 5 * SETTLE_S:
        return ""
    return "the scheduler has not started yet"


def _producer(plan: Plan, process: Process, record: ProcessRecord, environ: Mapping[str, str]) -> str:
    ports = [int(found["port"]) for part in arguments(plan, process, environ=environ) if (found := _PORT.search(part))]
    if not ports:
        return "" if age_s(record.identity) > SETTLE_S else "it has just started"
    family = (record.identity, *descendants(record.identity))
    return "" if ports[-1] in listening(family) else f"it does not listen on port {ports[-1]} yet"


def listening(family: Iterable[Identity]) -> set[int]:
    """Return the TCP ports on which these processes listen."""
    ports = set()
    for member in family:
        try:
            connections = psutil.Process(member.pid).net_connections(kind="tcp")
        except psutil.Error:
            continue
        ports |= {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return ports


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
