"""The consequences of a kill, shown before anybody is asked whether to kill.

Source: kombu/transport/redis.py (unacknowledged messages are redelivered after the visibility timeout),
celery/worker/request.py (`acks_late`), dramatiq/brokers/redis/dispatch.lua (claims of a silent broker id are requeued).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from migrator.brokers.connect import connect
from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.wire.message import State, System
from migrator.workers.kill import survivors
from migrator.workers.signs import endpoint_of


def consequences(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what is still running of a process, and what a kill would lose or repeat."""
    pids = ", ".join(str(member.pid) for member in survivors(plan, process, environ=environ))
    return f"{process.name} is still running: pid {pids or 'none'}. {_cost(plan, process, environ)}"


def _cost(plan: Plan, process: Process, environ: Mapping[str, str]) -> str:
    endpoint = endpoint_of(plan, process)
    if process.role is Role.PRODUCER:
        return "Requests that it is serving are aborted."
    if process.role is Role.SCHEDULER or endpoint is None:
        return "A task that it is sending at this moment may be sent twice, or not at all."
    try:
        with closing(connect(endpoint, environ)) as broker:
            held = sum(count for (_, state), count in broker.depths().items() if state is State.CLAIMED)
        count = f"Messages held by workers of its queues: {held}"
    except MigratorError as failure:
        count = f"It is unknown how many messages it holds ({failure.what})"
    if endpoint.system is System.DRAMATIQ:
        return f"{count}; those that it is running start again from the beginning, elsewhere."
    return (
        f"{count}; those that it is running and acknowledges late start again from the beginning, elsewhere; a task "
        "that was acknowledged before it ran (Celery's default) is LOST."
    )
