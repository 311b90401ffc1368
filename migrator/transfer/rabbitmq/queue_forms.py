"""How a destination queue that is missing is declared: as its workers do, or RabbitMQ refuses them (406).

How a unified app declares its queues is asked of the app itself, in the project's interpreter, once and only if one is
missing; usually its workers have declared it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from migrator.brokers.rabbitmq.queues import FormOf, QueueForm, expected_arguments
from migrator.errors import MigratorError, RefusedError
from migrator.plan.model import Plan
from migrator.wire.message import Side
from migrator.wire.queue_address import QueueAddress
from migrator.workers.probe import ask_worker


def queue_forms(plan: Plan, environ: Mapping[str, str]) -> FormOf:
    """Return what tells how a queue of the plan is declared."""

    @cache
    def of_the_app() -> Mapping[str, Any]:
        found: Mapping[str, Any] = ask_worker(plan, environ=environ)["queues"]
        return found

    def form_of(address: QueueAddress) -> QueueForm:
        queue = address.wire_queue
        if address.side is Side.LEGACY:
            return QueueForm(name=queue, arguments=expected_arguments(address))
        try:
            return QueueForm(name=queue, **of_the_app()[queue])
        except (MigratorError, KeyError) as failure:
            reason = str(failure) if isinstance(failure, MigratorError) else "the app has no such queue"
            raise RefusedError(
                f"unified queue {queue}",
                "is missing, and how its app declares it can't be found out",
                found=reason,
                remedy="start a unified worker, which declares it: `migrator workers start unified`",
            ) from failure

    return form_of
