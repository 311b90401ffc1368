"""Messages of tasks outside of the plan's scope: they are left in their queues, and nobody waits for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import islice

from migrator.brokers.protocol import Broker
from migrator.plan.model import Endpoint, Plan
from migrator.translation.result import Translated, Translation, Translator
from migrator.wire.json_codec import READING_ERRORS, UnreadableError, text_of
from migrator.wire.kombu_envelope import body_bytes, read_envelope
from migrator.wire.message import Side, State, System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

#: How many messages are read to name the tasks of those that wait.
_LOOKED_AT = 10_000
#: Names of tasks inside of a message.
_NEXT = {
    System.DRAMATIQ: re.compile(rb'"actor_name":\s*"([^"\\]+)"'),
    System.CELERY: re.compile(rb'"task":\s*"([^"\\]+)"'),
}


def leave_others(plan: Plan, place: tuple[Side, System], translate: Translator) -> Translator:
    """Return a translation that leaves the messages of tasks that stay, and those whose task can't be read."""
    known = planned_names(plan, *place)

    def leave(address: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        found = translate(address, copy_id, raw)
        if isinstance(found, Translated) or found.task in known:
            return found
        return Quarantined(QuarantineReason.STAYS, "its task is outside of the plan's scope", found.task, found.id)

    return leave


def staying_task(translation: Translation) -> tuple[str, ...]:
    """Return the name of the task for which a message is left, as the one item; nothing if it is not left for one."""
    if isinstance(translation, Quarantined) and translation.reason is QuarantineReason.STAYS:
        return (translation.task or "unreadable",)
    return ()


def goes_on_with(plan: Plan, system: System, raw: bytes) -> tuple[str, ...]:
    """Return the tasks of the plan that a legacy message of a task that stays sends next: pipelines, links, callbacks.

    Source: dramatiq/middleware/pipelines.py (`pipe_target` is a message), celery/app/amqp.py (`embed` in the body).
    """
    try:
        body = body_bytes(read_envelope(raw, text_of(raw))) if system is System.CELERY else raw
    except (*READING_ERRORS, UnreadableError):
        return ()
    found = {name.decode(errors="replace") for name in _NEXT[system].findall(body)}
    return tuple(sorted(found & planned_names(plan, Side.LEGACY, system)))


def waiting_tasks(broker: Broker, queue: str, state: State) -> dict[str, int]:
    """Return how many messages of each task are in a queue, the most frequent first; of the first thousands of them."""
    found = Counter(m.task for m in islice(broker.scan(), _LOOKED_AT) if (m.queue, m.state) == (queue, state))
    return dict(found.most_common())


def planned_names(plan: Plan, side: Side, system: System) -> frozenset[str]:
    """Return the names on the wire of the plan's tasks."""
    if side is Side.UNIFIED:
        return frozenset(task.name for task in plan.tasks)
    mapped = {mapping.name for mapping in plan.mappings() if mapping.system is system}
    return frozenset(mapped | {retired.name for retired in plan.retired if retired.system is system})


def planned_depths(plan: Plan, endpoint: Endpoint, broker: Broker) -> Mapping[tuple[str, State], int]:
    """Return how many messages of the plan's tasks wait in each queue; every message is read where there is a scope."""
    if not plan.scope:
        return broker.depths()
    known = planned_names(plan, endpoint.side, endpoint.system)
    return Counter((message.queue, message.state) for message in broker.scan() if message.task in known)
