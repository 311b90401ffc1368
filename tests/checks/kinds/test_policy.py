"""The policy of a task of either library is read from the task itself, in one vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dramatiq
import pytest
from celery import Celery, Task
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Retries, TimeLimit
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as ResultBackend

from checks.kinds import policy
from checks.protocol import KindContext
from migrator.agent.describe import _actor, _task
from migrator.agent.locks import locks
from migrator.plan.loader import load_plan
from migrator.wire.message import System

FIXTURES = Path(__file__).parents[3] / "fixtures"
LIMITER = ConcurrentRateLimiter(RedisBackend(url="redis://127.0.0.1:1"), "supplier", limit=2, ttl=60_000)


class Audit(dramatiq.Middleware):
    """A project's own middleware."""


class LoggedTask(Task):
    """A project's own base class."""


def fetch(name: str) -> None:
    with LIMITER.acquire():
        print(name)


def fetch_through_another(name: str) -> None:
    fetch(name)


def free(name: str) -> None:
    print(name)


@pytest.fixture
def broker() -> RedisBroker:
    results = Results(backend=ResultBackend(url="redis://127.0.0.1:1"), result_ttl=90_000)
    middleware = [AgeLimit(max_age=3_600_000), TimeLimit(), Retries(max_retries=3, min_backoff=5_000), results, Audit()]
    return RedisBroker(url="redis://127.0.0.1:1", middleware=middleware)


@pytest.fixture
def app() -> Celery:
    return Celery("policies", broker="redis://127.0.0.1:1", backend="redis://127.0.0.1:1", set_as_current=False)


def of_actor(broker: RedisBroker, function: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = _actor(dramatiq.actor(function, broker=broker, **options))["policy"]
    return found


def of_task(app: Celery, function: Any, **options: Any) -> dict[str, Any]:
    name = f"task-{len(app.tasks)}"
    found: dict[str, Any] = _task(app.task(name=name, **options)(function))["policy"]
    return found


def test_an_actor_has_the_options_of_its_middleware(broker: RedisBroker) -> None:
    found = of_actor(broker, free)
    assert found["max_retries"] == 3 and found["retried"] == "for Exception"
    assert found["backoff_s"] == "5 to 604800, doubling, with jitter"
    assert (found["max_age_s"], found["time_limit_s"]) == (3600, 600)
    assert found["stores_result"] is False and found["result_kept_s"] is None
    assert found["middleware"] == ["Audit"] and found["locks"] == []


def test_an_actors_own_options_take_precedence(broker: RedisBroker) -> None:
    options = {"max_retries": 0, "max_backoff": 60_000, "throws": (KeyError,), "store_results": True, "max_age": 1_000}
    found = of_actor(broker, free, **options)
    assert found["max_retries"] == 0 and found["retried"] == "for Exception, not for KeyError"
    assert found["backoff_s"] == "5 to 60, doubling, with jitter"
    assert found["result_kept_s"] == 90 and found["max_age_s"] == 1


def test_a_predicate_and_no_retries_at_all_are_described(broker: RedisBroker) -> None:
    def only_late(retries: int, exception: BaseException) -> bool:
        return retries < 2

    assert of_actor(broker, free, retry_when=only_late)["retried"] == "when only_late says so"
    bare = RedisBroker(url="redis://127.0.0.1:1", middleware=[])
    found = of_actor(bare, free)
    assert found["retried"] == "never" and found["backoff_s"] is None and found["max_retries"] is None


def test_a_task_without_autoretry_waits_as_its_body_says(app: Celery) -> None:
    found = of_task(app, free, max_retries=2)
    assert found["retried"] == "when the body asks for it"
    assert found["backoff_s"] == "180, fixed, where the body says nothing else"
    assert found["result_kept_s"] == 86_400 and found["middleware"] == []


def test_a_task_with_autoretry_is_described_alike(app: Celery) -> None:
    options = {"autoretry_for": (Exception,), "dont_autoretry_for": (KeyError,), "retry_backoff": 5}
    found = of_task(app, free, **options, retry_backoff_max=604_800, rate_limit="10/m", base=LoggedTask)
    assert found["retried"] == "for Exception, not for KeyError"
    assert found["backoff_s"] == "5 to 604800, doubling, with jitter"
    assert found["rate_limit"] == "10/m" and found["middleware"] == ["LoggedTask"]
    assert of_task(app, free, ignore_result=True)["result_kept_s"] is None


def test_a_limiter_in_the_body_is_found_with_its_numbers(broker: RedisBroker, app: Celery, monkeypatch: Any) -> None:
    # Only the project's own functions are followed, those below the current folder.
    monkeypatch.chdir(Path(__file__).parents[1])
    expected = ["ConcurrentRateLimiter(supplier: limit=2, ttl=60000)"]
    assert of_actor(broker, fetch)["locks"] == locks(fetch_through_another) == expected
    assert of_task(app, free)["locks"] == []


def test_a_lock_by_option_or_by_call_is_found(app: Celery) -> None:
    def alone(cache: Any) -> None:
        with cache.lock("alone"):
            print("alone")

    assert of_task(app, alone)["locks"] == ["lock()"]
    assert of_task(app, free, once={"keys": ["name"]})["locks"] == ["once={'keys': ['name']}"]


def test_a_unified_task_is_compared_with_the_plan() -> None:
    plan = load_plan(FIXTURES / "legacy_project" / "migration.toml")
    planned = {task.name: {"queue": "unified", "max_retries": task.max_retries} for task in plan.tasks}
    planned["tasks.fetch_news"]["max_retries"] = 9
    planned["tasks.health_check"]["queue"] = "elsewhere"
    described = {"unified": {"tasks": {name: {"policy": found} for name, found in planned.items()}}}
    context = KindContext(plan=plan, cases=(), described=described, bare={})
    wrong = [item for item in policy.compare(context) if item.case.startswith("plan:") and item.mismatches]
    assert {(m.case, m.path, m.legacy, m.unified) for item in wrong for m in item.mismatches} == {
        ("plan:tasks.fetch_news", "policy.planned.max_retries", 3, 9),
        ("plan:tasks.health_check", "policy.planned.queue", "unified", "elsewhere"),
    }


class Former(dramatiq.GenericActor):
    """Base of class-based actors."""

    class Meta:
        abstract = True
        broker = RedisBroker(url="redis://127.0.0.1:1")

    def perform(self, name: str, limit: int = 3) -> None: ...


class Fetch(Former):
    """One of them."""


def test_a_class_based_actor_has_the_parameters_of_its_body_and_its_classes() -> None:
    found = _actor(Fetch)
    assert [item["name"] for item in found["parameters"]] == ["name", "limit"]
    assert found["policy"]["middleware"] == ["Fetch", "Former"]


def differing(legacy: dict[str, Any], unified: dict[str, Any], others: dict[str, Any] | None = None) -> set[str]:
    """Return what differs between the policies of one task of the sample, whose others have the legacy policy too."""
    plan = load_plan(FIXTURES / "legacy_project" / "migration.toml")
    tasks = {system: {m.name: {"policy": {**legacy, **(others or {})}} for m in plan.mappings()} for system in System}
    first = next(m for m in plan.mappings() if m.system is System.DRAMATIQ)
    tasks[System.DRAMATIQ][first.name] = {"policy": legacy}
    described = {
        **{system.value: {"tasks": tasks[system]} for system in System},
        "unified": {"tasks": {task.name: {"policy": {**unified, "name": task.name}} for task in plan.tasks}},
    }
    context = KindContext(plan=plan, cases=(), described=described, bare={})
    found = next(c for c in policy.compare(context) if c.legacy_name == first.name)
    return {mismatch.path.rpartition(".")[2] for mismatch in found.mismatches}


POLICY = {
    **{"name": "x", "queue": "unified", "priority": 0, "max_retries": 0, "retried": "for Exception"},
    **{"backoff_s": "15 to 60, doubling", "encoder": "json", "time_limit_s": None, "soft_time_limit_s": None},
}


@pytest.mark.parametrize(
    ("legacy", "unified", "others", "paths"),
    [
        ({}, {"priority": None}, {}, set()),
        ({}, {"priority": None}, {"priority": 5}, {"priority"}),
        ({}, {"priority": 3}, {}, {"priority"}),
        ({}, {"retried": "when the body asks for it", "backoff_s": "180, fixed"}, {}, set()),
        ({"max_retries": None, "retried": "never"}, {"backoff_s": "180, fixed"}, {}, set()),
        ({"max_retries": 3}, {"retried": "when the body asks for it"}, {}, {"max_retries", "retried"}),
        ({"max_retries": 3}, {"max_retries": 3, "backoff_s": "180, fixed"}, {}, {"backoff_s"}),
    ],
)
def test_what_has_no_effect_is_no_difference(
    legacy: dict[str, Any], unified: dict[str, Any], others: dict[str, Any], paths: set[str]
) -> None:
    assert differing({**POLICY, **legacy}, {**POLICY, **unified}, others) == paths
