"""Bind every message that waits in the live brokers to the unified tasks' signatures. Only reads, and only Redis.

Browsing RabbitMQ takes each message and returns it, which marks it as redelivered; so RabbitMQ is skipped here, and
``--capture`` reads it on request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Signature

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.errors import AdaptationError, MigratorError
from migrator.plan.arguments import adapt
from migrator.plan.model import Endpoint, Plan
from migrator.wire.message import Message, State, System

#: Examples per task of calls that don't bind.
EXAMPLES = 10
_WAITING = frozenset({State.READY, State.DELAYED, State.CLAIMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The waiting calls by legacy task, each with the arguments of the unified call."""

    #: By system and legacy name: the number of messages.
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: By system and legacy name: distinct shapes of a call (number of positionals, keywords), with a message id.
    shapes: Mapping[tuple[str, str], Mapping[tuple[int, tuple[str, ...]], str]] = field(default_factory=dict)
    #: By system and legacy name: messages whose arguments the plan's adapter can't convert.
    not_adaptable: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    #: What was read and what was not, one sentence per broker.
    summary: Sequence[str] = ()

    def unbound(self, system: str, name: str, signature: Signature) -> list[str]:
        """Return examples of a legacy task's messages that don't bind to the signature."""
        found = list(self.not_adaptable.get((system, name), ()))
        for (positions, names), example in self.shapes.get((system, name), {}).items():
            try:
                signature.bind(*range(positions), **dict.fromkeys(names))
            except TypeError as error:
                found.append(f"waiting message {example}: {error}")
        return found[:EXAMPLES]


def read_waiting(plan: Plan, environ: Mapping[str, str]) -> Waiting:
    """Read every waiting message of the legacy queues whose broker can be reached."""
    counts: Counter[tuple[str, str]] = Counter()
    shapes: dict[tuple[str, str], dict[tuple[int, tuple[str, ...]], str]] = {}
    not_adaptable: dict[tuple[str, str], list[str]] = {}
    summary = []
    for endpoint in plan.legacy:
        before = counts.total()
        try:
            for message in _messages(endpoint, environ):
                _add(plan, message, counts, shapes, not_adaptable)
        except MigratorError as error:
            summary.append(f"{endpoint.system.value}: waiting messages were not read: {error}")
            continue
        number = counts.total() - before
        summary.append(
            f"{endpoint.system.value}: {number:,} waiting messages were bound to the unified tasks' signatures"
        )
    return Waiting(counts=counts, shapes=shapes, not_adaptable=not_adaptable, summary=tuple(summary))


def _messages(endpoint: Endpoint, environ: Mapping[str, str]) -> Iterator[Message]:
    if is_on_rabbitmq(endpoint, environ):
        raise MigratorError("RabbitMQ", "is only read on request", remedy="migrator parity-check --capture")
    broker = connect(endpoint, environ)
    try:
        yield from (message for message in broker.scan() if message.state in _WAITING)
    finally:
        broker.close()


def _add(
    plan: Plan,
    message: Message,
    counts: Counter[tuple[str, str]],
    shapes: dict[tuple[str, str], dict[tuple[int, tuple[str, ...]], str]],
    not_adaptable: dict[tuple[str, str], list[str]],
) -> None:
    mapping = plan.mapping(System(message.system), message.task)
    if mapping is None:
        return
    name = (message.system.value, message.task)
    counts[name] += 1
    try:
        args, kwargs = adapt(mapping, message.args, message.kwargs)
    except AdaptationError as error:
        examples = not_adaptable.setdefault(name, [])
        if len(examples) < EXAMPLES:
            examples.append(f"waiting message {message.id}: {error.what}")
        return
    shape = (len(args), tuple(sorted(kwargs)))
    shapes.setdefault(name, {}).setdefault(shape, message.id)
