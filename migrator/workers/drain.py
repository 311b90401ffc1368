"""Drain workers: let them finish what they have and take nothing more.

Celery: stop consuming by `cancel_consumer`, confirmed by the worker's reply, then wait until it has nothing active or
reserved; messages with a far ETA are returned to the queue on SIGTERM. Dramatiq: SIGTERM is the drain; running tasks
end and prefetched messages are returned.

Source: celery/apps/worker.py (warm shutdown), dramatiq/worker.py (`_Worker.stop`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from migrator.errors import UnreachableError
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process, Role
from migrator.wire.message import System
from migrator.workers import celery_control
from migrator.workers.drivers import external
from migrator.workers.node_names import with_node
from migrator.workers.processes import current
from migrator.workers.signs import endpoint_of

POLL_S = 0.05
#: How long to wait for a worker's reply; one that is reconnecting needs some seconds.
CANCEL_TIMEOUT_S = 15.0


def cancel_consumers(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Make a Celery worker stop consuming; returns its queues, empty if it does not run or is not a Celery worker."""
    nodes = node_names(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if not nodes or endpoint is None:
        return ()
    with celery_control.control(endpoint, environ) as app:
        limit_s = min(process.stop_timeout_s, CANCEL_TIMEOUT_S)
        queues = [name for node in nodes for name in celery_control.cancel_consumers(app, node, timeout_s=limit_s)]
    return tuple(dict.fromkeys(queues))


def resume(plan: Plan, process: Process, queues: tuple[str, ...], *, environ: Mapping[str, str]) -> None:
    """Let a Celery worker consume its queues again."""
    nodes = node_names(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if nodes and endpoint is not None:
        with celery_control.control(endpoint, environ) as app:
            for node in nodes:
                celery_control.add_consumers(app, node, queues, timeout_s=process.stop_timeout_s)


def wait_idle(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> float:
    """Wait until a Celery worker has nothing active or reserved, at most its stop timeout; returns the seconds.

    Raises:
        UnreachableError: It is still busy, or silent. It was not told to stop.
    """
    began = time.monotonic()
    nodes = node_names(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if not nodes or endpoint is None:
        return 0.0
    with celery_control.control(endpoint, environ) as app:
        while True:
            left = [celery_control.unfinished(app, node) for node in nodes]
            passed_s = time.monotonic() - began
            if not any(number is None or number for number in left):
                return passed_s
            record = current(plan, process, environ=environ)
            if record is None or record.stopping_at:
                return passed_s
            if passed_s > process.stop_timeout_s:
                known = [number for number in left if number is not None]
                raise UnreachableError(
                    f"process {process.name}",
                    f"has not finished its tasks within {process.stop_timeout_s:g} s",
                    found=f"{sum(known)} left" if len(known) == len(left) else "it does not answer",
                    remedy="wait for them or raise stop_timeout_s in the plan, then run the same command again",
                )
            time.sleep(POLL_S)


def node_names(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the node names of a running Celery worker: one, unless it has replicas elsewhere.

    They are found through the broker if somebody else started it.
    """
    endpoint = endpoint_of(plan, process)
    if process.role is not Role.WORKER or endpoint is None or endpoint.system is not System.CELERY:
        return ()
    if process.driver is Driver.EXTERNAL:
        return external.nodes(plan, process, environ=environ)
    record = current(plan, process, environ=environ)
    if record is None or record.stopping_at:
        return ()
    return tuple(filter(None, (with_node(plan, process, record, environ=environ).node,)))
