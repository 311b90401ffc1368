"""The fields of a Dramatiq message, read fast with msgspec or checked one by one.

Source: dramatiq/message.py; dramatiq/brokers/redis.py and middleware (options).
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import msgspec
from msgspec import Raw

from migrator.errors import AdaptationError
from migrator.wire.json_codec import READING_ERRORS, UnreadableError, dumps, loads

_NULL = Raw(b"null")
_NUMERIC = ("eta", "retries", "max_age", "time_limit")
_LIMITS = ("max_age", "time_limit")


class KnownOptions(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Options with a known meaning; a message with any other option takes the general path."""

    redis_message_id: str = ""
    eta: float | None = None
    retries: int | None = None
    max_age: float | None = None
    traceback: Raw = _NULL
    requeue_timestamp: Raw = _NULL
    store_results: Raw = _NULL
    result_ttl: Raw = _NULL
    broker_priority: Raw = _NULL
    delay: Raw = _NULL
    time_limit: float | None = None


class Fields(msgspec.Struct, gc=False):
    """A Dramatiq message; arguments and id as the bytes they were."""

    actor_name: str
    args: Raw
    kwargs: Raw
    options: KnownOptions
    message_id: Raw
    message_timestamp: float


def checked(document: Any) -> tuple[Fields, dict[str, Any]]:
    """Return the fields of a message that the workers' own decoder read, and the options beyond the known ones.

    Raises:
        UnreadableError: A field is missing or of the wrong type.
    """
    if not isinstance(document, dict):
        raise UnreadableError(f"the message is a {type(document).__name__}, not an object")
    wanted = {"actor_name": str, "args": list, "kwargs": dict, "options": dict}
    for name, kind in wanted.items():
        if not isinstance(document.get(name), kind):
            raise UnreadableError(f"{name} is {type(document.get(name)).__name__}, not {kind.__name__}")
    # Dramatiq's decoder makes up an id and a time where there is none, so such a message never gets too old.
    stamp = document.get("message_timestamp", math.inf)
    if isinstance(stamp, bool) or not isinstance(stamp, (int, float)) or not (abs(stamp) < 1e16 or stamp == math.inf):
        raise UnreadableError("message_timestamp is not a number of milliseconds")
    options = document["options"]
    identity = document.get("message_id") or options.get("redis_message_id") or uuid.uuid4()
    known = _known(options)
    try:
        args, kwargs = Raw(dumps(document["args"])), Raw(dumps(document["kwargs"]))
    except TypeError as error:
        # The project's own encoder returned a value that JSON does not have.
        raise AdaptationError(document["actor_name"], "the arguments can't be JSON", found=str(error)) from None
    fields = Fields(
        actor_name=document["actor_name"],
        args=args,
        kwargs=kwargs,
        options=known,
        message_id=Raw(dumps(str(identity))),
        message_timestamp=stamp,
    )
    extra = {name: value for name, value in options.items() if name not in KnownOptions.__struct_fields__}
    return fields, extra


def _known(options: dict[str, Any]) -> KnownOptions:
    """Return the options with a known meaning; a limit may be infinite, and a number of retries a float."""
    plain = {name: value for name, value in options.items() if name in _NUMERIC or name == "redis_message_id"}
    if isinstance(plain.get("retries"), float) and math.isfinite(plain["retries"]):
        plain["retries"] = int(plain["retries"])
    try:
        known = msgspec.convert(plain, KnownOptions)
    except msgspec.ValidationError as error:
        raise UnreadableError(f"options: {error}") from None
    for name in _NUMERIC:
        number = getattr(known, name)
        if number is not None and not abs(number) < 1e16 and not (name in _LIMITS and number == math.inf):
            raise UnreadableError(f"options.{name} is out of range")
    return known


def actor_and_id(raw: bytes) -> tuple[str, str]:
    """Return the names of actor and message of bytes that can't be translated, as far as they can be read."""
    try:
        document = loads(raw)
        found = document.get("actor_name"), document.get("message_id")
    except READING_ERRORS:
        return "", ""
    name, identity = (value if isinstance(value, str) else "" for value in found)
    return name, identity
