"""Queues outside of the plan that are left alone on purpose: ``[[leave]]``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from migrator.plan.toml_table import TomlTable

#: What a broker is called: its table in the plan.
BROKERS = ("legacy.dramatiq", "legacy.celery", "unified")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftQueue:
    """Queues whose messages stay where they are, and why."""

    #: The table of the plan that names the server.
    broker: str
    #: As a finding names it; ``*`` stands for anything.
    queue: str
    #: Redis: the database; None for that of the broker.
    database: int | None
    reason: str

    def fits(self, queue: str) -> bool:
        """Tell whether it leaves a queue alone."""
        return fnmatchcase(queue, self.queue)


def read_left_queues(tables: Iterable[TomlTable]) -> tuple[LeftQueue, ...]:
    """Read ``[[leave]]``."""
    found = []
    for table in tables:
        left = LeftQueue(
            broker=table.text("broker"),
            queue=table.text("queue"),
            database=table.integer("database", default=None),
            reason=table.text("reason"),
        )
        if left.broker and left.broker not in BROKERS:
            table.problem("broker", "names no broker of the plan", f"write one of {', '.join(BROKERS)}")
        table.close()
        found.append(left)
    return tuple(found)
