"""Messages as the legacy libraries write them, and the translators of the sample's plan."""

from __future__ import annotations

import base64
import json
import random
import time
from pathlib import Path
from typing import Any

import dramatiq
from hypothesis import strategies as st
from kombu import Connection
from kombu.transport.virtual import Message as KombuMessage

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.translation.result import Translated, Translation
from migrator.translation.translators import backward, forward
from migrator.wire.message import Side, System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

PLAN_FILE = Path(__file__).resolve().parents[2] / "fixtures" / "legacy_project" / "migration.toml"
PLAN: Plan = load_plan(PLAN_FILE)
NOW_MS = int(time.time() * 1000)
READY = QueueAddress(Side.LEGACY, System.DRAMATIQ, "default")
CELERY = QueueAddress(Side.LEGACY, System.CELERY, "celery")
UNIFIED = QueueAddress(Side.UNIFIED, System.CELERY, "unified")
FROM_DRAMATIQ = forward(PLAN, PLAN.legacy[0], unified_url="redis://", now_ms=NOW_MS)
FROM_CELERY = forward(PLAN, PLAN.legacy[1], unified_url="redis://", now_ms=NOW_MS)
BACK = backward(PLAN, now_ms=NOW_MS)
CHANNEL = Connection("memory://").channel()

#: Finite floats only: what happens to infinity and NaN is a test of its own.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def label(value: object) -> str | None:
    """Name a raw message in the id of a test: its bytes contain the time, and the processes of one run must agree."""
    return "raw" if isinstance(value, bytes) else None


def as_kombu_reads_it(payload: bytes) -> KombuMessage:
    """Return a translated message as a worker's transport reads it."""
    return KombuMessage(json.loads(payload), CHANNEL)


def dramatiq_raw(actor: str, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> bytes:
    """Return a message as Dramatiq writes it."""
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name="default",
        actor_name=actor,
        args=args,
        kwargs=kwargs,
        options={"redis_message_id": "copy", **(options or {})},
        message_id="the-id",
        message_timestamp=NOW_MS - 1000,
    )
    return message.encode()


def celery_raw(function: str, body: Any, /, *, headers: dict[str, Any] | None = None, **envelope: Any) -> bytes:
    """Return a message as kombu keeps it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.dumps(
        {
            "body": base64.b64encode(data).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": f"tasks.celery_tasks.{function}", "id": "the-id", **(headers or {})},
            "properties": {
                "correlation_id": "the-id",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "priority": 5,
                "body_encoding": "base64",
                "delivery_tag": "tag",
            },
            **envelope,
        }
    ).encode()


#: The headers of every Celery message, in order: with some of these and no others, a message takes the fast path.
ORDINARY: dict[str, Any] = {
    **{"shadow": None, "eta": None, "expires": None, "group": "g", "group_index": 2, "retries": 0},
    **{"timelimit": [None, 20], "root_id": "the-id", "parent_id": None, "argsrepr": "(['S0'],)", "kwargsrepr": "{}"},
    **{"origin": "gen1@host", "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None},
    "stamps": {},
}
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def translated(translation: Translation) -> Translated:
    """Return a translation, which must not be quarantined."""
    assert isinstance(translation, Translated), translation
    return translation


def reason_of(translation: Translation) -> QuarantineReason:
    """Return why a message is quarantined, which it must be."""
    assert isinstance(translation, Quarantined), translation
    return translation.reason


def mutations(seeds: list[bytes], number: int, rng: random.Random) -> Any:
    """Yield messages that are cut, nested, mistyped or not text any more."""
    tokens = [
        b"null",
        b"1e999",
        b"NaN",
        b'"\\ud800"',
        b"[" * 300,
        b"{}",
        b"-1",
        b"\xff",
        b'"x"',
        b"9" * 5000,
        b"true",
        b"[]",
    ]
    for _ in range(number):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(raw) or 1)
            action = rng.random()
            if action < 0.25:
                del raw[at:]
            elif action < 0.5:
                raw[at : at + rng.randint(0, 12)] = rng.choice(tokens)
            elif action < 0.75 and raw:
                raw[at % len(raw)] = rng.randrange(256)
            else:
                other = rng.choice(seeds)
                raw[at:at] = other[: rng.randrange(len(other))]
        yield bytes(raw)
