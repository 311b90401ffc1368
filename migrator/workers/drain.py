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
from migrator.plan.processes import Process
from migrator.wire.message import System
from migrator.workers import celery_control
from migrator.workers.node_names import endpoint_of, with_node
from migrator.workers.processes import current

POLL_S = 0.05
#: How long to wait for a worker's reply; one that is reconnecting needs some seconds.
CANCEL_TIMEOUT_S = 15.0


def cancel_consumers(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Make a Celery worker stop consuming; returns its queues, empty if it does not run or is not a Celery worker."""
    node = node_name(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if not node or endpoint is None:
        return ()
    with celery_control.control(endpoint, environ) as app:
        limit_s = min(process.stop_timeout_s, CANCEL_TIMEOUT_S)
        return celery_control.cancel_consumers(app, node, timeout_s=limit_s)


def resume(plan: Plan, process: Process, queues: tuple[str, ...], *, environ: Mapping[str, str]) -> None:
    """Let a Celery worker consume its queues again."""
    node = node_name(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if node and endpoint is not None:
        with celery_control.control(endpoint, environ) as app:
            celery_control.add_consumers(app, node, queues, timeout_s=process.stop_timeout_s)


def wait_idle(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> float:
    """Wait until a Celery worker has nothing active or reserved, at most its stop timeout; returns the seconds.

    Raises:
        UnreachableError: It is still busy, or silent. It was not told to stop.
    """
    began = time.monotonic()
    node = node_name(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if not node or endpoint is None:
        return 0.0
    with celery_control.control(endpoint, environ) as app:
        while True:
            left = celery_control.unfinished(app, node)
            passed_s = time.monotonic() - began
            if left == 0:
                return passed_s
            record = current(plan, process, environ=environ)
            if record is None or record.stopping_at:
                return passed_s
            if passed_s > process.stop_timeout_s:
                raise UnreachableError(
                    f"process {process.name}",
                    f"has not finished its tasks within {process.stop_timeout_s:g} s",
                    found="it does not answer" if left is None else f"{left} left",
                    remedy="wait for them or raise stop_timeout_s in the plan, then run the same command again",
                )
            time.sleep(POLL_S)


def node_name(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return the node name of a running Celery worker, found through the broker if somebody else started it."""
    record = current(plan, process, environ=environ)
    endpoint = endpoint_of(plan, process)
    if record is None or record.stopping_at or endpoint is None or process.system is System.DRAMATIQ:
        return ""
    return with_node(plan, process, record, environ=environ).node
