"""What a transfer selects: sides, queues, tasks."""

from __future__ import annotations

from collections.abc import Callable

from migrator.errors import UsageError, did_you_mean
from migrator.plan.model import Plan
from migrator.transfer.batch import select_all
from migrator.transfer.connections import Connections
from migrator.transfer.delayed import quarantine_late
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.scope import leave_others
from migrator.translation.result import Translated, Translation, Translator
from migrator.translation.translators import backward, forward
from migrator.wire.message import Side, System
from migrator.wire.queue_address import QueueAddress


def emptied_side(direction: Direction) -> Side:
    """Return the side from which a direction takes messages."""
    return Side.LEGACY if direction is Direction.FORWARD else Side.UNIFIED


def is_selected(options: TransferOptions, address: QueueAddress) -> bool:
    """Say whether a run empties a queue of the side that it takes messages from."""
    only_from = options.system if options.direction is Direction.FORWARD else None
    return (not options.queues or address.queue in options.queues) and only_from in (None, address.system)


def check_names(plan: Plan, options: TransferOptions) -> None:
    """Refuse a filter with a name that is not in the plan: it would leave everything where it is.

    Raises:
        UsageError: There is no such task or queue.
    """
    tasks = {name for mapping in plan.mappings() for name in (mapping.name, mapping.unified)}
    tasks |= {task.name for task in plan.tasks} | {retired.name for retired in plan.retired}
    endpoints = plan.legacy if options.direction is Direction.FORWARD else (plan.unified,)
    queues = {queue for endpoint in endpoints for queue in endpoint.queues}
    for kind, wanted, known in (("task", options.tasks, tasks), ("queue", options.queues, queues)):
        for name in sorted(wanted - known):
            remedy = did_you_mean(name, known) or f"one of {', '.join(sorted(known))}"
            raise UsageError(f"--{kind} {name}", f"the plan has no such {kind} on the emptied side", remedy=remedy)


def translators(connections: Connections) -> dict[tuple[Side, System], Translator]:
    """Return the translation of the messages of every endpoint."""
    plan, now_ms = connections.plan, int(connections.now_ms())
    found: dict[tuple[Side, System], Translator] = {
        (endpoint.side, endpoint.system): forward(plan, endpoint, unified_url=connections.unified_url, now_ms=now_ms)
        for endpoint in plan.legacy
    }
    if not connections.unified_on_rabbitmq and connections.park_after_ms is None:
        found = {key: quarantine_late(plan, translate, now_ms=now_ms) for key, translate in found.items()}
    found[Side.UNIFIED, System.CELERY] = backward(plan, now_ms=now_ms)
    if len(connections.redis_homes) < len(connections.servers):
        # Its libraries are only needed where there is a RabbitMQ.
        from migrator.transfer.rabbitmq.encoding import encoding

        found = {key: encoding(translate, connections.is_on_rabbitmq) for key, translate in found.items()}
    return {key: leave_others(plan, key, translate) for key, translate in found.items()} if plan.scope else found


def selection(plan: Plan, options: TransferOptions) -> Callable[[Translation], bool]:
    """Return a function that says whether a message was asked for."""
    names = set(options.tasks)
    if options.direction is Direction.BACK:
        # Messages waiting there have unified names only.
        names |= {mapping.unified for mapping in plan.mappings() if mapping.name in names}
    names |= {mapping.name for mapping in plan.mappings() if mapping.unified in names}
    only_back_to = options.system if options.direction is Direction.BACK else None
    if not names and not only_back_to:
        return select_all

    def selects(translation: Translation) -> bool:
        if only_back_to and isinstance(translation, Translated) and translation.address.system is not only_back_to:
            return False
        return (
            not names or (translation.source_task if isinstance(translation, Translated) else translation.task) in names
        )

    return selects
