"""Import Dramatiq's dead letters (``.XQ``) into the unified app, as rows that can be inspected, retried and resolved.

Three steps, each of which may be repeated: write them to a file in the format of ``dumpdata``, load it with the
project's own ``manage.py taskfailures import`` (each row once, by its key), then delete exactly the exported messages
from the broker. What the plan can't translate becomes a row that can't be replayed, with the reason.

Source: dramatiq/brokers/redis/dispatch.lua and rabbitmq.py (both forget dead letters after a week).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migrator.brokers.connect import connect
from migrator.brokers.rabbitmq.broker import RabbitmqBroker
from migrator.brokers.rabbitmq.codec import body_of
from migrator.brokers.rabbitmq.queues import dead_queue
from migrator.brokers.rabbitmq.server import count
from migrator.brokers.redis.keys import dramatiq_list
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.transfer.scope import planned_names
from migrator.translation.result import Translator
from migrator.translation.translators import forward
from migrator.wire.json_codec import READING_ERRORS, dumps, loads, text_of
from migrator.wire.kombu_envelope import body_bytes, read_envelope
from migrator.wire.message import Message, Side, State, System
from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress

_KEYS = uuid.UUID("4f8e6f1d-0a3b-4f0e-8a55-0b6c1f6d2a77")
_TEXT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """What was written to the file."""

    file: Path
    messages: tuple[Message, ...]


def export_dead_letters(plan: Plan, *, environ: Mapping[str, str], file: Path) -> DeadLetters:
    """Write the dead letters of the legacy Dramatiq to ``file``, without those of tasks that stay; nothing is deleted.

    Raises:
        UnreachableError: The broker does not answer.
    """
    endpoint = plan.endpoint(System.DRAMATIQ)
    found: tuple[Message, ...] = ()
    rows: list[dict[str, Any]] = []
    if endpoint is not None:
        with closing(connect(endpoint, environ)) as broker:
            found = tuple(message for message in broker.scan() if message.state is State.DEAD)
        if plan.scope:
            known = planned_names(plan, endpoint.side, endpoint.system)
            found = tuple(message for message in found if message.task in known)
        rows = list(_rows(plan, endpoint, found, endpoint_url(plan.unified, environ)))
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(dumps(rows))
    draft.replace(file)
    return DeadLetters(file=file, messages=found)


def delete_dead_letters(plan: Plan, messages: Iterable[Message], *, environ: Mapping[str, str]) -> int:
    """Delete exactly these dead letters from the legacy broker; return how many were still there.

    Raises:
        UnreachableError: The broker does not answer.
    """
    endpoint = plan.endpoint(System.DRAMATIQ)
    if endpoint is None:
        return 0
    with closing(connect(endpoint, environ)) as broker:
        if isinstance(broker, RabbitmqBroker):
            return _delete_on_rabbitmq(broker, endpoint, Counter(message.raw for message in messages))
        server: Any = broker
        return _delete_on_redis(server.server, endpoint, messages)


def _rows(plan: Plan, endpoint: Endpoint, found: Iterable[Message], unified_url: str) -> Iterator[dict[str, Any]]:
    # Age limits no longer apply to dead letters, so nothing counts as expired.
    translate = forward(plan, replace(endpoint, max_age_ms=None), unified_url=unified_url, now_ms=0)
    seen: set[str] = set()
    for message in found:
        key = str(uuid.uuid5(_KEYS, f"{message.queue} {message.copy_id} {message.raw!r}"))
        if key not in seen:
            seen.add(key)
            yield {
                "model": f"{plan.project.app_label}.taskfailure",
                "pk": None,
                "fields": _fields(translate, message, key),
            }


def _fields(translate: Translator, message: Message, key: str) -> dict[str, Any]:
    address = QueueAddress(side=Side.LEGACY, system=System.DRAMATIQ, queue=message.queue)
    translation = translate(address, message.copy_id, message.raw)
    now = datetime.now(UTC).isoformat()
    fields: dict[str, Any] = {
        "key": key,
        "task_id": message.id[:_TEXT],
        "queue": message.queue[:_TEXT],
        "attempts": message.attempts + 1,
        "failed_at": (message.enqueued_at or datetime.now(UTC)).isoformat(),
        "created_at": now,
        "status": "open",
        **_failure(message),
    }
    if isinstance(translation, Quarantined):
        args, kwargs = dumps(list(message.args)).decode(), dumps(dict(message.kwargs)).decode()
        fields |= {"task_name": message.task[:_TEXT] or "unreadable", "args": args, "kwargs": kwargs}
        note = f"legacy Dramatiq; not translated: {translation.reason.value}, {translation.detail}"
        return fields | {"replayable": False, "note": note, "raw": dumps(message.raw.decode(errors="replace")).decode()}
    envelope = read_envelope(translation.payload, text_of(translation.payload))
    values, named, embed = loads(body_bytes(envelope))
    note = f"legacy Dramatiq actor {message.task}"
    if any(embed.values()):
        note += "; its callbacks or pipeline are not sent again"
    task = loads(bytes(envelope.headers["task"]))
    # The queue that a replay sends it to.
    fields["queue"] = translation.address.queue
    return fields | {"task_name": task, "args": dumps(values).decode(), "kwargs": dumps(named).decode(), "note": note}


def _failure(message: Message) -> dict[str, str]:
    """Return what Dramatiq recorded about the last failure."""
    try:
        text = loads(text_of(message.raw))["options"].get("traceback")
    except READING_ERRORS:
        text = None
    if not isinstance(text, str) or not text.strip():
        return {"exception": "given up by Dramatiq", "traceback": ""}
    return {"exception": text.strip().splitlines()[-1], "traceback": text}


def _delete_on_redis(server: Any, endpoint: Endpoint, messages: Iterable[Message]) -> int:
    deleted = 0
    with server.translated():
        for message in messages:
            dead = f"{dramatiq_list(endpoint, message.queue)}.XQ"
            copy = message.copy_id.encode(errors="surrogateescape")
            with server.client.pipeline(transaction=True) as steps:
                steps.hdel(f"{dead}.msgs", copy)
                steps.zrem(dead, copy)
                deleted += int(steps.execute()[0])
    return deleted


def _delete_on_rabbitmq(broker: RabbitmqBroker, endpoint: Endpoint, wanted: Counter[bytes]) -> int:
    """Fetch everything and acknowledge what is wanted; the rest is requeued in place when the channel closes."""
    deleted = 0
    with broker.server.connected() as connection:
        for queue in map(dead_queue, endpoint.queues):
            counted, channel = count(connection, queue), connection.channel()
            for _ in range(counted.ready if counted else 0):
                message = channel.basic_get(queue)
                if message is None:
                    break
                if wanted[body_of(message)]:
                    wanted[body_of(message)] -= 1
                    channel.basic_ack(message.delivery_tag)
                    deleted += 1
            channel.close()
    return deleted
