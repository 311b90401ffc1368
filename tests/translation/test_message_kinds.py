"""Each kind of message with its outcome: carried with what it means, or quarantined with name, id and a true reason."""

from __future__ import annotations

import base64
import json
import math
import pickle
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from legacy_messages import EMBED, NOW_MS, translated

from migrator.plan.loader import load_plan
from migrator.translation.result import Translated
from migrator.translation.translators import backward, forward
from migrator.wire.json_codec import iso_from_ms
from migrator.wire.message import Side, System
from migrator.wire.quarantined import ADVICE, Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

PLAN = """\
[migration]
name = "kinds"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:1/0"
queues = ["default"]
modules = ["app.actors"]
max_age_ms = 3600000

[legacy.celery]
broker = "redis://127.0.0.1:1/0"
queues = ["celery", "mail"]
modules = ["app.old"]

[unified]
broker = "redis://127.0.0.1:1/0"
queues = ["unified", "slow"]

[[task]]
name = "app.ping"
path = "app.tasks.ping"
parameters = ["x", "y"]
priority = "HIGH"

  [[task.replaces]]
  system = "celery"
  name = "ping"
  path = "app.old.ping"
  parameters = ["x", "y"]
  primary = true

  [[task.replaces]]
  system = "dramatiq"
  name = "ping"
  path = "app.actors.ping"
  parameters = ["x", "y"]

[[task]]
name = "app.fetch"
path = "app.tasks.fetch"
parameters = ["symbols", "source"]
priority = "LOW"
queue = "slow"

  [[task.replaces]]
  system = "celery"
  name = "fetch"
  path = "app.old.fetch"
  parameters = ["symbol"]
  arguments = [{ wrap = "symbol", to = "symbols" }, { constant = "source", value = "auto" }]
  primary = true

  [[task.replaces]]
  system = "dramatiq"
  name = "fetch"
  path = "app.actors.fetch"
  parameters = ["symbol"]
  arguments = [{ wrap = "symbol", to = "symbols" }]
  max_age_ms = 60000

[[retired]]
system = "celery"
name = "gone"
reason = "nobody reads it"

[[retired]]
system = "dramatiq"
name = "gone"
reason = "nobody reads it"
"""
Check = Callable[[Mapping[str, Any], Any, Translated], None]


class Kinds:
    """The translators of that plan."""

    def __init__(self, folder: Path) -> None:
        file = folder / "migration.toml"
        file.write_text(PLAN)
        self.plan = load_plan(file)
        dramatiq, celery = self.plan.legacy
        self.forward = {
            System.DRAMATIQ: forward(self.plan, dramatiq, unified_url="redis://", now_ms=NOW_MS),
            System.CELERY: forward(self.plan, celery, unified_url="redis://", now_ms=NOW_MS),
        }
        self.back = backward(self.plan, now_ms=NOW_MS)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    return Kinds(tmp_path_factory.mktemp("kinds"))


def says(**expected: Any) -> Check:
    """Expect headers, or ``args``, ``kwargs``, ``embed``, ``queue`` and ``priority``."""

    def check(headers: Mapping[str, Any], body: Any, translation: Translated) -> None:
        known = dict(headers) | {
            "args": body[0],
            "kwargs": body[1],
            "embed": body[2],
            "queue": translation.address.queue,
            "priority": translation.priority,
        }
        assert {name: known.get(name) for name in expected} == expected

    return check


def celery(task: str = "ping", args: Any = (1,), kwargs: Any = None, embed: Any = None, **headers: Any) -> bytes:
    body = json.dumps([list(args), kwargs or {}, {**EMBED, **(embed or {})}]).encode()
    return envelope(body, {"lang": "py", "task": task, "id": "the-id", "root_id": "the-id", **headers})


def envelope(body: bytes, headers: Mapping[str, Any], **more: Any) -> bytes:
    properties = {"correlation_id": "the-id", "delivery_tag": "tag", "priority": 3, "body_encoding": "base64"}
    properties["delivery_info"] = {"exchange": "", "routing_key": "celery"}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": properties,
            **more,
        }
    ).encode()


def protocol_1(headers: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    body = {"task": "ping", "id": "the-id", "args": [1], "kwargs": {}, "retries": 2, "utc": True, **fields}
    return envelope(json.dumps(body).encode(), headers or {})


def sig(task: str = "ping", args: Any = (), **more: Any) -> dict[str, Any]:
    options = more.pop("options", {})
    base = {"task": task, "args": list(args), "kwargs": {}, "options": options, "subtask_type": None}
    return {**base, "immutable": False, **more}


def mapped(name: str, task: str, items: Any, **more: Any) -> bytes:
    return celery(name, (), {"task": sig(task), "it": items, **more})


def routed(task: str, queue: str, number: int, part: str) -> Check:
    """Expect that the one call in a part of the canvas goes to that queue with that number, and nowhere else."""

    def check(headers: Mapping[str, Any], body: Any, translation: Translated) -> None:
        call = body[2][part] if isinstance(body[2][part], dict) else body[2][part][0]
        assert (call["task"], call["options"].get("queue"), call["options"].get("priority")) == (task, queue, number)
        assert not {"exchange", "routing_key", "exchange_type"} & call["options"].keys()

    return check


def of_map(name: str, task: str, items: Any) -> Check:
    def check(headers: Mapping[str, Any], body: Any, translation: Translated) -> None:
        assert (headers["task"], body[1]["task"]["task"], body[1]["it"]) == (name, task, items)
        assert translation.address.queue == {"app.ping": "unified", "app.fetch": "slow"}[task]

    return check


def unlocked(headers: Mapping[str, Any], body: Any, translation: Translated) -> None:
    assert (headers["task"], body[0][0], body[0][1]["task"]) == ("celery.chord_unlock", "group-id", "app.ping")
    assert body[1] == {"interval": 1, "result": []}


FUTURE, PAST = iso_from_ms(NOW_MS + 600_000), iso_from_ms(NOW_MS - 600_000)
R = QuarantineReason
CELERY: dict[str, tuple[bytes, Check | QuarantineReason]] = {
    "plain": (celery(), says(task="app.ping", args=[1], priority=0, queue="unified")),
    "with keyword arguments": (celery(args=(), kwargs={"x": 1}), says(kwargs={"x": 1})),
    "with changed arguments": (
        celery("fetch", ("A",)),
        says(args=[], kwargs={"symbols": ["A"], "source": "auto"}, priority=9, queue="slow"),
    ),
    "with an ETA": (celery(eta=FUTURE), says(eta=FUTURE)),
    "with an ETA that is past": (celery(eta=PAST), says(task="app.ping")),
    "that expires": (celery(expires=FUTURE), says(expires=FUTURE)),
    "that has expired": (celery(expires=PAST), R.EXPIRED),
    "retried": (celery(retries=2), says(retries=2)),
    "with time limits": (celery(timelimit=[20, 10]), says(timelimit=[20, 10])),
    "of a group": (celery(group="g", group_index=2), says(group="g", group_index=2)),
    "with a header of the project": (celery(tenant="x"), says(tenant="x")),
    "with stamps": (celery(stamped_headers=["t"], stamps={"t": ["x"]}), says(stamps={"t": ["x"]})),
    "with dates": (
        celery(args=[{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}]),
        says(args=[{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}]),
    ),
    "with a callback": (celery(embed={"callbacks": [sig()]}), routed("app.ping", "unified", 0, "callbacks")),
    "with an errback in a queue of its own": (
        celery(embed={"errbacks": [sig(options={"queue": "mail", "priority": 3})]}),
        routed("app.ping", "unified", 0, "errbacks"),
    ),
    "with a callback through an exchange": (
        celery(embed={"callbacks": [sig(options={"exchange": "mails", "routing_key": "mail.sent"})]}),
        routed("app.ping", "unified", 0, "callbacks"),
    ),
    "with a chain to another queue": (
        celery(embed={"chain": [sig("fetch", ("A",), immutable=True, options={"priority": 0})]}),
        routed("app.fetch", "slow", 9, "chain"),
    ),
    "with a chain into changed arguments": (celery(embed={"chain": [sig("fetch")]}), R.CANVAS),
    "with a chain to a task that nobody knows": (celery(embed={"chain": [sig("unknown")]}), R.CANVAS),
    "of a chord": (celery(embed={"chord": sig()}), routed("app.ping", "unified", 0, "chord")),
    "map": (mapped("celery.map", "ping", [1, 2]), of_map("celery.map", "app.ping", [1, 2])),
    "starmap": (mapped("celery.starmap", "ping", [[1, 2]]), of_map("celery.starmap", "app.ping", [[1, 2]])),
    "chunks": (mapped("celery.chunks", "ping", [[1, 2]], n=1), of_map("celery.chunks", "app.ping", [[1, 2]])),
    "map with changed arguments": (
        mapped("celery.map", "fetch", ["A", "B"]),
        of_map("celery.starmap", "app.fetch", [[["A"], "auto"], [["B"], "auto"]]),
    ),
    "starmap with changed arguments": (
        mapped("celery.starmap", "fetch", [["A"]]),
        of_map("celery.starmap", "app.fetch", [[["A"], "auto"]]),
    ),
    "map of a task that nobody knows": (mapped("celery.map", "unknown", [1]), R.UNKNOWN_TASK),
    "starmap with too many arguments": (mapped("celery.starmap", "fetch", [["A", "B"]]), R.CANVAS),
    "a chord that waits": (
        celery("celery.chord_unlock", ("group-id", sig()), {"interval": 1, "result": []}),
        unlocked,
    ),
    "a chord that waits for a task that nobody knows": (
        celery("celery.chord_unlock", ("group-id", sig("unknown")), {"result": []}),
        R.UNKNOWN_TASK,
    ),
    "Celery's own clean-up": (celery("celery.backend_cleanup", ()), says(task="celery.backend_cleanup", priority=3)),
    "compressed": (
        envelope(
            zlib.compress(json.dumps([[1], {}, EMBED]).encode()),
            {"task": "ping", "id": "the-id", "compression": "application/x-gzip"},
        ),
        says(task="app.ping"),
    ),
    "pickled": (
        envelope(
            pickle.dumps(([1], {}, {})),
            {"task": "ping", "id": "the-id"},
            **{"content-type": "application/x-python-serialize"},
        ),
        R.CONTENT_TYPE,
    ),
    "of protocol 1": (protocol_1(), says(task="app.ping", args=[1], retries=2, id="the-id")),
    "of protocol 1, with headers of the project": (protocol_1({"tenant": "x"}), says(tenant="x", task="app.ping")),
    "of protocol 1, with a callback": (
        protocol_1(callbacks=[sig()]),
        routed("app.ping", "unified", 0, "callbacks"),
    ),
    "of protocol 1, with an ETA": (protocol_1(eta=FUTURE), says(eta=FUTURE)),
    "of protocol 1, in a zone of its own": (protocol_1(eta=FUTURE, utc=False), R.UNREADABLE),
    "retired": (celery("gone"), R.RETIRED_TASK),
    "of a task that nobody knows": (celery("unknown"), R.UNKNOWN_TASK),
    "with too many arguments": (celery(args=(1, 2, 3)), R.ARGUMENTS),
    "not a message": (b'{"hello": 1}', R.UNREADABLE),
}


def actor(name: str = "ping", args: Any = (1,), kwargs: Any = None, *, without: str = "", **options: Any) -> bytes:
    message: dict[str, Any] = {
        "queue_name": "default",
        "actor_name": name,
        "args": list(args),
        "kwargs": kwargs or {},
        "options": {"redis_message_id": "copy", **options.pop("options", {}), **options},
        "message_id": "the-id",
        "message_timestamp": NOW_MS - 1000,
    }
    message.pop(without, None)
    return json.dumps(message).encode()


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(actor()), **fields}).encode()


def target(name: str = "ping", args: Any = (), **options: Any) -> dict[str, Any]:
    return json.loads(actor(name, args, options=options))  # type: ignore[no-any-return]


ENDS = iso_from_ms(NOW_MS - 1000 + 3_600_000)
DRAMATIQ: dict[str, tuple[bytes, Check | QuarantineReason]] = {
    "plain": (actor(), says(task="app.ping", args=[1], id="the-id", priority=0, queue="unified", retries=0)),
    "with keyword arguments": (actor(args=(), kwargs={"x": 1}), says(kwargs={"x": 1})),
    "with changed arguments": (actor("fetch", ("A",)), says(kwargs={"symbols": ["A"]}, queue="slow", priority=9)),
    "without arguments": (actor(args=()), says(args=[])),
    "delayed": (actor(eta=NOW_MS + 600_000), says(eta=FUTURE)),
    "delayed until a time that is past": (actor(eta=NOW_MS - 5), says(eta=None)),
    "delayed for ever": (actor(eta=math.inf), R.UNREADABLE),
    "retried": (actor(retries=2, traceback="…"), says(retries=2)),
    "retried, as a float": (actor(retries=2.0), says(retries=2)),
    "retried, as text": (actor(retries="2"), R.UNREADABLE),
    "within the broker's age limit": (actor(), says(expires=ENDS)),
    "with an age limit of its own": (actor(max_age=1_800_000), says(expires=iso_from_ms(NOW_MS + 1_799_000))),
    "with an infinite age limit": (actor(max_age=math.inf), says(expires=None)),
    "with an age limit of 0": (actor(max_age=0), says(expires=ENDS)),
    "older than its age limit": (actor(max_age=500), R.EXPIRED),
    "within the actor's age limit": (actor("fetch", ("A",)), says(expires=iso_from_ms(NOW_MS + 59_000))),
    "older than the actor's age limit": (
        json.dumps({**json.loads(actor("fetch", ("A",))), "message_timestamp": NOW_MS - 61_000}).encode(),
        R.EXPIRED,
    ),
    "with an age limit of its own before the actor's": (
        actor("fetch", ("A",), max_age=600_000),
        says(expires=iso_from_ms(NOW_MS + 599_000)),
    ),
    "older than the broker's age limit": (changed(message_timestamp=NOW_MS - 3_600_001), R.EXPIRED),
    "delayed beyond its age limit": (actor(eta=NOW_MS + 600_000, max_age=60_000), R.EXPIRED),
    "with a time limit": (actor(time_limit=90_000), says(timelimit=[150.0, 90.0])),
    "with a time limit as a float": (actor(time_limit=1500.5), says(timelimit=[61.5005, 1.5005])),
    "with an infinite time limit": (actor(time_limit=math.inf), says(timelimit=[10**9, 10**9])),
    "with a time limit of 0": (actor(time_limit=0), says(timelimit=[None, None])),
    "without an id": (actor(without="message_id"), says(id="copy", expires=ENDS)),
    "with a number as its id": (changed(message_id=7), says(id="7")),
    "without a time": (actor(without="message_timestamp"), says(expires=None, task="app.ping")),
    "with a time as a float": (changed(message_timestamp=NOW_MS - 1000.5), says(task="app.ping")),
    "with a time as text": (changed(message_timestamp="now"), R.UNREADABLE),
    "without options": (actor(without="options"), R.UNREADABLE),
    "with a pipeline": (
        actor(options={"pipe_target": target()}),
        routed("app.ping", "unified", 0, "chain"),
    ),
    "with a pipeline to another queue": (
        actor(options={"pipe_target": target("fetch", ("A",), pipe_ignore=True)}),
        routed("app.fetch", "slow", 9, "chain"),
    ),
    "with a pipeline behind arguments": (actor(options={"pipe_target": target(args=(2,))}), R.PIPELINE),
    "with a pipeline into nowhere": (actor(options={"pipe_target": target("unknown")}), R.PIPELINE),
    "with a delayed pipeline": (actor(options={"pipe_target": target(delay=5)}), R.PIPELINE),
    "with on_failure": (actor(on_failure="ping"), R.CALLBACK),
    "with on_retry_exhausted": (actor(on_retry_exhausted="unknown"), R.CALLBACK),
    "of a group": (actor(group_completion_uuid="g", group_completion_callbacks=[]), R.GROUP),
    "with stored results": (actor(store_results=True, result_ttl=5), says(task="app.ping")),
    "with a priority of the broker": (actor(broker_priority=9), says(priority=0)),
    "with options that Celery has not": (actor(max_retries=3, min_backoff=5, notify_shutdown=True), says(args=[1])),
    "with an endless number": (actor(args=(math.inf,)), says(args=[math.inf])),
    "with a huge number": (actor(args=(10**30,)), says(args=[10**30])),
    "with half a character": (actor(args=("\ud800",)), says(args=["\ud800"])),
    "of an actor that nobody knows": (actor("unknown"), R.UNKNOWN_TASK),
    "of an actor that is retired": (actor("gone"), R.RETIRED_TASK),
    "with too many arguments": (actor(args=(1, 2, 3)), R.ARGUMENTS),
    "pickled": (pickle.dumps({"actor_name": "ping"}), R.CONTENT_TYPE),
    "not a message": (b"hello", R.UNREADABLE),
}
CASES = [(System.CELERY, name) for name in CELERY] + [(System.DRAMATIQ, name) for name in DRAMATIQ]
#: Nothing in them can be read.
NAMELESS = {
    (System.CELERY, "not a message"),
    (System.DRAMATIQ, "not a message"),
    (System.DRAMATIQ, "pickled"),
}


@pytest.mark.parametrize(("system", "name"), CASES, ids=[f"{system}: {name}" for system, name in CASES])
def test_a_message_is_carried_with_what_it_means_or_says_why_not(kinds: Kinds, system: System, name: str) -> None:
    raw, expected = {System.CELERY: CELERY, System.DRAMATIQ: DRAMATIQ}[system][name]
    origin = QueueAddress(Side.LEGACY, system, "default" if system is System.DRAMATIQ else "celery")
    found = kinds.forward[system](origin, "copy", raw)
    if isinstance(expected, QuarantineReason):
        assert isinstance(found, Quarantined), found
        assert found.reason is expected
        assert found.detail
        assert ADVICE[found.reason]
        if (system, name) not in NAMELESS:
            assert (found.task, found.id) != ("", ""), found
        return
    document = json.loads(translated(found).payload)
    body = base64.b64decode(document["body"])
    body = zlib.decompress(body) if "compression" in document["headers"] else body
    expected(document["headers"], json.loads(body), translated(found))
    # What nobody has changed since goes back as it was.
    unified = QueueAddress(Side.UNIFIED, System.CELERY, translated(found).address.queue)
    assert translated(kinds.back(unified, "", translated(found).payload)).payload == raw


def test_every_reason_has_its_advice() -> None:
    assert set(ADVICE) == set(QuarantineReason)


def test_there_are_enough_of_them() -> None:
    assert len(CELERY) >= 28
    assert len(DRAMATIQ) >= 40
