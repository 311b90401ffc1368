"""The fast path for ordinary Dramatiq messages: nothing unknown in them, and no keyword arguments.

It runs for every message of a transfer, so calls and copies are few: the message is decoded once, and its parts are
copied unchanged between those of the envelope. Every other message takes the general path
(:mod:`migrator.translation.dramatiq_to_unified`), which gives the same bytes for the same message.

Source: dramatiq/message.py, dramatiq/brokers/redis.py.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from migrator.plan.arguments import adapt, by_position
from migrator.plan.model import TaskMapping
from migrator.translation.result import Translated, Translation, Translator
from migrator.wire.dramatiq_message import KnownOptions
from migrator.wire.json_codec import EMPTY_EMBED, MAX_DEPTH, READING_ERRORS, encode_json, fixed_pieces, quoted_iso
from migrator.wire.queue_address import QueueAddress

_NO_KWARGS = Raw(b"{}")
_TAIL = b"," + EMPTY_EMBED
#: The field names take up more bytes than this, and can't be nested.
_NAMES = 80


class Form(NamedTuple):
    """A call with a certain number of arguments, rewritten to keyword arguments only."""

    #: The keyword arguments, with a placeholder for each value.
    kwargs: bytes
    #: Which argument goes into each placeholder.
    order: tuple[int, ...]


class FastPathTask(NamedTuple):
    """The precomputed parts for the messages of one actor in one queue."""

    #: The envelope in pieces; every second one is filled in for each message.
    pieces: list[bytes]
    destination: QueueAddress
    priority: int
    #: The actor's own age limit, or that of the broker.
    max_age_ms: float | None
    #: By number of arguments; None leaves them as they are. A call with more arguments doesn't fit.
    forms: tuple[Form | None, ...]


class _FieldTexts(msgspec.Struct, gc=False):
    actor_name: str
    args: Raw
    kwargs: Raw
    options: KnownOptions
    message_id: str
    message_timestamp: float


_decode = msgspec.json.Decoder(_FieldTexts).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_BACKSLASH = ord("\\")


def fast_path_task(
    mapping: TaskMapping, template: bytes, destination: QueueAddress, priority: int, max_age_ms: float | None
) -> FastPathTask:
    """Return the precomputed parts for an actor.

    Args:
        mapping: The actor's mapping in the plan.
        template: The envelope as the general path fills it.
        destination: The queue of the unified task.
        priority: The number on the destination's wire.
        max_age_ms: The broker's age limit.
    """
    forms = tuple(_form(mapping, number) for number in range(len(by_position(mapping.parameters)) + 1))
    fixed = fixed_pieces(template.replace(b'"timelimit":%b', b'"timelimit":[null,null]'))
    pieces = [b""] * (2 * len(fixed) - 1)
    pieces[::2] = fixed
    return FastPathTask(pieces, destination, priority, mapping.max_age_ms or max_age_ms, forms)


def _form(mapping: TaskMapping, number: int) -> Form | None:
    if not mapping.operations:
        return None
    marks = [b'"\\u0000%d."' % index for index in range(number)]
    kwargs = encode_json(adapt(mapping, [Raw(mark) for mark in marks], {})[1]).replace(b"%", b"%%")
    order = tuple(
        sorted((index for index in range(number) if marks[index] in kwargs), key=lambda i: kwargs.find(marks[i]))
    )
    for index in order:
        kwargs = kwargs.replace(marks[index], b"%b")
    return Form(kwargs, order)


class DramatiqFastPath:
    """Translates ordinary messages; hands all others to the general path.

    Args:
        tasks_of: Returns the actors for the wire name of a queue.
        now_ms: The current time.
        new_tag: Returns the id of a new copy.
        general_path: Translates what is not ordinary, and decides what to quarantine.
    """

    __slots__ = (
        "_general_path",
        "_new_tag",
        "_now_ms",
        "_origin",
        "_tasks",
        "_tasks_of",
    )

    def __init__(
        self,
        tasks_of: Callable[[str], dict[str, FastPathTask]],
        *,
        now_ms: int,
        new_tag: Callable[[], str],
        general_path: Translator,
    ) -> None:
        self._tasks_of = tasks_of
        self._now_ms = now_ms
        self._new_tag = new_tag
        self._general_path = general_path
        self._origin: QueueAddress | None = None
        self._tasks: dict[str, FastPathTask] = {}

    def translate(self, origin: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        """Return the message in the form of its destination, or why it is quarantined."""
        tasks = self._tasks if origin is self._origin else self._switch_to(origin)
        try:
            fields, text = _decode(raw), raw.decode()
            options, task, args = fields.options, tasks.get(fields.actor_name), bytes(fields.args)
            if task is None or fields.kwargs != _NO_KWARGS or options.time_limit is not None or _BACKSLASH in raw:
                return self._general_path(origin, copy_id, raw)
            # Each level takes an opening and a closing bracket, so a short text can't be nested deeply.
            if len(args) > 2 * MAX_DEPTH or len(raw) - len(args) > 2 * MAX_DEPTH + _NAMES or args[:1] != b"[":
                return self._general_path(origin, copy_id, raw)
            envelope, destination, priority, limit_ms, forms = task
            eta_ms = None if options.eta is None or options.eta <= self._now_ms else int(options.eta)
            max_age_ms = options.max_age or limit_ms
            expires_ms = int(fields.message_timestamp + max_age_ms) if max_age_ms else None
            values, kwargs = _decode_list(args), b"{}"
            if len(values) >= len(forms) or (expires_ms is not None and expires_ms <= (eta_ms or self._now_ms)):
                return self._general_path(origin, copy_id, raw)
            if form := forms[len(values)]:
                args, kwargs = b"[]", form.kwargs % tuple([values[index] for index in form.order])
            identity, tag = fields.message_id, self._new_tag()
            quoted, tag_bytes = b'"%b"' % identity.encode(), tag.encode()
            body = b2a_base64(b"".join((b"[", args, b",", kwargs, _TAIL)), newline=False)
            eta = b"null" if eta_ms is None else quoted_iso(eta_ms)
            expires = b"null" if expires_ms is None else quoted_iso(expires_ms)
            retries = b"%d" % options.retries if options.retries else b"0"
            given, named = encode_json(args.decode()), b'"{}"' if form is None else shown(kwargs)
            copy, original, pieces = encode_json(copy_id), encode_json(text), envelope.copy()
            pieces[1::2] = (
                body, quoted, quoted, eta, expires, retries, given, named, copy, tag_bytes, original, quoted, tag_bytes
            )  # fmt: skip
            payload = b"".join(pieces)
            return Translated(payload, destination, identity, fields.actor_name, copy_id, tag, priority, eta_ms)
        except READING_ERRORS:
            return self._general_path(origin, copy_id, raw)

    def _switch_to(self, origin: QueueAddress) -> dict[str, FastPathTask]:
        self._origin, self._tasks = origin, self._tasks_of(origin.wire_queue)
        return self._tasks


def shown(arguments: bytes) -> bytes:
    """Return arguments as Celery's tools show them, cut off if they are long."""
    return encode_json(arguments[:200].decode("utf-8", "replace"))
