"""Check that the workers of one side have stopped, before the messages that they had claimed are reclaimed.

Celery on Redis does not record which worker holds an unacknowledged message, so every worker that answers on a queue
counts. One that runs a task in its only thread does not answer, but still listens
(:mod:`migrator.brokers.control_listeners`). Dramatiq's worker processes write heartbeats; the transfer watches those
itself (:mod:`migrator.transfer.restore`).
"""

from __future__ import annotations

from collections.abc import Mapping

from migrator.brokers.connect import is_on_rabbitmq
from migrator.brokers.control_listeners import listeners
from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.wire.message import Side, System
from migrator.workers import celery_control
from migrator.workers.start_stop import list_processes


def refuse_living_workers(plan: Plan, *, environ: Mapping[str, str], side: Side) -> None:
    """Refuse while a worker of a side runs, or one that is not in the plan answers on its queues.

    Raises:
        RefusedError: There is such a worker.
        UnreachableError: A broker does not answer.
    """
    running = [
        state.name
        for state in list_processes(plan, environ=environ)
        if state.role is Role.WORKER and state.side is side and state.state != "stopped"
    ]
    for endpoint in plan.legacy if side is Side.LEGACY else (plan.unified,):
        if endpoint.system is System.CELERY and not is_on_rabbitmq(endpoint, environ):
            with celery_control.control(endpoint, environ) as app:
                nodes = celery_control.all_nodes(app)
                for node, pid in nodes.items():
                    facts = celery_control.node_facts(app, node)
                    if facts is None or set(facts.queues) & set(endpoint.queues):
                        running.append(f"{node} (pid {pid})")
            silent = listeners(endpoint, environ) - len(nodes)
            running += [f"{silent} that listen and do not answer, as busy ones do"] if silent > 0 else []
    if running:
        raise RefusedError(
            f"{side.value} workers",
            "workers are running, and what they have claimed would run twice",
            found=", ".join(dict.fromkeys(running)),
            remedy=f"`migrator workers stop {side.value}`, or stop them where they are managed; then run again",
        )
