"""The fast path for ordinary messages of a legacy Celery app: as kombu writes them, without callbacks or chains.

It runs for every message of a transfer, so a single pattern does all the parsing: what it matches is JSON, is ASCII,
has the keys that Celery writes, each once and in its order, and is not nested. Its parts are copied unchanged around
the new name. Every other message takes the general path (:mod:`migrator.translation.celery_to_unified`), which gives
the same message except for whitespace.

Source: celery/app/amqp.py (as_task_v2), kombu/transport/virtual/base.py (``Channel.basic_publish``).
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt, by_position
from migrator.plan.model import TaskMapping
from migrator.translation.result import Translated, Translation, Translator
from migrator.wire.json_codec import (
    EMPTY_EMBED,
    EMPTY_EMBED_SPACED,
    HEADER,
    READING_ERRORS,
    encode_json,
    fixed_pieces,
    mark,
    ms_from_iso,
    text_of,
)
from migrator.wire.kombu_envelope import body_parts
from migrator.wire.queue_address import QueueAddress

#: ASCII without quotes, backslashes and control characters: what JSON does not escape.
_TEXT = r"[ !#-\[\]-~]*+"
_STRING, _NUMBER = f'"{_TEXT}"', r"-?+(?:0|[1-9][0-9]{0,9}+)"
_WRITTEN = {
    "text": f"(?:null|{_STRING})",
    "number": f"(?:null|{_NUMBER})",
    "flag": "(?:null|true|false)",
    "limits": rf"(?:null|\[(?:null|{_NUMBER}), (?:null|{_NUMBER})\])",
    "stamps": r"(?:null|\{\})",
    "null": "null",
    "delivery": rf'\{{"exchange": {_STRING}, "routing_key": {_STRING}\}}',
}
#: Optional keys: between the id and the times, after the times, and in the properties.
_BEFORE_TIMES = {"shadow": "text"}
_AFTER_TIMES = {
    "group": "text",
    "group_index": "number",
    "retries": "number",
    "timelimit": "limits",
    "root_id": "text",
    "parent_id": "text",
    "argsrepr": "text",
    "kwargsrepr": "text",
    "origin": "text",
    "ignore_result": "flag",
    "replaced_task_nesting": "number",
    "stamped_headers": "null",
    "stamps": "stamps",
}
_PROPERTIES = {"reply_to": "text", "delivery_mode": "number"}
_REPLACED = {"delivery_info": "delivery", "priority": "number"}
_AFTER_BODY = b'", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"lang": "py", "task": "'


def _fields(names: Mapping[str, str]) -> str:
    return "".join(f'(?:, "{name}": {_WRITTEN[form]})?+' for name, form in names.items())


def _time(name: str) -> str:
    return f'(?:, "{name}": (?:null|"({_TEXT})"))?+'


_ordinary = re.compile(
    (
        rf'\{{"body": "([A-Za-z0-9+/]++=*+){re.escape(_AFTER_BODY.decode())}({_TEXT})'
        rf'(", "id": "({_TEXT})"{_fields(_BEFORE_TIMES)}{_time("eta")}{_time("expires")}{_fields(_AFTER_TIMES)})'
        rf'(\}}, "properties": \{{"correlation_id": {_STRING}{_fields(_PROPERTIES)})'
        rf'{_fields(_REPLACED)}, "body_encoding": "base64", "delivery_tag": "({_TEXT})"\}}\}}'
    ).encode()
).fullmatch


class _RenamedTask(NamedTuple):
    """The precomputed parts for the messages of one task."""

    mapping: TaskMapping
    #: What comes before the headers that stay, from the end of the body.
    head: bytes
    #: What comes between the properties that stay and the new tag.
    tail: bytes
    destination: QueueAddress
    priority: int
    #: By the number of positional arguments: the names that are free after them.
    free_names: tuple[frozenset[str], ...]


class CeleryFastPath:
    """Translates ordinary messages; hands all others to the general path.

    Args:
        mappings: Legacy task name to its mapping in the plan.
        priorities: Unified task name to the number on the destination's wire.
        destinations: Unified task name to its queue.
        now_ms: The current time.
        new_tag: Returns the ``delivery_tag`` of a new copy.
        general_path: Translates what is not ordinary, and decides what to quarantine.
    """

    __slots__ = ("_general_path", "_marks", "_new_tag", "_now_ms", "_tasks")

    def __init__(
        self,
        mappings: Mapping[str, TaskMapping],
        *,
        priorities: Mapping[str, int],
        destinations: Mapping[str, QueueAddress],
        now_ms: int,
        new_tag: Callable[[], str],
        general_path: Translator,
    ) -> None:
        self._now_ms = now_ms
        self._new_tag = new_tag
        self._general_path = general_path
        #: By queue: our header, without ids and the original.
        self._marks: dict[str, list[bytes]] = {}
        self._tasks = {
            name.encode(): _task(mapping, priorities[mapping.unified], destinations[mapping.unified])
            for name, mapping in mappings.items()
        }

    def translate(self, origin: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        """Return the message in the form of its destination, or why it is quarantined."""
        found = _ordinary(raw)
        if found is None:
            return self._general_path(origin, copy_id, raw)
        body, name, headers, identity, eta, expires, properties, old_tag = found.groups()
        task = self._tasks.get(name)
        if task is None or not (copy_id or old_tag):
            return self._general_path(origin, copy_id, raw)
        try:
            eta_ms = ms_from_iso(eta.decode()) if eta else None
            expired = expires and max(eta_ms or 0, self._now_ms) >= ms_from_iso(expires.decode())
            body = None if expired else _body(task, body)
        except (AdaptationError, *READING_ERRORS):
            body = None
        if body is None:
            return self._general_path(origin, copy_id, raw)
        tag = self._new_tag()
        copy, tag_bytes = encode_json(copy_id)[1:-1] if copy_id else old_tag, tag.encode()
        before, id_to_tag, tag_to_raw, after = self._marks.get(origin.queue) or self._mark(origin.queue)
        original = encode_json(raw.decode())
        ours = (before, copy, id_to_tag, tag_bytes, tag_to_raw, original, after)
        payload = b"".join((b'{"body": "', body, task.head, headers, *ours, properties, task.tail, tag_bytes, b'"}}'))
        identity, source_copy = identity.decode(), copy_id or old_tag.decode()
        return Translated(
            payload, task.destination, identity, task.mapping.name, source_copy, tag, task.priority, eta_ms
        )

    def _mark(self, queue: str) -> list[bytes]:
        made = mark("celery", queue.replace("%", "%%"), copy_id="%b", tag="%b", text="%b")
        header = b', "%b": %b' % (HEADER.encode(), made.replace(b'"raw":"%b"', b'"raw":%b'))
        self._marks[queue] = pieces = fixed_pieces(header)
        return pieces


def _body(task: _RenamedTask, encoded: bytes) -> bytes | None:
    """Return the new body in base64; None if the message has callbacks or a chain, or its arguments don't fit."""
    try:
        body = a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return None
    if not body.endswith((EMPTY_EMBED_SPACED, EMPTY_EMBED)):
        return None
    text_of(body)
    mapping, free_names = task.mapping, task.free_names
    args, kwargs, _ = body_parts(body)
    if len(args) >= len(free_names) or not kwargs.keys() <= free_names[len(args)]:
        return None
    if not mapping.operations:
        return encoded
    new_args, new_kwargs = adapt(mapping, args, kwargs)
    return b2a_base64(b"[%b,%b,%b" % (encode_json(new_args), encode_json(new_kwargs), EMPTY_EMBED), newline=False)


def _task(mapping: TaskMapping, priority: int, destination: QueueAddress) -> _RenamedTask:
    delivery = encode_json({"exchange": "", "routing_key": destination.queue})
    reached = by_position(mapping.parameters)
    return _RenamedTask(
        mapping,
        _AFTER_BODY + encode_json(mapping.unified)[1:-1],
        b', "delivery_info": %b, "priority": %d, "body_encoding": "base64", "delivery_tag": "' % (delivery, priority),
        destination,
        priority,
        tuple(frozenset(mapping.parameters) - set(reached[:number]) for number in range(len(reached) + 1)),
    )
