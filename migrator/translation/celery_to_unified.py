"""Messages of the legacy Celery app as messages of the unified one. Pure: bytes in, bytes out.

Ordinary messages take the fast path (:mod:`migrator.translation.celery_fast_path`), all others the general path here.
The body's bytes stay unchanged unless the plan changes arguments or the message has callbacks, a chain or a chord;
unknown headers are passed on as they are. Protocol 1 messages become protocol 2.

Source: celery/app/amqp.py (as_task_v2), kombu/transport/virtual/base.py (envelope).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable

from msgspec import Raw

from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt
from migrator.plan.model import Endpoint, Plan, TaskMapping
from migrator.translation.built_in_tasks import BUILT_IN, NewCall, built_in_call
from migrator.translation.canvas_to_unified import renamed_embed, to_unified
from migrator.translation.celery_fast_path import CeleryFastPath
from migrator.translation.renaming import Renaming
from migrator.translation.result import Translated, Translation, destinations
from migrator.wire.json_codec import (
    EMPTY_EMBED,
    EMPTY_EMBED_SPACED,
    HEADER,
    READING_ERRORS,
    dumps,
    encode_json,
    iso_from_ms,
    loads,
    mark,
    text_of,
)
from migrator.wire.kombu_envelope import (
    Envelope,
    ForeignBodyError,
    as_protocol_2,
    body_bytes,
    body_parts,
    copy_id_of,
    expect,
    name_and_id,
    priority_of,
    read_envelope,
    require_json,
    text_header,
    time_ms,
)
from migrator.wire.message import System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress


class CeleryForward:
    """Translates the messages of the legacy Celery endpoint.

    Args:
        plan: The plan.
        endpoint: Where the messages come from.
        priorities: Unified task name to the number on the destination's wire.
        now_ms: The current time.
        new_tag: Returns the ``delivery_tag`` of a new copy.
    """

    def __init__(
        self,
        plan: Plan,
        endpoint: Endpoint,
        *,
        priorities: dict[str, int],
        now_ms: int,
        new_tag: Callable[[], str],
    ) -> None:
        self.plan = plan
        self.endpoint = endpoint
        self.now_ms = now_ms
        self.priorities = priorities
        self.new_tag = new_tag
        self.destinations = destinations(plan)
        self._first = QueueAddress(plan.unified.side, System.CELERY, plan.unified.queues[0])
        self._renaming = to_unified(plan, priorities)
        self._mappings = {m.name: m for m in plan.mappings() if m.system is System.CELERY}
        self.fast_path = CeleryFastPath(
            self._mappings,
            priorities=priorities,
            destinations=self.destinations,
            now_ms=now_ms,
            new_tag=new_tag,
            general_path=self.general_path,
        )
        #: Returns a message in the form of its destination, or why it is quarantined; by the fast path if possible.
        self.translate = self.fast_path.translate

    def general_path(self, origin: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        """Translate any message, including those that the fast path can translate."""
        try:
            text = text_of(raw)
            envelope = read_envelope(raw, text)
            if "task" not in envelope.headers:
                envelope = as_protocol_2(envelope)
            return self._translate_envelope(origin, copy_id or copy_id_of(envelope, raw), text, envelope)
        except ForeignBodyError as error:
            return Quarantined(QuarantineReason.CONTENT_TYPE, str(error), *name_and_id(raw))
        except AdaptationError as error:
            return Quarantined(QuarantineReason.ARGUMENTS, str(error), *name_and_id(raw))
        except READING_ERRORS as error:
            return Quarantined(QuarantineReason.UNREADABLE, str(error), *name_and_id(raw))

    def _translate_envelope(self, origin: QueueAddress, copy_id: str, text: str, envelope: Envelope) -> Translation:
        headers = envelope.headers
        name, id_text = text_header(headers, "task"), text_header(headers, "id")
        mapping = self._mappings.get(name)
        if mapping is None and name not in BUILT_IN:
            return self._not_in_plan(name, id_text)
        eta_ms, expires_ms = time_ms(headers, "eta"), time_ms(headers, "expires")
        if expires_ms is not None and max(eta_ms or 0, self.now_ms) >= expires_ms:
            return Quarantined(QuarantineReason.EXPIRED, f"it expired at {iso_from_ms(expires_ms)}", name, id_text)
        if mapping is not None:
            new = NewCall(task=mapping.unified, mapping=mapping, body=_body(self._renaming, mapping, envelope))
        else:
            new = built_in_call(self._renaming, name, envelope)
            if new.mapping is None and self.plan.scope:
                return self._not_in_plan(name, id_text)
        if isinstance(new.body, Quarantined):
            return Quarantined(new.body.reason, new.body.detail, new.body.task or name, id_text)
        tag, changed = self.new_tag(), new.body
        priority = self.priorities[new.mapping.unified] if new.mapping else priority_of(envelope)
        headers["task"] = Raw(encode_json(new.task))
        headers[HEADER] = Raw(mark("celery", origin.queue, copy_id=copy_id, tag=tag, text=text))
        properties = envelope.properties
        properties["delivery_tag"] = Raw(b'"%b"' % tag.encode())
        destination = self.destinations[new.mapping.unified] if new.mapping else self._first
        properties["delivery_info"] = Raw(encode_json({"exchange": "", "routing_key": destination.queue}))
        properties["priority"] = Raw(b"%d" % priority)
        if changed is not None:
            envelope.body = b2a_base64(changed, newline=False).decode()
            properties["body_encoding"] = Raw(b'"base64"')
            headers.pop("compression", None)
        payload = encode_json(envelope)
        source = new.mapping.name if new.mapping else name
        return Translated(payload, destination, id_text, source, copy_id, tag, priority, eta_ms)

    def _not_in_plan(self, name: str, id_text: str) -> Quarantined:
        retired = self.plan.retirement(System.CELERY, name)
        if retired is not None:
            return Quarantined(QuarantineReason.RETIRED_TASK, retired.reason, name, id_text)
        return Quarantined(QuarantineReason.UNKNOWN_TASK, "the task is not in the plan", name, id_text)


def _body(renaming: Renaming, mapping: TaskMapping, envelope: Envelope) -> bytes | Quarantined | None:
    """Return the new body, None if it stays unchanged, or why the message is quarantined."""
    require_json(envelope)
    body = body_bytes(envelope)
    embedded = not body.endswith((EMPTY_EMBED, EMPTY_EMBED_SPACED))
    text_of(body)
    args, kwargs, embed = body_parts(body)
    new_args, new_kwargs = adapt(mapping, args, kwargs)
    if not embedded:
        if not mapping.operations:
            return None
        return b"[%b,%b,%b" % (encode_json(new_args), encode_json(new_kwargs), EMPTY_EMBED)
    renamed = renamed_embed(renaming, expect(loads(bytes(embed)), dict))
    if isinstance(renamed, str):
        return Quarantined(QuarantineReason.CANVAS, renamed)
    return b"[%b,%b,%b]" % (encode_json(new_args), encode_json(new_kwargs), dumps(renamed))
