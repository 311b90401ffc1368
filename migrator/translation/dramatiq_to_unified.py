"""Dramatiq messages as unified Celery messages. Pure: bytes in, bytes out.

Ordinary messages take the fast path (:mod:`migrator.translation.dramatiq_fast_path`), all others the general path here.
It reads them with msgspec and passes the arguments on as the bytes they are, so that every digit stays. What msgspec
rejects (NaN, lone surrogates, unusual options) is read by the decoder that the workers themselves use.

Source: dramatiq/message.py, dramatiq/brokers/redis.py (eta, redis_message_id), middleware/retries.py, age_limit.py,
pipelines.py, group_callbacks.py, callbacks.py, time_limit.py.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from migrator.errors import AdaptationError
from migrator.plan.arguments import FURTHER, adapt, by_position
from migrator.plan.model import Endpoint, Plan, TaskMapping
from migrator.translation.canvas_to_unified import CALLBACK_OPTIONS, GROUP_OPTIONS, callback_as_link, pipeline_as_chain
from migrator.translation.custom_encoder import as_text, load_encoder
from migrator.translation.dramatiq_fast_path import DramatiqFastPath, FastPathTask, fast_path_task, shown
from migrator.translation.result import Translated, Translation, destinations
from migrator.wire.dramatiq_message import Fields, actor_and_id, checked
from migrator.wire.json_codec import (
    EMPTY_EMBED,
    HEADER,
    READING_ERRORS,
    dumps,
    encode_json,
    iso_from_ms,
    loads,
    quoted_iso,
    text_of,
)
from migrator.wire.kombu_envelope import expect
from migrator.wire.message import System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

_NO_EMBED = EMPTY_EMBED[:-1]
#: How long a task may clean up after its soft limit, as in what the rewrite declares; and thirty years.
_GRACE_S, _NO_LIMIT_S = 60, 10**9
#: Options that the translation itself takes care of.
_EXPRESSED = ("pipe_target", "pipe_ignore", *CALLBACK_OPTIONS)


_decode = msgspec.json.Decoder(Fields).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_dict = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnifiedForm:
    mapping: TaskMapping
    destination: QueueAddress
    priority: int
    #: The envelope, with placeholders for whatever differs between messages of this task from one queue.
    template: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unusual:
    """What a message has beyond the known fields."""

    embed: bytes
    #: Options that have no counterpart.
    dropped: tuple[str, ...]


class DramatiqForward:
    """Translates the messages of one legacy Dramatiq endpoint.

    Args:
        plan: The plan.
        endpoint: Where the messages come from.
        priorities: Unified task name to the number on the destination's wire.
        now_ms: The current time.
        new_tag: Returns the id of a new copy.
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
        self._mappings = {mapping.name: mapping for mapping in plan.mappings() if mapping.system is System.DRAMATIQ}
        #: By the wire name of a queue, then by actor.
        self._tasks: dict[str, dict[str, _UnifiedForm]] = {}
        self._encoder = load_encoder(plan, endpoint)
        self.fast_path = DramatiqFastPath(
            self._fast_path_tasks,
            now_ms=now_ms,
            new_tag=new_tag,
            general_path=self.general_path,
        )
        #: Returns a message in the form of its destination, or why it is quarantined; by the fast path if possible.
        self.translate = self.fast_path.translate if self._encoder is None else self.general_path

    def general_path(self, origin: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        """Translate any message, including those that the fast path can translate."""
        try:
            if self._encoder is not None:
                return self._translate_document(origin, copy_id, as_text(raw), self._encoder.decode(raw))
            text = text_of(raw)
            try:
                fields = _decode(raw)
            except (msgspec.MsgspecError, RecursionError):
                return self._translate_document(origin, copy_id, text, loads(text))
            if bytes(fields.message_id)[:1] != b'"':
                return self._translate_document(origin, copy_id, text, loads(text))
            return self._translate_fields(origin, copy_id, text, fields)
        except AdaptationError as error:
            document = self._encoder.decode(raw) if self._encoder else loads(raw)
            identity = str(document.get("message_id", copy_id))
            return Quarantined(QuarantineReason.ARGUMENTS, str(error), document["actor_name"], identity)
        except READING_ERRORS as error:
            reason = QuarantineReason.CONTENT_TYPE if raw[:1] == b"\x80" else QuarantineReason.UNREADABLE
            return Quarantined(reason, str(error), *actor_and_id(raw))

    def _translate_fields(
        self, origin: QueueAddress, copy_id: str, text: str, fields: Fields, unusual: _Unusual | None = None
    ) -> Translation:
        name, identity, options = fields.actor_name, bytes(fields.message_id), fields.options
        id_text = _decode_text(identity) if b"\\" in identity else identity[1:-1].decode()
        tasks = self._tasks.get(origin.wire_queue) or self._tasks_of(origin.wire_queue)
        task = tasks.get(name)
        if task is None:
            return self._not_in_plan(name, id_text)
        # Dramatiq takes the message's own limit first, then the actor's and the broker's, from the first enqueue on.
        end_ms = fields.message_timestamp + (
            options.max_age or task.mapping.max_age_ms or self.endpoint.max_age_ms or math.inf
        )
        expires_ms = None if math.isinf(end_ms) else int(end_ms)
        eta_ms = None if options.eta is None or options.eta <= self.now_ms else int(options.eta)
        if expires_ms is not None and (expires_ms <= self.now_ms or (eta_ms is not None and eta_ms >= expires_ms)):
            return Quarantined(
                QuarantineReason.EXPIRED, f"its age limit ended at {iso_from_ms(expires_ms)}", name, id_text
            )
        args, kwargs = _arguments(task.mapping, bytes(fields.args), bytes(fields.kwargs))
        tag = self.new_tag()
        tag_bytes = tag.encode()
        payload = task.template % (
            b2a_base64(b"[%b,%b,%b]" % (args, kwargs, unusual.embed if unusual else _NO_EMBED), newline=False),
            identity,
            identity,
            b"null" if eta_ms is None else quoted_iso(eta_ms),
            b"null" if expires_ms is None else quoted_iso(expires_ms),
            options.retries or 0,
            _time_limits(options.time_limit),
            shown(args),
            shown(kwargs),
            encode_json(copy_id),
            tag_bytes,
            encode_json(text),
            identity,
            tag_bytes,
        )
        dropped = unusual.dropped if unusual else ()
        return Translated(payload, task.destination, id_text, name, copy_id, tag, task.priority, eta_ms, dropped)

    def _tasks_of(self, wire_queue: str) -> dict[str, _UnifiedForm]:
        tasks = self._tasks[wire_queue] = {
            name: _UnifiedForm(
                mapping=mapping,
                destination=self.destinations[mapping.unified],
                priority=self.priorities[mapping.unified],
                template=_envelope(
                    mapping,
                    self.priorities[mapping.unified],
                    wire_queue,
                    self.destinations[mapping.unified].queue,
                ),
            )
            for name, mapping in self._mappings.items()
        }
        return tasks

    def _fast_path_tasks(self, wire_queue: str) -> dict[str, FastPathTask]:
        return {
            name: fast_path_task(task.mapping, task.template, task.destination, task.priority, self.endpoint.max_age_ms)
            for name, task in (self._tasks.get(wire_queue) or self._tasks_of(wire_queue)).items()
        }

    def _not_in_plan(self, name: str, id_text: str) -> Quarantined:
        retired = self.plan.retirement(System.DRAMATIQ, name)
        if retired is not None:
            return Quarantined(QuarantineReason.RETIRED_TASK, retired.reason, name, id_text)
        return Quarantined(QuarantineReason.UNKNOWN_TASK, "the actor is not in the plan", name, id_text)

    def _embed(self, document: dict[str, Any], extra: dict[str, Any]) -> bytes | Quarantined:
        """Return callbacks and pipeline of a message as Celery writes them, or why they can't be expressed."""
        links: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        for option in CALLBACK_OPTIONS:
            if extra.get(option):
                link = callback_as_link(self.plan, option, extra[option], document, priorities=self.priorities)
                if isinstance(link, str):
                    return Quarantined(QuarantineReason.CALLBACK, link)
                links["callbacks" if option == "on_success" else "errbacks"] = [link]
        if extra.get("pipe_target"):
            chain = pipeline_as_chain(self.plan, extra["pipe_target"], self.priorities)
            if isinstance(chain, str):
                return Quarantined(QuarantineReason.PIPELINE, chain)
            links["chain"] = chain
        return dumps(links) if any(links.values()) else _NO_EMBED

    def _translate_document(self, origin: QueueAddress, copy_id: str, text: str, document: Any) -> Translation:
        fields, extra = checked(document)
        name, id_text = fields.actor_name, _decode_text(bytes(fields.message_id))
        if any(option in extra for option in GROUP_OPTIONS):
            return Quarantined(QuarantineReason.GROUP, "belongs to a group with callbacks", name, id_text)
        embed = self._embed(document, extra) if name in self._mappings else _NO_EMBED
        if isinstance(embed, Quarantined):
            return Quarantined(embed.reason, embed.detail, name, id_text)
        dropped = tuple(sorted(key for key, value in extra.items() if value is not None and key not in _EXPRESSED))
        return self._translate_fields(origin, copy_id, text, fields, _Unusual(embed=embed, dropped=dropped))


def _time_limits(limit_ms: float | None) -> bytes:
    """Return the hard and the soft limit of a message in seconds; without its own the task's are valid.

    Both: the task's hard limit would end what the message's soft one allows. Celery has no word for no limit.
    """
    if not limit_ms:
        return b"[null,null]"
    if math.isinf(limit_ms):
        return b"[%d,%d]" % (_NO_LIMIT_S, _NO_LIMIT_S)
    return b"[%b,%b]" % (encode_json(limit_ms / 1000 + _GRACE_S), encode_json(limit_ms / 1000))


def _fits(mapping: TaskMapping, number: int) -> bool:
    return FURTHER in mapping.parameters or number <= len(by_position(mapping.parameters))


def _arguments(mapping: TaskMapping, args: bytes, kwargs: bytes) -> tuple[bytes, bytes]:
    as_they_are = not mapping.operations
    try:
        values, named = _decode_list(args), _decode_dict(kwargs)
    except msgspec.MsgspecError:
        # NaN, Infinity and lone surrogates: Python's json writes them, and nothing else reads them.
        values = [Raw(dumps(value)) for value in expect(loads(args), list)]
        named = {name: Raw(dumps(value)) for name, value in expect(loads(kwargs), dict).items()}
    if as_they_are and not named and _fits(mapping, len(values)):
        return args, kwargs
    new_args, new_kwargs = adapt(mapping, values, named)
    return (args, kwargs) if as_they_are else (encode_json(new_args), encode_json(new_kwargs))


def _envelope(mapping: TaskMapping, priority: int, wire_queue: str, queue: str) -> bytes:
    name, origin, destination = (
        encode_json(text).replace(b"%", b"%%") for text in (mapping.unified, wire_queue, queue)
    )
    return b"".join((
        b'{"body":"%b","content-encoding":"utf-8","content-type":"application/json",',
        b'"headers":{"lang":"py","task":', name, b',"shadow":null,"group":null,"group_index":null,"parent_id":null,',
        b'"origin":"migrator","ignore_result":false,"replaced_task_nesting":0,"stamped_headers":null,"stamps":{},',
        b'"id":%b,"root_id":%b,"eta":%b,"expires":%b,"retries":%d,"timelimit":%b,',
        b'"argsrepr":%b,"kwargsrepr":%b,',
        # The same as migrator.wire.json_codec.mark writes, with placeholders for what differs.
        b'"' + HEADER.encode() + b'":{"v":1,"system":"dramatiq","queue":', origin, b',"id":%b,"tag":"%b","raw":%b}},',
        b'"properties":{"correlation_id":%b,"reply_to":"","delivery_mode":2,',
        b'"delivery_info":{"exchange":"","routing_key":', destination, b'},"priority":', str(priority).encode(),
        b',"body_encoding":"base64","delivery_tag":"%b"}}',
    ))  # fmt: skip
