"""Priorities by meaning; the number depends on the broker.

Redis serves 0 first and 9 last, RabbitMQ serves 9 first and 0 last.
Source: kombu/transport/redis.py (`_brpop_start` reads the lists of `priority_steps` in ascending order).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Declared on every RabbitMQ queue: without it RabbitMQ ignores priorities.
MAX_PRIORITY = 9

_AMQP_SCHEMES = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq", "qpid"})


class Priority(Enum):
    """How urgent a call is."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    def number(self, broker_url: str) -> int:
        """Return what to write into a message for this broker."""
        return _NUMBERS[self][higher_runs_first(broker_url)]


#: Level -> number where the lower one runs first, number where the higher one does. The former fall into three
#: different lists of Redis with kombu's default steps (0, 3, 6, 9) as well as with ten steps.
_NUMBERS = {
    Priority.HIGH: {False: 0, True: 9},
    Priority.MEDIUM: {False: 5, True: 5},
    Priority.LOW: {False: 9, True: 1},
}


@dataclass(frozen=True)
class TaskPolicy:
    """Priority and number of retries of a task."""

    priority: Priority
    #: Runs after the first one; 0: none.
    max_retries: int


#: By task name; filled by the module that defines the tasks.
POLICIES: dict[str, TaskPolicy] = {}


def higher_runs_first(broker_url: str) -> bool:
    """Say whether this broker serves the higher number first."""
    first = broker_url.split(";", 1)[0]
    return first.partition("://")[0].lower() in _AMQP_SCHEMES


def resolve(priority: Priority | int | None, *, task_name: str, broker_url: str) -> int:
    """Return the number for a message: a number stays, a level is translated, None means the task's own level."""
    if priority is None:
        policy = POLICIES.get(task_name)
        priority = policy.priority if policy else Priority.MEDIUM
    return priority.number(broker_url) if isinstance(priority, Priority) else priority
