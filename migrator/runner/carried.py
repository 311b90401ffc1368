"""What is left of before the cutover: messages that a transfer moved and that have not run to their end.

A moved message carries its origin in a header, and a retry keeps it. A task that Celery acknowledged when it began is
on no broker while it runs, and may come back as a retry: those that run now are waited for before the broker is asked.
Source: celery/app/task.py (``signature_from_request``), celery/worker/state.py (``active``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.redis.heartbeats import connection
from migrator.brokers.redis.keys import PARKED
from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.wire.json_codec import HEADER
from migrator.wire.message import State
from migrator.workers import celery_control
from migrator.workers.probe import ask_worker

#: How long tasks that were acknowledged before they ran are waited for.
RUNNING_S = 20.0
#: Workers release every 30 s at the latest.
OVERDUE_S = 60.0
_MARK = f'"{HEADER}"'.encode()
_NOT_WAITING = (State.QUARANTINED, State.DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Messages of before the cutover that are still somewhere."""

    #: By queue and state.
    counts: Mapping[tuple[str, str], int]
    #: When the last of them is due; None if all are due.
    last_eta_at: datetime | None
    #: Names of tasks that run, were acknowledged before, and did not end while they were waited for.
    running: tuple[str, ...] = ()


def carried(plan: Plan, *, environ: Mapping[str, str]) -> Carried:
    """Return what is left on the broker of the unified side, and in its workers.

    Raises:
        UnreachableError: The broker does not answer.
    """
    running = _running(plan, environ)
    end = time.monotonic() + RUNNING_S
    while running and time.monotonic() < end:
        time.sleep(0.5)
        now = _running(plan, environ)
        running = {identity: name for identity, name in running.items() if identity in now}
    counts, last = waiting_carried(plan, environ=environ)
    return Carried(counts=counts, last_eta_at=last, running=tuple(sorted(set(running.values()))))


def waiting_carried(plan: Plan, *, environ: Mapping[str, str]) -> tuple[Mapping[tuple[str, str], int], datetime | None]:
    """Return how many are left on the broker by queue and state, and when the last of them is due.

    Raises:
        UnreachableError: The broker does not answer.
    """
    counts: Counter[tuple[str, str]] = Counter()
    last: datetime | None = None
    with closing(connect(plan.unified, environ)) as broker:
        for message in broker.scan():
            if message.state in _NOT_WAITING or _MARK not in message.raw:
                continue
            counts[message.queue, "retrying" if message.attempts else message.state.value] += 1
            if message.eta_at is not None:
                last = message.eta_at if last is None else max(last, message.eta_at)
    return dict(counts), last


def overdue_parked(plan: Plan, *, environ: Mapping[str, str]) -> int:
    """Return how many parked messages should have been released a while ago, so that no worker seems to do it.

    Raises:
        UnreachableError: The broker does not answer.
    """
    if is_on_rabbitmq(plan.unified, environ):
        return 0
    with connection(plan.unified, environ) as client:
        return 0 if client is None else int(client.zcount(PARKED, "-inf", (time.time() - OVERDUE_S) * 1000))


def _running(plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return id and name of the tasks that run now and that no broker would deliver again."""
    with celery_control.control(plan.unified, environ) as control:
        answers = celery_control.ask_all(control, "active")
    tasks = [task for answer in answers.values() if isinstance(answer, list) for task in answer]
    return {str(task["id"]): str(task["name"]) for task in tasks if task.get("acknowledged")}


def retry_horizons(plan: Plan, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Say for how long a call that fails now may go on being retried, by what the project's tasks really have."""
    try:
        retries: Mapping[str, Mapping[str, Any]] = ask_worker(plan, environ=environ)["retries"]
    except MigratorError as failure:
        return (f"how long a failed task may go on being retried is unknown: {failure}",)
    told = sorted(((horizon_s(given), name, given) for name, given in retries.items()), key=lambda item: -item[0])
    found = [_sentence(seconds, name, given) for seconds, name, given in told if seconds]
    return tuple(found[:3]) or ("no task is retried by itself",)


def horizon_s(retries: Mapping[str, Any]) -> float:
    """Return the sum of the waits of all retries, infinite where nothing limits them."""
    if retries["sum_s"] is not None:
        return float(retries["sum_s"])
    if retries["most"] is None:
        return float("inf")
    waits = (min(retries["first_s"] * 2**n, retries["longest_s"]) for n in range(retries["most"]))
    return float(sum(waits) if retries["doubles"] else retries["most"] * retries["first_s"])


def _sentence(seconds: float, name: str, retries: Mapping[str, Any]) -> str:
    if seconds == float("inf"):
        return f"{name} is retried without end (max_retries is None)"
    long = f"{seconds / 86_400:,.1f} days" if seconds >= 2 * 86_400 else f"{seconds:,.0f} s"
    own = f", if {retries['own']}.retry waits no longer" if retries["own"] and retries["sum_s"] is None else ""
    return f"{name} may go on being retried for {long} after a failure ({retries['most']} retries{own})"
