"""The node name of a running Celery worker: from its record if we started it, else the one that reports its pid.

The name of a worker that a process manager has started is in the manager's configuration, not in the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.wire.message import System
from migrator.workers import celery_control
from migrator.workers.drivers.process_identity import descendants
from migrator.workers.drivers.process_record import ProcessRecord, write_record
from migrator.workers.signs import endpoint_of


def is_celery_worker(plan: Plan, process: Process) -> bool:
    """Return whether a process is a worker with a node name."""
    endpoint = endpoint_of(plan, process)
    return process.role is Role.WORKER and endpoint is not None and endpoint.system is System.CELERY


def with_node(plan: Plan, process: Process, record: ProcessRecord, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Return the record with the node name of a Celery worker, which is saved once it is known."""
    endpoint = endpoint_of(plan, process)
    if record.node or endpoint is None or not is_celery_worker(plan, process):
        return record
    with celery_control.control(endpoint, environ) as app:
        named = replace(record, node=celery_control.node_of(app, pids_of(record)))
    if named.node:
        write_record(plan, named)
    return named


def pids_of(record: ProcessRecord) -> tuple[int, ...]:
    """Return the pids of a process and its children: a worker may run under a wrapper."""
    return (record.pid, *(child.pid for child in descendants(record.identity)))
