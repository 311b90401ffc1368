"""Translate queued messages between the legacy formats and the unified one, by the plan. Pure: no input or output.

:func:`forward` and :func:`backward` each return a function that takes the queue that a message is in, the id of its
copy and its bytes, and returns a :data:`~migrator.translation.result.Translation`. That function is total: any bytes
give a result.
"""

from __future__ import annotations

from migrator.plan.model import Endpoint, Plan, PriorityLevel
from migrator.translation.celery_to_unified import CeleryForward
from migrator.translation.dramatiq_to_unified import DramatiqForward
from migrator.translation.result import Translator
from migrator.translation.unified_to_legacy import Backward
from migrator.wire.broker_url import BrokerKind, broker_kind
from migrator.wire.json_codec import new_tags
from migrator.wire.message import System

#: The number on the wire: Redis serves 0 first, RabbitMQ 9. The same numbers as in ``migrator/tasks/priority.py``.
#: Source: kombu/transport/redis.py (``_brpop_start`` reads the lists of ``priority_steps`` in ascending order).
_NUMBERS = {
    BrokerKind.REDIS: {PriorityLevel.HIGH: 0, PriorityLevel.MEDIUM: 5, PriorityLevel.LOW: 9},
    BrokerKind.RABBITMQ: {PriorityLevel.HIGH: 9, PriorityLevel.MEDIUM: 5, PriorityLevel.LOW: 1},
}


def wire_priorities(plan: Plan, broker_url: str) -> dict[str, int]:
    """Return the priority number of every unified task on the broker that ``broker_url`` names."""
    kind = broker_kind(broker_url) or BrokerKind.REDIS
    return {task.name: _NUMBERS[kind][task.priority] for task in plan.tasks}


def forward(plan: Plan, endpoint: Endpoint, *, unified_url: str, now_ms: int) -> Translator:
    """Return the translation of one legacy endpoint's messages to the unified form."""
    kind = DramatiqForward if endpoint.system is System.DRAMATIQ else CeleryForward
    return kind(
        plan, endpoint, priorities=wire_priorities(plan, unified_url), now_ms=now_ms, new_tag=new_tags()
    ).translate


def backward(plan: Plan, *, now_ms: int) -> Translator:
    """Return the translation of unified messages to the legacy form of each."""
    return Backward(plan, now_ms=now_ms, new_tag=new_tags()).translate
