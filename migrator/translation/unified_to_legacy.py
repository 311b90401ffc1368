"""Unified messages in the form of the legacy system that each belongs to. Pure: bytes in, bytes out.

Three cases: a message that we moved and nobody changed goes back byte for byte; one that Celery retried keeps its
legacy identity and takes the new arguments, attempts and time; a native unified one takes the plan's primary mapping in
reverse. What no legacy call can express is quarantined.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt, restore
from migrator.plan.model import Plan, TaskMapping
from migrator.translation.canvas_to_legacy import embed_as_pipeline, embed_for_celery
from migrator.translation.canvas_to_unified import CALLBACK_OPTIONS
from migrator.translation.custom_encoder import from_text, load_encoder
from migrator.translation.result import Translated, Translation, ledger_entry
from migrator.translation.unified_to_celery import changed_celery, native_celery
from migrator.wire.dramatiq_message import checked
from migrator.wire.json_codec import HEADER, READING_ERRORS, UnreadableError, dumps, iso_from_ms, loads, text_of
from migrator.wire.kombu_envelope import (
    Envelope,
    ForeignBodyError,
    body_bytes,
    copy_id_of,
    expect,
    name_and_id,
    read_envelope,
    require_json,
    text_header,
    time_ms,
)
from migrator.wire.message import Side, System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress


class OriginHeader(msgspec.Struct, gc=False):
    """Our header on a moved message; see :mod:`migrator.wire.json_codec`."""

    v: int
    system: System
    queue: str
    id: str
    tag: str
    raw: str


class _MarkedHeaders(msgspec.Struct, gc=False):
    task: str
    id: str
    mark: OriginHeader = msgspec.field(name="x-tqm")


class _Tagged(msgspec.Struct, gc=False):
    delivery_tag: str


class _Marked(msgspec.Struct, gc=False):
    headers: _MarkedHeaders
    properties: _Tagged


class _Ranked(msgspec.Struct, gc=False):
    priority: int | None = None


class _Plain(msgspec.Struct, gc=False):
    properties: _Ranked


_decode_marked = msgspec.json.Decoder(_Marked).decode
_decode_plain = msgspec.json.Decoder(_Plain).decode


class Backward:
    """Translates the messages of the unified endpoint.

    Args:
        plan: The plan.
        now_ms: The current time.
        new_tag: Returns the id of a new copy.
    """

    def __init__(self, plan: Plan, *, now_ms: int, new_tag: Callable[[], str]) -> None:
        self.plan = plan
        self.now_ms = now_ms
        self.new_tag = new_tag
        legacy = plan.endpoint(System.DRAMATIQ)
        self._encoder = load_encoder(plan, legacy) if legacy else None
        self._addresses = {
            (endpoint.system, wire): QueueAddress(Side.LEGACY, endpoint.system, queue, wire != queue)
            for endpoint in plan.legacy
            for queue in endpoint.queues
            for wire in ((queue, f"{queue}.DQ") if endpoint.system is System.DRAMATIQ else (queue,))
        }

    def translate(self, origin: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        """Return the message in the form of its legacy system, or why it is quarantined."""
        try:
            marked = _marked(raw)
            return self._native(raw) if marked is None else self._moved_forward(marked, raw)
        except ForeignBodyError as error:
            return Quarantined(QuarantineReason.CONTENT_TYPE, str(error), *name_and_id(raw))
        except AdaptationError as error:
            return Quarantined(QuarantineReason.NO_LEGACY_FORM, str(error), *name_and_id(raw))
        except READING_ERRORS as error:
            return Quarantined(QuarantineReason.UNREADABLE, str(error), *name_and_id(raw))

    def _moved_forward(self, marked: _Marked, raw: bytes) -> Translation:
        mark, task = marked.headers.mark, marked.headers.task
        address = self._addresses.get((mark.system, mark.queue))
        tag = marked.properties.delivery_tag
        if mark.v != 1 or address is None:
            detail = f"it came from {mark.system.value}:{mark.queue}, which is not in the plan"
            return Quarantined(QuarantineReason.NO_LEGACY_FORM, detail, task, marked.headers.id)
        if mark.tag == tag:
            original = from_text(mark.raw)
            priority = _priority_of(original) if mark.system is System.CELERY else 0
            return Translated(
                original,
                address,
                marked.headers.id,
                task,
                tag,
                mark.id,
                priority,
                forget=ledger_entry(address, mark.id),
            )
        envelope = read_envelope(raw, text_of(raw))
        if mark.system is System.CELERY:
            return self._retried_celery(address, mark, envelope)
        return self._retried_dramatiq(address, mark, envelope)

    def _retried_celery(self, address: QueueAddress, mark: OriginHeader, envelope: Envelope) -> Translation:
        original = read_envelope(mark.raw.encode(), mark.raw)
        mapping = self._mapping_of(System.CELERY, text_header(original.headers, "task"), envelope)
        tag = self.new_tag()
        return changed_celery(self.plan, mapping, address, original=original, envelope=envelope, tag=tag)

    def _retried_dramatiq(self, address: QueueAddress, mark: OriginHeader, envelope: Envelope) -> Translation:
        document = self._encoder.decode(from_text(mark.raw)) if self._encoder else loads(mark.raw)
        document = {"message_id": text_header(envelope.headers, "id"), "message_timestamp": self.now_ms, **document}
        checked(document)
        mapping = self._mapping_of(System.DRAMATIQ, document["actor_name"], envelope)
        args, kwargs, embed = _call(envelope)
        options = {**document["options"]}
        if any(embed.values()) and not any(options.get(option) for option in ("pipe_target", *CALLBACK_OPTIONS)):
            return Quarantined(
                QuarantineReason.CANVAS, "callbacks were added since", mapping.unified, document["message_id"]
            )
        before = adapt(mapping, document["args"], document["kwargs"])
        if [list(before[0]), before[1]] != [args, kwargs]:
            args, kwargs = self._legacy_call(mapping, args, kwargs)
        else:
            args, kwargs = document["args"], document["kwargs"]
        message = {**document, "args": args, "kwargs": kwargs}
        return self._dramatiq(address.queue, message, options, envelope)

    def _native(self, raw: bytes) -> Translation:
        envelope = read_envelope(raw, text_of(raw))
        name, identity = text_header(envelope.headers, "task"), text_header(envelope.headers, "id")
        mapping = self.plan.primary(name)
        if mapping is None:
            if self.plan.task(name) is None:
                return Quarantined(QuarantineReason.UNKNOWN_TASK, "the task is not in the plan", name, identity)
            return Quarantined(QuarantineReason.NO_LEGACY_FORM, "the task has no legacy counterpart", name, identity)
        expires_ms = time_ms(envelope.headers, "expires")
        if expires_ms is not None and expires_ms <= self.now_ms:
            return Quarantined(QuarantineReason.EXPIRED, f"it expired at {iso_from_ms(expires_ms)}", name, identity)
        endpoint = self.plan.endpoint(mapping.system)
        if endpoint is None:
            return Quarantined(
                QuarantineReason.NO_LEGACY_FORM, f"the plan has no legacy {mapping.system.value}", name, identity
            )
        args, kwargs, embed = _call(envelope)
        address = QueueAddress(Side.LEGACY, mapping.system, mapping.queue or endpoint.queues[0])
        canvas = self._legacy_canvas(mapping.system, address.queue, embed) if any(embed.values()) else {}
        if isinstance(canvas, str):
            return Quarantined(QuarantineReason.CANVAS, canvas, name, identity)
        if mapping.system is System.CELERY:
            changes = bool(mapping.operations) or mapping.result_last
            if not changes and not canvas:
                return native_celery(mapping, address, envelope, None, self.new_tag())
            call = restore(mapping, self._parameters(mapping), args, kwargs) if changes else (args, kwargs)
            return native_celery(mapping, address, envelope, (*call, canvas), self.new_tag())
        args, kwargs = self._legacy_call(mapping, args, kwargs)
        options: dict[str, Any] = {} if expires_ms is None else {"max_age": expires_ms - self.now_ms}
        options |= {"pipe_target": canvas} if canvas else {}
        message = {
            "queue_name": "",
            "actor_name": mapping.name,
            "args": args,
            "kwargs": kwargs,
            "options": {},
            "message_id": identity,
            "message_timestamp": self.now_ms,
        }
        return self._dramatiq(address.queue, message, options, envelope)

    def _legacy_canvas(self, system: System, queue: str, embed: dict[str, Any]) -> dict[str, Any] | str:
        """Return the canvas of a native message in the form of its legacy system, or why it can't be expressed."""
        if system is System.CELERY:
            return embed_for_celery(self.plan, embed)
        target = embed_as_pipeline(self.plan, embed, queue=queue, now_ms=self.now_ms)
        rich = "Dramatiq's JSON has no dates, decimals, UUIDs and bytes"
        return rich if not isinstance(target, str) and _has_rich_types(target, 0) else target

    def _dramatiq(
        self, queue: str, message: dict[str, Any], options: dict[str, Any], envelope: Envelope
    ) -> Translation:
        """Return a Dramatiq message with the attempts and the ETA of ``envelope``."""
        eta_ms = time_ms(envelope.headers, "eta")
        delayed = eta_ms is not None and eta_ms > self.now_ms
        retries = loads(bytes(envelope.headers["retries"])) if "retries" in envelope.headers else 0
        options.pop("eta", None)
        options["redis_message_id"] = str(uuid.uuid4())
        if retries:
            options["retries"] = expect(retries, int)
        if delayed:
            options["eta"] = eta_ms
        address = QueueAddress(Side.LEGACY, System.DRAMATIQ, queue, delayed)
        complete = {**message, "queue_name": address.wire_queue, "options": options}
        payload = self._encoder.encode(complete) if self._encoder else dumps(complete)
        return Translated(
            payload,
            address,
            message["message_id"],
            text_header(envelope.headers, "task"),
            copy_id_of(envelope, payload),
            options["redis_message_id"],
            eta_ms=eta_ms if delayed else None,
        )

    def _mapping_of(self, system: System, name: Any, envelope: Envelope) -> TaskMapping:
        mapping = self.plan.mapping(system, name)
        if mapping is None or mapping.unified != text_header(envelope.headers, "task"):
            raise AdaptationError(f"{system.value}:{name}", "is no longer mapped to this unified task")
        return mapping

    def _legacy_call(
        self, mapping: TaskMapping, args: list[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        new_args, new_kwargs = restore(mapping, self._parameters(mapping), args, kwargs)
        if _has_rich_types([new_args, new_kwargs], 0):
            raise AdaptationError(mapping.name, "Dramatiq's JSON has no dates, decimals, UUIDs and bytes")
        return list(new_args), new_kwargs

    def _parameters(self, mapping: TaskMapping) -> tuple[str, ...]:
        task = self.plan.task(mapping.unified)
        return task.parameters if task else ()


def _marked(raw: bytes) -> _Marked | None:
    """Return what we need of a message that we moved forward; None for a native one."""
    try:
        return _decode_marked(raw)
    except (msgspec.MsgspecError, RecursionError):
        document = expect(loads(text_of(raw)), dict)
        if HEADER not in expect(document.get("headers"), dict):
            return None
        return msgspec.convert(document, _Marked)


def _priority_of(original: bytes) -> int:
    try:
        return _decode_plain(original).properties.priority or 0
    except (msgspec.MsgspecError, RecursionError):
        # Its bytes go back whatever they are; only the list that it was in can't be determined.
        number = loads(original)["properties"].get("priority")
        return number if isinstance(number, int) else 0


def _call(envelope: Envelope) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    require_json(envelope)
    body = body_bytes(envelope)
    text_of(body)
    parts = loads(body)
    if not isinstance(parts, list) or len(parts) != 3:
        raise UnreadableError("the body is not [args, kwargs, embed]")
    return expect(parts[0], list), expect(parts[1], dict), expect(parts[2], dict)


def _has_rich_types(value: Any, level: int) -> bool:
    """Say whether kombu wrote a value of a type that JSON does not have (``{"__type__": …}``)."""
    if level > 200:
        return True
    if isinstance(value, dict):
        return "__type__" in value or any(_has_rich_types(item, level + 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_rich_types(item, level + 1) for item in value)
    return False
