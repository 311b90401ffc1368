"""Each unified task has its queue: messages, chains, callbacks go there, native ones to the legacy queue of theirs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from legacy_messages import CELERY, EMBED, NOW_MS, ORDINARY, READY, celery_raw, dramatiq_raw, translated

from migrator.errors import PlanError
from migrator.plan.loader import load_plan
from migrator.translation.result import destinations
from migrator.translation.translators import backward, forward

PLAN = """
[migration]
name = "two-pools"
[project]
root = "."
settings = "app.settings"
[legacy.dramatiq]
broker = "redis://h/0"
queues = ["default", "images"]
[legacy.celery]
broker = "redis://h/1"
queues = ["celery", "mail"]
[unified]
broker = "redis://h/2"
queues = ["quick", "slow"]
[[task]]
name = "app.resize"
path = "app.tasks.resize"
parameters = ["ref"]
queue = "slow"
  [[task.replaces]]
  system = "dramatiq"
  name = "resize"
  parameters = ["ref"]
  queue = "images"
[[task]]
name = "app.send_mail"
path = "app.tasks.send_mail"
parameters = ["ref"]
queue = "slow"
  [[task.replaces]]
  system = "celery"
  name = "tasks.celery_tasks.mail"
  parameters = ["ref"]
  queue = "mail"
[[task]]
name = "app.ping"
path = "app.tasks.ping"
parameters = ["ref"]
  [[task.replaces]]
  system = "celery"
  name = "tasks.celery_tasks.ping"
  parameters = ["ref"]
"""


def plan_of(folder: Path, text: str = PLAN) -> Any:
    file = folder / "migration.toml"
    file.write_text(text)
    return load_plan(file)


def envelope(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)
    return found


def test_each_message_goes_to_the_queue_of_its_task(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    of_dramatiq, of_celery = (
        forward(plan, endpoint, unified_url="redis://", now_ms=NOW_MS) for endpoint in plan.legacy
    )
    actor = translated(of_dramatiq(READY, "copy", dramatiq_raw("resize", "r1")))
    by_name = translated(of_dramatiq(READY, "copy", dramatiq_raw("resize", ref="r1")))
    mail, ping = (
        translated(of_celery(CELERY, "", celery_raw(name, [["r1"], {}, EMBED], headers=ORDINARY)))
        for name in ("mail", "ping")
    )
    assert [item.address.queue for item in (actor, by_name, mail, ping)] == ["slow", "slow", "slow", "quick"]
    for item in (actor, by_name, mail, ping):
        assert envelope(item.payload)["properties"]["delivery_info"]["routing_key"] == item.address.queue


def test_a_chain_names_the_queue_of_each_step(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    of_celery = forward(plan, plan.legacy[1], unified_url="redis://", now_ms=NOW_MS)
    step = {
        "task": "tasks.celery_tasks.mail",
        "args": [],
        "kwargs": {},
        "options": {"queue": "mail"},
        "immutable": False,
    }
    embed = {**EMBED, "chain": [step]}
    moved = translated(of_celery(CELERY, "", celery_raw("ping", [["r1"], {}, embed])))
    (_, _, links) = json.loads(base64.b64decode(envelope(moved.payload)["body"]))
    assert links["chain"][0]["options"]["queue"] == "slow"


def test_native_messages_go_back_to_the_legacy_queue_of_their_task(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    back = backward(plan, now_ms=NOW_MS)
    for task, queue in (("app.send_mail", "mail"), ("app.resize", "images"), ("app.ping", "celery")):
        document = json.loads(celery_raw("ping", [["r1"], {}, EMBED]))
        document["headers"]["task"] = task
        native = translated(back(destinations(plan)[task], "", json.dumps(document).encode()))
        assert native.address.queue == queue


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('queue = "slow"', 'queue = "slwo"', r"task:app.resize: its queue 'slwo' is not in unified.queues.*slow"),
        ('queue = "images"', 'queue = "mail"', r"dramatiq:resize: its queue 'mail' is not in legacy.dramatiq.queues"),
    ],
)
def test_a_queue_that_nobody_consumes_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        plan_of(tmp_path, PLAN.replace(old, new))
