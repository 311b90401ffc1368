"""Have the workers of one side ended? Asked before what they had claimed is taken from them.

Celery on Redis does not write whose an unacknowledged message is, so every worker that answers on a queue counts. One
that runs a task in its only thread does not answer, and still listens: the server knows how many do. Dramatiq's worker
processes write signs of life; the transfer watches those itself (:mod:`migrator.transfer_kept`).

Source: kombu/transport/redis.py (``_put_fanout``, ``keyprefix_fanout``), kombu/pidbox.py (``Node.handle_message``: a
message for another destination is left alone); Redis PUBLISH.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from uuid import uuid4

from migrator.brokers import connect, is_on_rabbitmq
from migrator.brokers.celery_redis import CeleryRedis
from migrator.errors import RefusedError
from migrator.message import System
from migrator.plan import Endpoint, Plan, Role, Side
from migrator.wire import encode_json
from migrator.workers import celery_control
from migrator.workers.side import list_processes


def refuse_living_workers(plan: Plan, *, environ: Mapping[str, str], side: Side) -> None:
    """Refuse while a worker of a side runs, or anybody else's answers on its queues.

    Raises:
        RefusedError: One does.
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
            silent = _listeners(endpoint, environ) - len(nodes)
            running += [f"{silent} that listen and do not answer, as one does that is busy"] if silent > 0 else []
    if running:
        raise RefusedError(
            f"{side.value} workers",
            "workers are running, and what they have claimed would run twice",
            found=", ".join(dict.fromkeys(running)),
            remedy=f"`migrator workers stop {side.value}`, or stop them where they are run; then run again",
        )


def _listeners(endpoint: Endpoint, environ: Mapping[str, str]) -> int:
    """Return how many Celery workers listen for control messages: each one once, busy or not."""
    with closing(connect(endpoint, environ)) as broker:
        if not isinstance(broker, CeleryRedis):
            return 0
        with broker.server.translated():
            publish = broker.server.client.publish
            prefixes = (f"{endpoint.key_prefix}/{broker.server.database}.", endpoint.key_prefix)
            return sum(publish(f"{prefix}celery.pidbox", _message_for_nobody()) for prefix in prefixes)


def _message_for_nobody() -> bytes:
    """Return a control message that every worker receives and leaves alone."""
    return encode_json(
        {
            "body": '{"method":"ping","arguments":{},"destination":["nobody"]}',
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {},
            "properties": {
                "delivery_mode": 2,
                "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
                "priority": 0,
                "body_encoding": "utf-8",
                "delivery_tag": uuid4().hex,
            },
        }
    )
