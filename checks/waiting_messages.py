"""Every message that waits in the live brokers, held against the unified tasks' signatures. Only reads, and only Redis.

A look into RabbitMQ takes each message and gives it back, which marks it as delivered once more; so it is left alone
here, and ``--capture`` reads it when asked to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Signature

from migrator.brokers.connect import connect, endpoint_url
from migrator.errors import AdaptationError, MigratorError
from migrator.plan.arguments import adapt
from migrator.plan.model import Endpoint, Plan
from migrator.wire.message import Message, State, System

#: Examples that are kept of the calls that don't fit one task.
EXAMPLES = 10
_WAITING = frozenset({State.READY, State.DELAYED, State.CLAIMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The calls that wait, by legacy task, each as the unified task would be called."""

    #: By system and legacy name: how many messages there are.
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: By system and legacy name: distinct forms of a call, as number of positions and names, with a message's id.
    forms: Mapping[tuple[str, str], Mapping[tuple[int, tuple[str, ...]], str]] = field(default_factory=dict)
    #: By system and legacy name: messages that the plan's adapter can't carry over.
    unfit: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    #: What was read and what was not, a sentence for each broker.
    told: Sequence[str] = ()

    def unbound(self, system: str, name: str, signature: Signature) -> list[str]:
        """Return what does not bind of a legacy task's messages, by example."""
        found = list(self.unfit.get((system, name), ()))
        for (positions, names), example in self.forms.get((system, name), {}).items():
            try:
                signature.bind(*range(positions), **dict.fromkeys(names))
            except TypeError as error:
                found.append(f"waiting message {example}: {error}")
        return found[:EXAMPLES]


def look(plan: Plan, environ: Mapping[str, str]) -> Waiting:
    """Read every waiting message of the legacy queues whose broker answers."""
    counts: Counter[tuple[str, str]] = Counter()
    forms: dict[tuple[str, str], dict[tuple[int, tuple[str, ...]], str]] = {}
    unfit: dict[tuple[str, str], list[str]] = {}
    told = []
    for endpoint in plan.legacy:
        before = counts.total()
        try:
            for message in _messages(endpoint, environ):
                _take(plan, message, counts, forms, unfit)
        except MigratorError as error:
            told.append(f"{endpoint.system.value}: waiting messages were not looked at: {error}")
            continue
        number = counts.total() - before
        told.append(f"{endpoint.system.value}: {number:,} waiting messages of mapped tasks were bound to the new ones")
    return Waiting(counts=counts, forms=forms, unfit=unfit, told=tuple(told))


def _messages(endpoint: Endpoint, environ: Mapping[str, str]) -> Iterator[Message]:
    if endpoint_url(endpoint, environ).partition("://")[0] in ("amqp", "amqps"):
        raise MigratorError("RabbitMQ", "is only read when asked to", remedy="migrator parity-check --capture")
    broker = connect(endpoint, environ)
    try:
        yield from (message for message in broker.scan() if message.state in _WAITING)
    finally:
        broker.close()


def _take(
    plan: Plan,
    message: Message,
    counts: Counter[tuple[str, str]],
    forms: dict[tuple[str, str], dict[tuple[int, tuple[str, ...]], str]],
    unfit: dict[tuple[str, str], list[str]],
) -> None:
    mapping = plan.mapping(System(message.system), message.task)
    if mapping is None:
        return
    name = (message.system.value, message.task)
    counts[name] += 1
    try:
        args, kwargs = adapt(mapping, message.args, message.kwargs)
    except AdaptationError as error:
        examples = unfit.setdefault(name, [])
        if len(examples) < EXAMPLES:
            examples.append(f"waiting message {message.id}: {error.what}")
        return
    form = (len(args), tuple(sorted(kwargs)))
    forms.setdefault(name, {}).setdefault(form, message.id)
