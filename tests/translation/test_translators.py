"""The translation: there and back gives the same message, and any bytes give a result."""

from __future__ import annotations

import base64
import bz2
import dataclasses
import json
import os
import pickle
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_messages import (
    BACK,
    CELERY,
    EMBED,
    FROM_CELERY,
    FROM_DRAMATIQ,
    NOW_MS,
    ORDINARY,
    PLAN,
    PLAN_FILE,
    READY,
    UNIFIED,
    as_kombu_reads_it,
    celery_raw,
    dramatiq_raw,
    json_values,
    label,
    mutations,
    reason_of,
    translated,
)

from migrator.errors import UsageError
from migrator.plan.loader import load_plan
from migrator.plan.model import Endpoint, Plan
from migrator.tasks.priority import Priority
from migrator.translation.celery_to_unified import CeleryForward
from migrator.translation.dramatiq_to_unified import DramatiqForward
from migrator.translation.result import Translated, Translation
from migrator.translation.translators import backward, forward, wire_priorities
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress


def test_priorities_are_those_that_the_unified_app_publishes_with() -> None:
    for url in ("redis://", "amqp://"):
        numbers = wire_priorities(PLAN, url)
        assert numbers == {task.name: Priority[task.priority.value].number(url) for task in PLAN.tasks}


@given(args=st.lists(json_values, max_size=1), symbols=json_values, retries=st.integers(0, 20))
def test_dramatiq_there_and_back(args: list[Any], symbols: Any, retries: int) -> None:
    raw = dramatiq_raw("fetch_crypto_prices_task", *args, options={"retries": retries} if retries else {})
    there = translated(FROM_DRAMATIQ(READY, "copy", raw))
    message = as_kombu_reads_it(there.payload)
    assert repr(json.loads(message.body)[0]) == repr(json.loads(raw)["args"])
    assert message.headers["retries"] == retries
    back = translated(BACK(UNIFIED, "", there.payload))
    assert (back.payload, back.address, back.copy_id, back.id) == (raw, READY, "copy", "the-id")
    adapted = dramatiq_raw("fetch_technical_indicators_task", symbols, indicators=symbols)
    there = translated(FROM_DRAMATIQ(READY, "copy", adapted))
    assert repr(json.loads(as_kombu_reads_it(there.payload).body)[1]) == repr(
        {"symbols": [json.loads(adapted)["args"][0]]}
    )
    assert translated(BACK(UNIFIED, "", there.payload)).payload == adapted


@given(args=st.lists(json_values, max_size=2), extra=st.dictionaries(st.text(min_size=9), json_values, max_size=3))
def test_celery_there_and_back(args: list[Any], extra: dict[str, Any]) -> None:
    for function in ("fetch_yahoo_stocks_task", "calculate_indicators_task"):
        raw = celery_raw(function, [args, {}, EMBED], headers=extra)
        there = translated(FROM_CELERY(CELERY, "", raw))
        message = as_kombu_reads_it(there.payload)
        assert there.source_copy == "tag"
        assert message.headers["task"].startswith("tasks.") and "celery_tasks" not in message.headers["task"]
        assert {key: repr(message.headers[key]) for key in extra} == {key: repr(value) for key, value in extra.items()}
        back = translated(BACK(UNIFIED, "", there.payload))
        assert (back.payload, back.address, back.priority) == (raw, CELERY, 5)


@pytest.mark.parametrize("properties", [{"delivery_tag": None}, {"priority": "high"}, {"priority": 1e30}])
def test_a_celery_message_with_odd_properties_goes_back_as_it_was(properties: dict[str, Any]) -> None:
    document = json.loads(celery_raw("calculate_indicators_task", [["A"], {}, EMBED]))
    document["properties"].update(properties)
    raw = json.dumps(document).encode()
    there = translated(FROM_CELERY(CELERY, "", raw))
    assert as_kombu_reads_it(there.payload).delivery_tag == there.copy_id
    back = translated(BACK(UNIFIED, "", there.payload))
    assert (back.payload, back.address) == (raw, CELERY)


@given(raw=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_result(raw: bytes) -> None:
    assert isinstance(FROM_DRAMATIQ(READY, "copy", raw), Quarantined)
    assert isinstance(FROM_CELERY(CELERY, "", raw), Quarantined)
    assert isinstance(BACK(UNIFIED, "", raw), Quarantined)


def test_mangled_messages() -> None:
    # MIGRATOR_FUZZ=100000 for the long run.
    number = int(os.environ.get("MIGRATOR_FUZZ", "15000"))
    rng = random.Random(int(os.environ.get("MIGRATOR_FUZZ_SEED", "5")))
    sane = [
        dramatiq_raw("fetch_crypto_prices_task", ["BTC"], options={"retries": 1, "eta": NOW_MS + 9}),
        dramatiq_raw("fetch_technical_indicators_task", "A", options={"pipe_target": {"actor_name": "x"}}),
        celery_raw("calculate_indicators_task", [["A"], {"period": 3}, EMBED], headers={"eta": "2030-01-01T00:00:00"}),
        celery_raw("health_check_task", [[], {}, {**EMBED, "chain": [{"task": "x"}]}]),
    ]
    sane.append(translated(FROM_DRAMATIQ(READY, "copy", sane[0])).payload)
    sane.append(translated(FROM_CELERY(CELERY, "", sane[2])).payload)
    answers = {Translated: 0, Quarantined: 0}
    for index, raw in enumerate(mutations(sane, number, rng)):
        translate, address = ((FROM_DRAMATIQ, READY), (FROM_CELERY, CELERY), (BACK, UNIFIED))[index % 3]
        answer = translate(address, "copy" if address is READY else "", raw)
        answers[type(answer)] += 1
        if (
            isinstance(answer, Translated)
            and answer.address is not READY
            and index % 10 == 0
            and address is not UNIFIED
        ):
            args, kwargs, embed = json.loads(as_kombu_reads_it(answer.payload).body)
            assert (type(args), type(kwargs), type(embed)) == (list, dict, dict)
    assert answers[Translated] > number / 100
    assert answers[Quarantined] > number / 10


def _both_paths(kind: Any, endpoint: Endpoint, *, tag: str) -> tuple[Any, Any]:
    """Return the translation, and the general path alone."""
    numbers = wire_priorities(PLAN, "redis://")
    made = kind(PLAN, endpoint, priorities=numbers, now_ms=NOW_MS, new_tag=lambda: tag)
    return made.translate, made.general_path


def _takes_fast_path(kind: Any, endpoint: Endpoint) -> Callable[[QueueAddress, str, bytes], bool]:
    """Return a function that says whether a message takes the fast path."""
    made = kind(PLAN, endpoint, priorities=wire_priorities(PLAN, "redis://"), now_ms=NOW_MS, new_tag=lambda: "tag")
    made.fast_path._general_path = lambda *message: None
    return lambda *message: made.translate(*message) is not None


FAST_PATH, GENERAL_PATH = _both_paths(DramatiqForward, PLAN.legacy[0], tag="tag")
takes_fast_path = _takes_fast_path(DramatiqForward, PLAN.legacy[0])


@given(
    args=st.lists(json_values, max_size=2),
    options=st.fixed_dictionaries(
        {},
        optional={
            "retries": st.integers(0, 99),
            "eta": st.integers(NOW_MS - 9_000, NOW_MS + 4_000_000),
            "max_age": st.sampled_from([None, 1, 3_600_000, 1e15]),
            "traceback": st.text(),
            "time_limit": st.sampled_from([None, 1000]),
        },
    ),
    name=st.text(),
)
def test_both_paths_give_the_same_bytes(args: list[Any], options: dict[str, Any], name: str) -> None:
    for actor in ("fetch_crypto_prices_task", "fetch_stock_prices_task", "health_check_task", "cleanup_old_cache_task"):
        raw = dramatiq_raw(actor, *args, options=options)
        assert FAST_PATH(READY, name, raw) == GENERAL_PATH(READY, name, raw)


def test_mangled_messages_are_the_same_on_both_paths() -> None:
    number, moved, rng = int(os.environ.get("MIGRATOR_FUZZ", "15000")), 0, random.Random(8)
    sane = [
        dramatiq_raw("fetch_crypto_prices_task", ["BTC"]),
        dramatiq_raw("fetch_stock_prices_task", ["A"], 3, options={"retries": 1, "eta": NOW_MS + 9}),
        dramatiq_raw("health_check_task", options={"redis_message_id": "x", "max_age": 3_600_000}),
    ]
    assert all(takes_fast_path(READY, "copy", raw) for raw in sane)
    for raw in mutations(sane, number, rng):
        answer = FAST_PATH(READY, "copy", raw)
        assert answer == GENERAL_PATH(READY, "copy", raw)
        moved += isinstance(answer, Translated)
    assert moved > number / 300


FAST_PATH_CELERY, GENERAL_PATH_CELERY = _both_paths(CeleryForward, PLAN.legacy[1], tag="new-tag")
celery_takes_fast_path = _takes_fast_path(CeleryForward, PLAN.legacy[1])


def _same(one: Translation, other: Translation) -> bool:
    """Say whether two translations are the same except for whitespace in the message."""
    if isinstance(one, Quarantined) or isinstance(other, Quarantined):
        return one == other
    read = [json.loads(answer.payload) for answer in (one, other)]
    return read[0] == read[1] and msgspec.structs.replace(one, payload=other.payload) == other


def ordinary_raw(function: str, body: Any, **headers: Any) -> bytes:
    """Return a message exactly as Celery and kombu write it."""
    document = json.loads(celery_raw(function, body, headers={**ORDINARY, **headers}))
    properties = {"correlation_id": "the-id", "reply_to": "b-c", **document["properties"]}
    return json.dumps({**document, "properties": properties}).encode()


@given(
    args=st.lists(json_values, max_size=2),
    copy_id=st.text(max_size=3),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "eta": st.sampled_from([None, "", "2030-01-01T00:00:00.5+00:00", "2030-01-01T00:00:00", "soon"]),
            "expires": st.sampled_from([None, "2001-01-01T00:00:00", "2031-01-01T00:00:00"]),
            "retries": st.integers(-1, 10**12),
            "argsrepr": st.text(),
            "kwargsrepr": json_values,
        },
    ),
)
def test_both_paths_give_the_same_celery_message(args: list[Any], copy_id: str, headers: dict[str, Any]) -> None:
    tasks = "fetch_yahoo_stocks_task", "calculate_indicators_task", "update_single_asset_task", "health_check_task"
    for function in tasks:
        raw = ordinary_raw(function, [args, {}, EMBED], **headers)
        fast = FAST_PATH_CELERY(CELERY, copy_id, raw)
        assert _same(fast, GENERAL_PATH_CELERY(CELERY, copy_id, raw))
        if isinstance(fast, Translated):
            assert translated(BACK(UNIFIED, "", fast.payload)).payload == raw


def test_mangled_celery_messages_are_the_same_on_both_paths() -> None:
    number, on_fast_path, rng = int(os.environ.get("MIGRATOR_FUZZ", "15000")), 0, random.Random(9)
    sane = [
        ordinary_raw("fetch_yahoo_stocks_task", [["A"], {"limit": 3}, EMBED]),
        ordinary_raw("update_single_asset_task", [["A"], {}, EMBED], eta="2030-01-01T00:00:00", retries=2),
        ordinary_raw("health_check_task", [[], {}, EMBED], expires="2031-01-01T00:00:00"),
    ]
    # A duplicate key: the last one counts.
    sane += [sane[0].replace(b', "id"', b', "task": "tasks.celery_tasks.health_check_task", "id"')]
    assert [celery_takes_fast_path(CELERY, "", raw) for raw in sane] == [True, True, True, False]
    for raw in mutations(sane, number, rng):
        fast = FAST_PATH_CELERY(CELERY, "", raw)
        assert _same(fast, GENERAL_PATH_CELERY(CELERY, "", raw)), raw
        on_fast_path += celery_takes_fast_path(CELERY, "", raw) if isinstance(fast, Translated) else 0
    assert on_fast_path > number / 500


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (pickle.dumps({"actor_name": "x"}), QuarantineReason.CONTENT_TYPE),
        (dramatiq_raw("fetch_crypto_prices_task")[:-1], QuarantineReason.UNREADABLE),
        (dramatiq_raw("nobody"), QuarantineReason.UNKNOWN_TASK),
        (dramatiq_raw("cleanup_old_cache_task", 24), QuarantineReason.RETIRED_TASK),
        (dramatiq_raw("fetch_crypto_prices_task", 1, 2), QuarantineReason.ARGUMENTS),
        (dramatiq_raw("fetch_crypto_prices_task", nonsense=2), QuarantineReason.ARGUMENTS),
        (dramatiq_raw("fetch_crypto_prices_task", options={"max_age": 10}), QuarantineReason.EXPIRED),
        (dramatiq_raw("fetch_crypto_prices_task", options={"eta": NOW_MS + 3_600_000}), QuarantineReason.EXPIRED),
        (dramatiq_raw("fetch_crypto_prices_task", options={"eta": "soon"}), QuarantineReason.UNREADABLE),
        (dramatiq_raw("fetch_crypto_prices_task", options={"on_failure": "x"}), QuarantineReason.CALLBACK),
        (dramatiq_raw("fetch_crypto_prices_task", json.loads("[" * 150 + "]" * 150)), QuarantineReason.UNREADABLE),
        (
            dramatiq_raw("fetch_crypto_prices_task").replace(b"[]", b"[1" + b"0" * 5000 + b"]"),
            QuarantineReason.UNREADABLE,
        ),
        (dramatiq_raw("fetch_crypto_prices_task").replace(b"copy", b"\xff"), QuarantineReason.UNREADABLE),
    ],
    ids=label,
)
def test_dramatiq_messages_that_stay(raw: bytes, reason: QuarantineReason) -> None:
    assert reason_of(FROM_DRAMATIQ(READY, "copy", raw)) is reason


PICKLED = celery_raw(
    "health_check_task", pickle.dumps(([], {}, {})), **{"content-type": "application/x-python-serialize"}
)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (PICKLED, QuarantineReason.CONTENT_TYPE),
        (
            celery_raw("health_check_task", b"x", **{"content-type": "application/x-yaml"}),
            QuarantineReason.CONTENT_TYPE,
        ),
        (
            celery_raw("health_check_task", [[], {}, EMBED], headers={"compression": "zstd"}),
            QuarantineReason.CONTENT_TYPE,
        ),
        (
            celery_raw("health_check_task", [[], {}, EMBED], headers={"compression": "gzip"}),
            QuarantineReason.UNREADABLE,
        ),
        (celery_raw("nothing", [[], {}, EMBED]), QuarantineReason.UNKNOWN_TASK),
        (celery_raw("debug_task", [[], {}, EMBED]), QuarantineReason.RETIRED_TASK),
        (celery_raw("health_check_task", [[1], {}, EMBED]), QuarantineReason.ARGUMENTS),
        (
            celery_raw("health_check_task", [[], {}, EMBED], headers={"expires": "2001-01-01T00:00:00"}),
            QuarantineReason.EXPIRED,
        ),
        (celery_raw("health_check_task", [[], {}, EMBED], headers={"eta": "tomorrow"}), QuarantineReason.UNREADABLE),
        (celery_raw("health_check_task", [[], {}, {**EMBED, "chord": {"task": "x.y"}}]), QuarantineReason.CANVAS),
        (celery_raw("health_check_task", {"args": []}), QuarantineReason.UNREADABLE),
        (celery_raw("health_check_task", [[], {}, EMBED], body="%%%"), QuarantineReason.UNREADABLE),
    ],
    ids=label,
)
def test_celery_messages_that_stay(raw: bytes, reason: QuarantineReason) -> None:
    assert reason_of(FROM_CELERY(CELERY, "", raw)) is reason


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "boom",))

    bomb = pickle.dumps(Bomb())
    FROM_DRAMATIQ(READY, "copy", bomb)
    FROM_CELERY(CELERY, "", celery_raw("health_check_task", bomb, **{"content-type": "application/x-python-serialize"}))
    assert not (tmp_path / "boom").exists()


def test_infinity_is_carried_as_the_workers_of_both_systems_read_it() -> None:
    """Python's json writes it, other decoders reject it; here for arguments that the plan passes on unchanged."""
    raw = dramatiq_raw("fetch_crypto_prices_task", [float("inf")])
    assert b"Infinity" in raw
    there = translated(FROM_DRAMATIQ(READY, "copy", raw))
    assert as_kombu_reads_it(there.payload).decode()[0] == [[float("inf")]]
    assert translated(BACK(UNIFIED, "", there.payload)).payload == raw


def test_every_digit_stays() -> None:
    raw = dramatiq_raw("fetch_crypto_prices_task").replace(b"[]", b"[[1.0,12345678901234567890123,1e400,0.10,1E5]]")
    there = translated(FROM_DRAMATIQ(READY, "copy", raw))
    body = base64.b64decode(json.loads(there.payload)["body"])
    assert body.startswith(b"[[[1.0,12345678901234567890123,1e400,0.10,1E5]],{},")
    assert translated(BACK(UNIFIED, "", there.payload)).payload == raw


@pytest.mark.parametrize("compression", ["application/x-gzip", "application/x-bz2"])
def test_a_compressed_body_is_read(compression: str) -> None:
    packed = {"application/x-gzip": zlib.compress, "application/x-bz2": bz2.compress}[compression](
        json.dumps([["A"], {}, EMBED]).encode()
    )
    raw = celery_raw("calculate_indicators_task", packed, headers={"compression": compression})
    there = translated(FROM_CELERY(CELERY, "", raw))
    message = as_kombu_reads_it(there.payload)
    assert json.loads(message.body) == [[], {"symbols": ["A"]}, EMBED]
    assert "compression" not in message.headers
    assert translated(BACK(UNIFIED, "", there.payload)).payload == raw


def test_a_body_that_stays_keeps_its_compression() -> None:
    packed = zlib.compress(json.dumps([["A"], {}, EMBED]).encode())
    raw = celery_raw("fetch_yahoo_stocks_task", packed, headers={"compression": "application/x-gzip"})
    message = as_kombu_reads_it(translated(FROM_CELERY(CELERY, "", raw)).payload)
    assert message.headers["compression"] == "application/x-gzip"
    assert base64.b64decode(json.loads(translated(FROM_CELERY(CELERY, "", raw)).payload)["body"]) == packed


def test_protocol_1_becomes_protocol_2() -> None:
    body = {
        "task": "tasks.celery_tasks.update_single_asset_task",
        "id": "old",
        "args": ["A"],
        "kwargs": {},
        "retries": 2,
    }
    raw = celery_raw("ignored", body, headers={})
    envelope = json.loads(raw)
    envelope["headers"] = {}
    raw = json.dumps(envelope).encode()
    there = translated(FROM_CELERY(CELERY, "", raw))
    message = as_kombu_reads_it(there.payload)
    assert (message.headers["task"], message.headers["id"], message.headers["retries"]) == (
        "tasks.update_single_asset",
        "old",
        2,
    )
    assert json.loads(message.body)[0] == ["A"]
    assert translated(BACK(UNIFIED, "", there.payload)).payload == raw


def _encoded_plan(tmp_path: Path, name: str) -> Plan:
    module = f"encoder_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(
        "import json, zlib\n"
        "class Zipped:\n"
        "    def encode(self, data): return zlib.compress(json.dumps(data).encode())\n"
        "    def decode(self, data): return json.loads(zlib.decompress(data))\n"
        "class NotOne: pass\n"
        "from dramatiq.encoder import PickleEncoder\n"
    )
    endpoint = dataclasses.replace(PLAN.legacy[0], encoder=f"{module}:{name}" if name else "no.such:Thing")
    project = dataclasses.replace(PLAN.project, root=".")
    file = tmp_path / "migration.toml"
    return dataclasses.replace(PLAN, file=file, project=project, legacy=(endpoint, PLAN.legacy[1]))


def test_a_custom_encoder_is_used_if_the_plan_names_it(tmp_path: Path) -> None:
    plan = _encoded_plan(tmp_path, "Zipped")
    there = forward(plan, plan.legacy[0], unified_url="redis://", now_ms=NOW_MS)
    raw = zlib.compress(dramatiq_raw("fetch_technical_indicators_task", "A", ["sma"]))
    assert reason_of(FROM_DRAMATIQ(READY, "copy", raw)) is QuarantineReason.UNREADABLE
    message = translated(there(READY, "copy", raw))
    assert json.loads(as_kombu_reads_it(message.payload).body)[1] == {"symbols": ["A"]}
    back = backward(plan, now_ms=NOW_MS)
    assert translated(back(UNIFIED, "", message.payload)).payload == raw
    retried = json.loads(message.payload)
    retried["properties"]["delivery_tag"] = "new"
    retried["headers"]["retries"] = 2
    document = json.loads(zlib.decompress(translated(back(UNIFIED, "", json.dumps(retried).encode())).payload))
    assert (document["args"], document["options"]["retries"]) == (["A", ["sma"]], 2)
    assert reason_of(there(READY, "copy", b"rubbish")) is QuarantineReason.UNREADABLE
    assert (
        reason_of(there(READY, "copy", zlib.compress(dramatiq_raw("fetch_news_task", 1, 2, 3, 4))))
        is QuarantineReason.ARGUMENTS
    )


@pytest.mark.parametrize(
    ("name", "problem"), [("PickleEncoder", "unpickles"), ("NotOne", "not an encoder"), ("", "can't be imported")]
)
def test_an_encoder_that_can_not_be_used_is_a_clear_error(tmp_path: Path, name: str, problem: str) -> None:
    plan = _encoded_plan(tmp_path, name)
    with pytest.raises(UsageError, match=problem):
        forward(plan, plan.legacy[0], unified_url="redis://", now_ms=NOW_MS)


def test_options_without_a_counterpart_are_listed() -> None:
    raw = dramatiq_raw("fetch_news_task", options={"max_retries": 3, "repeat": True, "queue": "high_priority"})
    assert translated(FROM_DRAMATIQ(READY, "copy", raw)).dropped == ("max_retries", "queue", "repeat")


def test_time_limit_becomes_a_soft_limit() -> None:
    raw = dramatiq_raw("fetch_news_task", options={"time_limit": 90_000})
    headers = as_kombu_reads_it(translated(FROM_DRAMATIQ(READY, "copy", raw)).payload).headers
    assert headers["timelimit"] == [150.0, 90.0]


@settings(max_examples=30)
@given(eta=st.integers(0, 2**62))
def test_etas_outside_the_calendar_are_quarantined(eta: int) -> None:
    raw = dramatiq_raw("fetch_news_task", options={"eta": eta, "max_age": 2**61})
    assert isinstance(FROM_DRAMATIQ(READY, "copy", raw), (Translated, Quarantined))


CALLBACKS = """
[[task]]
name = "tasks.notify"
path = "tasks.unified_tasks.notify"
parameters = ["result", "source"]
priority = "LOW"

  [[task.replaces]]
  system = "dramatiq"
  name = "notify_task"
  path = "tasks.scheduler_tasks.notify_task"
  parameters = ["message", "result"]
  arguments = [{ rename = "message", to = "source" }]

[[task]]
name = "tasks.give_up"
path = "tasks.unified_tasks.give_up"
parameters = ["source"]
priority = "LOW"

  [[task.replaces]]
  system = "dramatiq"
  name = "give_up_task"
  path = "tasks.scheduler_tasks.give_up_task"
  parameters = ["message", "info"]
  arguments = [{ rename = "message", to = "source" }, { drop = "info", reason = "the retries are in the log" }]

[[task]]
name = "tasks.store"
path = "tasks.unified_tasks.store"
parameters = ["data", "where", "mode"]
priority = "LOW"

  [[task.replaces]]
  system = "dramatiq"
  name = "store_task"
  path = "tasks.scheduler_tasks.store_task"
  parameters = ["path", "data", "mode"]
  arguments = [{ rename = "path", to = "where" }]
"""


@pytest.fixture(scope="module")
def with_callbacks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The translation there and back with a plan that also maps the actors that are callbacks."""
    file = tmp_path_factory.mktemp("callbacks") / "migration.toml"
    file.write_text(PLAN_FILE.read_text() + CALLBACKS)
    plan = load_plan(file)
    return forward(plan, plan.legacy[0], unified_url="redis://", now_ms=NOW_MS), backward(plan, now_ms=NOW_MS)


def called_with(link: dict[str, Any], given: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments with which Celery itself calls a signature's task."""
    app = celery.Celery("callbacks", set_as_current=False)
    seen: list[Any] = []

    @app.task(name=link["task"], shared=False)
    def task(*args: Any, **kwargs: Any) -> None:
        seen.append((list(args), kwargs))

    app.signature(link).apply(given)
    return seen[0]


@pytest.mark.parametrize(
    ("option", "actor", "part", "call"),
    [
        ("on_success", "notify_task", "callbacks", lambda m: (["the result"], {"source": m})),
        ("on_success", "store_task", "callbacks", lambda m: (["the result"], {"where": m})),
        ("on_success", "give_up_task", "callbacks", lambda m: ([], {"source": m})),
        ("on_retry_exhausted", "give_up_task", "errbacks", lambda m: ([], {"source": m})),
    ],
)
def test_equivalent_callbacks_are_translated(
    with_callbacks: tuple[Any, Any], option: str, actor: str, part: str, call: Any
) -> None:
    there, back = with_callbacks
    raw = dramatiq_raw("health_check_task", options={option: actor})
    moved = translated(there(READY, "copy", raw))
    _, _, embed = json.loads(as_kombu_reads_it(moved.payload).body)
    (link,) = embed[part]
    assert [name for name, value in embed.items() if value] == [part]
    assert called_with(link, ("the result",)) == call(json.loads(raw))
    assert link["options"] == {"queue": "unified", "priority": 9}
    assert translated(back(UNIFIED, "", moved.payload)).payload == raw


def test_a_translated_callback_survives_a_retry(with_callbacks: tuple[Any, Any]) -> None:
    there, back = with_callbacks
    raw = dramatiq_raw("health_check_task", options={"on_success": "notify_task"})
    document = json.loads(translated(there(READY, "copy", raw)).payload)
    document["headers"]["retries"], document["properties"]["delivery_tag"] = 2, "another"
    again = json.loads(translated(back(UNIFIED, "", json.dumps(document).encode())).payload)
    assert (again["options"]["on_success"], again["options"]["retries"]) == ("notify_task", 2)


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"on_failure": "give_up_task"}, QuarantineReason.CALLBACK, "after every attempt"),
        ({"on_retry_exhausted": "notify_task"}, QuarantineReason.CALLBACK, "number of retries"),
        (
            {"on_success": "fetch_stock_prices_task"},
            QuarantineReason.CALLBACK,
            "takes the result as 'limit', and Celery would give it to 'symbols'",
        ),
        ({"on_success": "health_check_task"}, QuarantineReason.CALLBACK, "takes"),
        ({"on_success": "nobody"}, QuarantineReason.CALLBACK, "not in the plan"),
        ({"on_success": ["nobody"]}, QuarantineReason.CALLBACK, "not in the plan"),
        ({"group_completion_uuid": "u", "group_completion_callbacks": []}, QuarantineReason.GROUP, "group"),
    ],
)
def test_callbacks_without_an_equivalent_stay(
    with_callbacks: tuple[Any, Any], options: dict[str, Any], reason: QuarantineReason, detail: str
) -> None:
    quarantined = with_callbacks[0](READY, "copy", dramatiq_raw("health_check_task", options=options))
    assert reason_of(quarantined) is reason and re.search(detail, quarantined.detail), quarantined


@pytest.mark.parametrize(
    ("step", "call"),
    [
        (dramatiq_raw("store_task", "there"), (["the result"], {"where": "there"})),
        (dramatiq_raw("store_task", "there", mode="w"), (["the result"], {"where": "there", "mode": "w"})),
        (dramatiq_raw("fetch_stock_prices_task", count=3), (["the result"], {"limit": 3})),
        (dramatiq_raw("cache_warming_task"), (["the result"], {})),
    ],
    ids=label,
)
def test_a_result_that_both_systems_pass_to_the_same_parameter(
    with_callbacks: tuple[Any, Any], step: bytes, call: tuple[list[Any], dict[str, Any]]
) -> None:
    """Dramatiq calls store(path, result), Celery store(result, where=path): the plan's adapters make it the same."""
    there, back = with_callbacks
    raw = dramatiq_raw("health_check_task", options={"pipe_target": json.loads(step)})
    moved = translated(there(READY, "copy", raw))
    (link,) = json.loads(as_kombu_reads_it(moved.payload).body)[2]["chain"]
    assert called_with(link, ("the result",)) == call
    assert translated(back(UNIFIED, "", moved.payload)).payload == raw


@pytest.mark.parametrize(
    "step",
    [
        dramatiq_raw("store_task"),
        dramatiq_raw("fetch_stock_prices_task", ["A"]),
        dramatiq_raw("fetch_technical_indicators_task"),
        dramatiq_raw("store_task", "there", options={"on_success": "notify_task"}),
    ],
    ids=label,
)
def test_a_result_for_another_parameter_stays(with_callbacks: tuple[Any, Any], step: bytes) -> None:
    raw = dramatiq_raw("health_check_task", options={"pipe_target": json.loads(step)})
    assert reason_of(with_callbacks[0](READY, "copy", raw)) is QuarantineReason.PIPELINE
