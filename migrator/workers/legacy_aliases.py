"""Enable and disable legacy aliases: unified workers run what arrives late under legacy Celery names.

The aliases are data on the unified broker, read by :mod:`migrator.tasks.legacy_aliases`: which legacy queues are
consumed, and what each legacy name and its arguments become. A running worker is told to consume by a control command;
one that starts later reads the data. Redis only, and only where the legacy queues are in the same database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from migrator.brokers.redis.heartbeats import connection
from migrator.errors import UnreachableError
from migrator.plan.arguments import by_position
from migrator.plan.model import Endpoint, OperationKind, Plan, TaskMapping
from migrator.plan.placeholders import endpoint_url
from migrator.plan.processes import Process
from migrator.wire.broker_url import BrokerKind, read_broker_url
from migrator.wire.message import System
from migrator.workers import celery_control, drain

#: The same names as in ``migrator/tasks/legacy_aliases.py``, where each is explained.
ALIAS_QUEUES = "tqm:alias:queues"
ALIAS_TABLE = "tqm:alias:table"
ALIAS_HITS = "tqm:alias:hits"
ALIAS_LAST = "tqm:alias:last"
#: All keys of the aliases, counters included.
KEYS = (ALIAS_QUEUES, ALIAS_TABLE, ALIAS_HITS, ALIAS_LAST)
REPLY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasHit:
    """How often a message with a legacy name arrived late."""

    name: str
    count: int
    #: Seconds since the epoch.
    last_at: float


def legacy_celery(plan: Plan) -> Endpoint | None:
    """Return the endpoint whose queues the aliases consume."""
    return plan.endpoint(System.CELERY)


def queues(plan: Plan) -> tuple[str, ...]:
    """Return the legacy queues that are not unified queues anyway."""
    endpoint = legacy_celery(plan)
    return tuple(name for name in endpoint.queues if name not in plan.unified.queues) if endpoint else ()


def aliases(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what each legacy Celery name becomes; names that stay the same need no alias."""
    parameters = {task.name: task.parameters for task in plan.tasks}
    return {
        mapping.name: {
            "name": mapping.unified,
            "queue": plan.queue_of(mapping.unified),
            "parameters": mapping.parameters,
            "arguments": list(_arguments(mapping)),
            "takes": by_position(parameters[mapping.unified]),
        }
        for mapping in plan.mappings()
        if mapping.system is System.CELERY and mapping.name != mapping.unified
    }


def obstacles(plan: Plan, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield why legacy aliases can't be enabled with the plan's brokers, and what was found."""
    legacy = legacy_celery(plan)
    if legacy is None:
        yield "there is no legacy Celery whose messages could arrive late", "no [legacy.celery]"
        return
    there, here = (read_broker_url(endpoint_url(endpoint, environ)) for endpoint in (legacy, plan.unified))
    if here.kind is not BrokerKind.REDIS:
        yield "the unified broker is not Redis, where names and counts are stored", here.scheme
    elif there.address != here.address:
        yield "unified workers can't consume a queue on another broker", f"{there.scheme} and {here.scheme}, two URLs"
    steps = (
        (legacy.priority_separator, legacy.priority_steps),
        (
            plan.unified.priority_separator,
            plan.unified.priority_steps,
        ),
    )
    if legacy.key_prefix:
        yield "unified workers don't read keys with the legacy prefix", repr(legacy.key_prefix)
    if steps[0] != steps[1]:
        yield "unified workers read other priority lists than legacy producers write to", f"{steps[0]} and {steps[1]}"


def enable(plan: Plan, environ: Mapping[str, str]) -> None:
    """Write the table first, then the queues: whatever reads the queues finds the table."""
    with connection(plan.unified, environ) as client:
        if client is not None:
            with client.pipeline(transaction=True) as pipe:
                pipe.delete(ALIAS_TABLE, ALIAS_QUEUES)
                table: Any = {name: orjson.dumps(entry) for name, entry in aliases(plan).items()}
                if table:
                    pipe.hset(ALIAS_TABLE, mapping=table)
                pipe.sadd(ALIAS_QUEUES, *queues(plan))
                pipe.execute()


def forget_queues(plan: Plan, environ: Mapping[str, str]) -> None:
    """Prevent workers that start from now on from consuming legacy queues."""
    _delete(plan, environ, ALIAS_QUEUES)


def forget_table(plan: Plan, environ: Mapping[str, str]) -> None:
    """Delete the table; only when no worker consumes a legacy queue any more. The counters stay."""
    _delete(plan, environ, ALIAS_TABLE)


def is_enabled(plan: Plan, environ: Mapping[str, str]) -> bool:
    """Return whether workers that start now would consume the legacy queues."""
    with connection(plan.unified, environ) as client:
        return bool(client is not None and client.exists(ALIAS_QUEUES))


def hits(plan: Plan, environ: Mapping[str, str]) -> tuple[AliasHit, ...]:
    """Return the counted hits, the latest first; empty if the broker is not Redis."""
    with connection(plan.unified, environ) as client:
        if client is None:
            return ()
        counts: Any = client.hgetall(ALIAS_HITS)
        last: Any = client.hgetall(ALIAS_LAST)
    found = (
        AliasHit(name=name.decode(), count=int(count), last_at=int(last.get(name, 0)) / 1000)
        for name, count in counts.items()
    )
    return tuple(sorted(found, key=lambda hit: -hit.last_at))


def consume(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Tell a running worker to consume the legacy queues as well; returns them."""
    names = queues(plan)
    drain.resume(plan, process, names, environ=environ)
    return names


def stop_consuming(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Tell a running worker to stop consuming the legacy queues, and wait until it has; no-op if it does not run.

    Raises:
        UnreachableError: It does not answer.
    """
    nodes = drain.node_names(plan, process, environ=environ)
    if not nodes:
        return ()
    with celery_control.control(plan.unified, environ) as app:
        return tuple(sorted({name for node in nodes for name in _stop_consuming(plan, app, node)}))


def _stop_consuming(plan: Plan, app: celery_control.Control, node: str) -> set[str]:
    consumed = set(_consumed(app, node)) & set(queues(plan))
    for name in sorted(consumed):
        celery_control.ask_until_answered(app, node, "cancel_consumer", within_s=REPLY_TIMEOUT_S, queue=name)
    # The reply to a cancellation comes before it has taken effect.
    for _ in range(50):
        if not set(_consumed(app, node)) & consumed:
            return consumed
    raise UnreachableError(
        f"worker {node}", "still consumes legacy queues", found=", ".join(sorted(consumed)), remedy="see its log"
    )


def missing(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the legacy queues that a running worker does not consume; all of them if it does not run."""
    nodes = drain.node_names(plan, process, environ=environ)
    if not nodes:
        return queues(plan)
    with celery_control.control(plan.unified, environ) as app:
        consumed = [_consumed(app, node) for node in nodes]
    return tuple(name for name in queues(plan) if not all(name in each for each in consumed))


def _consumed(app: celery_control.Control, node: str) -> tuple[str, ...]:
    found = celery_control.ask_until_answered(app, node, "active_queues", within_s=REPLY_TIMEOUT_S)
    if found is None:
        what = f"did not answer active_queues within {REPLY_TIMEOUT_S:g} s"
        raise UnreachableError(f"worker {node}", what, remedy="see its log")
    return tuple(queue["name"] for queue in found)


def _arguments(mapping: TaskMapping) -> Iterator[tuple[str, str, Any]]:
    for operation in mapping.operations:
        target = operation.value if operation.kind is OperationKind.CONSTANT else operation.to
        yield operation.kind.value, operation.name, target


def _delete(plan: Plan, environ: Mapping[str, str], *keys: str) -> None:
    with connection(plan.unified, environ) as client:
        if client is not None:
            client.unlink(*keys)
