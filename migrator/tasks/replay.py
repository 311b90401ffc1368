"""What operators do with dead letters: view, send again, mark as resolved.

Used by the admin, by `manage.py taskfailures` and by code.
"""

from __future__ import annotations

import base64
import logging
import uuid
from typing import Any

from .dead_letter import REPLAY_HEADER
from .exact_json import decode
from .host_settings import celery_app
from .models import TaskFailure

logger = logging.getLogger(__name__)

#: Longest wait for the broker when a call is sent again.
SEND_TIMEOUT_S = 10.0
#: A broker that is down must not keep the row's transaction open: one more attempt, then an error.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.2, "interval_max": 0.5}


class CannotReplayError(Exception):
    """The dead letter can't be sent again; the text says why."""


def list_failures(*, status: str = "open", task_name: str = "", limit: int = 100) -> list[TaskFailure]:
    """Return dead letters, newest first; an empty status means all."""
    rows = TaskFailure.objects.all()
    if status:
        rows = rows.filter(status=status)
    if task_name:
        rows = rows.filter(task_name=task_name)
    return list(rows[:limit])


def find_failure(reference: str | int) -> TaskFailure:
    """Return a dead letter by its number or its key; CannotReplayError if there is none."""
    text = str(reference)
    try:
        chosen = {"pk": int(text)} if text.isdecimal() and len(text) < 19 else {"key": uuid.UUID(text)}
        failure: TaskFailure = TaskFailure.objects.get(**chosen)
    except (TaskFailure.DoesNotExist, ValueError):
        raise CannotReplayError(f"{reference}: no such dead letter; `taskfailures list` shows them") from None
    return failure


def retry_failure(reference: str | int) -> str:
    """Send the call again with exactly its arguments and return the new task id.

    The row is claimed, the call sent and the row marked in one transaction: of two operators one gets an error, and
    when the broker refuses, the row stays open. The id belongs to the row: should the process die between sending
    and marking, the call sent again has the same id.
    """
    from django.db import router, transaction
    from django.utils import timezone

    failure = find_failure(reference)
    task_id = str(uuid.uuid5(failure.key, "retry"))
    with transaction.atomic(using=router.db_for_write(TaskFailure)):
        claimed = TaskFailure.objects.filter(pk=failure.pk, status=TaskFailure.Status.OPEN).update(
            status=TaskFailure.Status.RETRIED, retry_task_id=task_id, resolved_at=timezone.now()
        )
        if not claimed:
            failure.refresh_from_db()
            raise CannotReplayError(f"{reference}: it is {failure.get_status_display()}; only open ones are sent again")
        if not failure.replayable:
            raise CannotReplayError(
                f"{reference}: its arguments could not be kept exactly (found {failure.args[:200]} "
                f"{failure.kwargs[:200]}); call the task by hand and resolve this one"
            )
        if failure.raw and not failure.queue:
            raise CannotReplayError(f"{reference}: it is not a task message; see `raw` and resolve it")
        if failure.raw:
            _send_raw(failure)
        else:
            _send_call(failure, task_id)
    logger.info("dead_letter=retried task=%s id=%s new_id=%s", failure.task_name, failure.task_id, task_id)
    return failure.task_id if failure.raw else task_id


def resolve_failure(reference: str | int, note: str = "") -> None:
    """Mark a dead letter as resolved; resolving twice changes nothing."""
    from django.utils import timezone

    failure = find_failure(reference)
    TaskFailure.objects.filter(pk=failure.pk, status=TaskFailure.Status.OPEN).update(
        status=TaskFailure.Status.RESOLVED, resolved_at=timezone.now(), note=note
    )


def _send_call(failure: TaskFailure, task_id: str) -> None:
    args, kwargs = failure.arguments
    celery_app().send_task(
        failure.task_name,
        args,
        kwargs,
        task_id=task_id,
        queue=failure.queue or None,
        priority=failure.priority,
        headers=decode(failure.headers),
        retry_policy=_RETRY_POLICY,
    )


def _send_raw(failure: TaskFailure) -> None:
    """Publish the message as it was: body, headers and type untouched."""
    raw: dict[str, Any] = decode(failure.raw)
    with celery_app().producer_pool.acquire(block=True, timeout=SEND_TIMEOUT_S) as producer:
        properties = raw["properties"]
        producer.publish(
            base64.b64decode(raw["body"]),
            exchange="",
            routing_key=failure.queue,
            content_type=raw["content_type"],
            content_encoding=raw["content_encoding"],
            headers={**(raw["headers"] or {}), REPLAY_HEADER: str(failure.key)},
            priority=properties.get("priority"),
            correlation_id=properties.get("correlation_id"),
            reply_to=properties.get("reply_to"),
            retry=True,
            retry_policy=_RETRY_POLICY,
        )
