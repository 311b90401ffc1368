"""Native chains and callbacks in a transfer back: the legacy systems make the same calls."""

from __future__ import annotations

import base64
import json
from typing import Any

import celery
import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_messages import (
    BACK,
    CELERY,
    EMBED,
    FROM_CELERY,
    FROM_DRAMATIQ,
    NOW_MS,
    PLAN,
    READY,
    UNIFIED,
    as_kombu_reads_it,
    json_values,
    translated,
)

from migrator.plan.arguments import adapt, bind
from migrator.plan.model import Endpoint
from migrator.wire.message import System
from migrator.wire.quarantined import Quarantined, QuarantineReason

APP = celery.Celery("unified", broker="memory://", set_as_current=False)
APP.conf.task_default_queue = "unified"
#: Unified tasks that were actors, with the arguments that a step may have of its own beside the result.
ACTORS = {"fetch_stock_prices": ["limit"], "fetch_news": ["category", "limit"], "cache_warming": []}
CALLS: list[tuple[str, list[Any], dict[str, Any]]] = []


def _record(name: str) -> None:
    @APP.task(name=f"tasks.{name}", shared=False)
    def task(*args: Any, **kwargs: Any) -> Any:
        CALLS.append((f"tasks.{name}", list(args), kwargs))
        return {"result of": len(CALLS)}


for _name in (*ACTORS, "batch_update_popular", "update_single_asset", "health_check", "calculate_indicators"):
    _record(_name)


def sent(canvas: Any, **options: Any) -> bytes:
    """Return the first message of a canvas as Celery itself sends it."""
    canvas.apply_async(**options)
    with APP.connection_for_read() as connection, connection.SimpleQueue("unified", no_ack=True) as queue:
        message = queue.get(block=True, timeout=10)
    body = message.body.encode() if isinstance(message.body, str) else message.body
    properties = {**message.properties, "body_encoding": "base64", "delivery_tag": "new"}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": message.content_type,
            "content-encoding": message.content_encoding,
            "headers": message.headers,
            "properties": properties,
        }
    ).encode()


def unified(name: str, args: Any, kwargs: Any) -> tuple[str, dict[str, Any]]:
    """Return a unified call with all arguments by parameter name."""
    task = PLAN.task(name)
    assert task is not None
    return name, {**dict(zip(task.parameters, args, strict=False)), **kwargs}


def same(value: Any) -> str:
    """Return a value as text that is equal for equal values, including NaN."""
    return json.dumps(value, sort_keys=True)


def run_by_celery(canvas: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that Celery makes of a canvas."""
    CALLS.clear()
    canvas.apply(throw=True)
    return [unified(*call) for call in CALLS]


def run_by_dramatiq(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Let Dramatiq's own middleware run a message and all that follow; return the calls in unified form."""
    broker, found = StubBroker(), []
    endpoint = PLAN.endpoint(System.DRAMATIQ)
    assert isinstance(endpoint, Endpoint)
    for mapping in PLAN.mappings():
        if mapping.system is System.DRAMATIQ:
            dramatiq.actor(lambda: None, actor_name=mapping.name, broker=broker)
    broker.enqueue(dramatiq.Message.decode(raw))
    consumer = broker.consume("default", timeout=0)
    while (message := next(consumer)) is not None:
        mapping = PLAN.mapping(System.DRAMATIQ, message.actor_name)
        assert mapping is not None
        bind(mapping, message.args, message.kwargs)
        args, kwargs = adapt(mapping, message.args, message.kwargs)
        found.append(unified(mapping.unified, args, kwargs))
        broker.emit_after("process_message", message, result={"result of": len(found)})
        consumer.ack(message)
    broker.close()
    return found


@st.composite
def steps(draw: st.DrawFn, *, first: bool = False) -> Any:
    """Return a signature of a unified task that was an actor."""
    name = draw(st.sampled_from([*ACTORS, "batch_update_popular"]))
    task = APP.tasks[f"tasks.{name}"]
    if name == "batch_update_popular":
        return task.s() if first else task.si()
    own = {key: draw(json_values) for key in draw(st.sets(st.sampled_from(ACTORS[name])))} if ACTORS[name] else {}
    if first or draw(st.booleans()):
        return task.signature(tuple(draw(st.lists(json_values, max_size=1))), own, immutable=not first)
    return task.signature((), own)


@settings(max_examples=25, deadline=None)
@given(first=steps(first=True), rest=st.lists(steps(), min_size=1, max_size=4))
def test_a_chain_of_former_actors_is_a_pipeline_that_makes_the_same_calls(first: Any, rest: list[Any]) -> None:
    canvas = celery.chain(first, *rest, app=APP)
    back = translated(BACK(UNIFIED, "", sent(canvas)))
    assert back.address == READY
    assert same(run_by_dramatiq(back.payload)) == same(run_by_celery(celery.chain(first, *rest, app=APP)))
    again = as_kombu_reads_it(translated(FROM_DRAMATIQ(READY, "copy", back.payload)).payload)
    assert [step["task"] for step in json.loads(again.body)[2]["chain"]] == [step.task for step in rest[::-1]]


def test_a_single_callback_is_a_pipeline_as_well() -> None:
    raw = sent(APP.tasks["tasks.fetch_stock_prices"].s(["A"]), link=APP.tasks["tasks.cache_warming"].s())
    calls = run_by_dramatiq(translated(BACK(UNIFIED, "", raw)).payload)
    assert calls == [
        ("tasks.fetch_stock_prices", {"symbols": ["A"]}),
        ("tasks.cache_warming", {"symbols": {"result of": 1}}),
    ]


@settings(max_examples=15, deadline=None)
@given(value=json_values, immutable=st.booleans())
def test_chain_callbacks_and_errbacks_of_former_celery_tasks_take_their_legacy_names(
    value: Any, immutable: bool
) -> None:
    health, asset = APP.tasks["tasks.health_check"], APP.tasks["tasks.update_single_asset"]
    step = asset.signature((value,), {"source": value}, immutable=immutable, queue="unified")
    indicators = APP.tasks["tasks.calculate_indicators"].si([value], period=7)
    raw = sent(celery.chain(asset.s(value), step, indicators, app=APP), link_error=health.si())
    body = json.loads(base64.b64decode(json.loads(raw)["body"]))
    back = translated(BACK(UNIFIED, "", raw))
    assert back.address == CELERY
    args, _, embed = json.loads(as_kombu_reads_it(back.payload).body)
    names = [part["task"].removeprefix("tasks.celery_tasks.") for part in (*embed["chain"], *embed["errbacks"])]
    assert names == ["calculate_indicators_task", "update_single_asset_task", "health_check_task"]
    assert same((args, embed["chain"][0]["kwargs"])) == same(([value], {"symbol": value, "period": 7}))
    assert embed["chain"][1]["options"]["queue"] == "celery"
    there = json.loads(as_kombu_reads_it(translated(FROM_CELERY(CELERY, "", back.payload)).payload).body)
    body[2]["chain"][0] |= {"args": [], "kwargs": {"symbols": [value], "period": 7}}
    assert same(_unrouted(there[2])) == same(_unrouted(body[2]))
    routes = [step["options"] for step in there[2]["chain"]]
    assert [(route["queue"], route["priority"]) for route in routes] == [("unified", 5), ("unified", 0)]


def _unrouted(value: Any) -> Any:
    """Return a canvas without queues and priorities."""
    if isinstance(value, dict):
        return {key: _unrouted(item) for key, item in value.items() if key not in ("queue", "priority")}
    return [_unrouted(item) for item in value] if isinstance(value, list) else value


def _native(name: str, **embed: Any) -> bytes:
    body = base64.b64encode(json.dumps([[], {}, {**EMBED, **embed}]).encode()).decode()
    headers = {"task": f"tasks.{name}", "id": "native"}
    properties = {"body_encoding": "base64", "delivery_tag": "t"}
    return json.dumps({"body": body, "headers": headers, "properties": properties}).encode()


def _step(name: str, *args: Any, **more: Any) -> dict[str, Any]:
    return {"task": f"tasks.{name}", "args": list(args), "kwargs": {}, "options": {}, "immutable": False, **more}


WARM = _step("cache_warming")


@pytest.mark.parametrize(
    ("name", "embed", "detail"),
    [
        ("cache_warming", {"chain": [_step("health_check", immutable=True)]}, "no legacy form in dramatiq"),
        ("cache_warming", {"chain": [_step("fetch_unified_crypto")]}, "no legacy form in dramatiq"),
        ("cache_warming", {"errbacks": [WARM]}, "no counterpart"),
        ("cache_warming", {"chord": WARM}, "no counterpart"),
        ("cache_warming", {"chain": [WARM], "callbacks": [WARM]}, "several tasks"),
        ("cache_warming", {"callbacks": [WARM, WARM]}, "several tasks"),
        ("cache_warming", {"chain": [WARM] * 51}, "more than 50"),
        ("cache_warming", {"chain": [{**WARM, "options": {"countdown": 5}}]}, "has countdown"),
        ("cache_warming", {"chain": [{**WARM, "options": {"link_error": [WARM]}}]}, "has link_error"),
        ("cache_warming", {"chain": [_step("cache_warming", 1)]}, "takes 1 arguments"),
        ("cache_warming", {"chain": [_step("cache_warming", {"__type__": "date"}, immutable=True)]}, "no dates"),
        ("cache_warming", {"chain": ["x"]}, "not a signature"),
        ("health_check", {"chord": _step("health_check")}, "chord"),
        ("health_check", {"chain": [WARM]}, "no legacy form in celery"),
        ("health_check", {"chain": [_step("calculate_indicators")]}, "takes a result first"),
        ("health_check", {"callbacks": [_step("calculate_indicators", ["a", "b"], immutable=True)]}, "exactly one"),
    ],
)
def test_what_a_legacy_system_can_not_express_stays(name: str, embed: dict[str, Any], detail: str) -> None:
    quarantined = BACK(UNIFIED, "", _native(name, **embed))
    assert isinstance(quarantined, Quarantined)
    assert (quarantined.reason, quarantined.id) == (QuarantineReason.CANVAS, "native")
    assert detail in quarantined.detail


def test_the_steps_of_a_pipeline_are_timestamped_now() -> None:
    raw = _native("cache_warming", chain=[WARM])
    assert (
        json.loads(translated(BACK(UNIFIED, "", raw)).payload)["options"]["pipe_target"]["message_timestamp"] == NOW_MS
    )
