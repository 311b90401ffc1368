"""What a kill would cost: said before anybody is asked whether to kill.

Source: kombu/transport/redis.py (what is unacknowledged comes back after the visibility timeout),
celery/worker/request.py (`acks_late`), dramatiq/brokers/redis/dispatch.lua (claims of a silent broker id come back).
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
from migrator.workers.node_names import endpoint_of


def consequences(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what still runs of a process, and what a kill would lose or repeat."""
    pids = ", ".join(str(member.pid) for member in survivors(plan, process, environ=environ))
    return f"{process.name} still runs: pid {pids or 'none'}. {_cost(plan, process, environ)}"


def _cost(plan: Plan, process: Process, environ: Mapping[str, str]) -> str:
    endpoint = endpoint_of(plan, process)
    if process.role is Role.PRODUCER:
        return "Requests that it is serving break off."
    if process.role is Role.SCHEDULER or endpoint is None:
        return "What it is sending at this moment may be sent twice, or not at all."
    try:
        with closing(connect(endpoint, environ)) as broker:
            held = sum(count for (_, state), count in broker.depths().items() if state is State.CLAIMED)
        count = f"Messages held by workers of its queues: {held}"
    except MigratorError as failure:
        count = f"How many messages it holds is not known ({failure.what})"
    if endpoint.system is System.DRAMATIQ:
        return f"{count}; those that it runs begin again from the start, elsewhere."
    return (
        f"{count}; those that it runs and acknowledges late begin again from the start, elsewhere; a task that was "
        "acknowledged before it ran (Celery's default) is LOST."
    )
