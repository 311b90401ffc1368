"""The base class of all unified tasks: backoff, retries of what failed, dead letters.

A task body raises, and this class decides what happens: it waits 60, 120, 240, 480, 960 s, or as long as the provider
asked for if that is longer; when the retries are used up, the call becomes a dead letter.
Source: celery/app/autoretry.py, celery/app/task.py (`Task.retry`).
"""

from __future__ import annotations

import inspect
import logging
import time
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Task
from celery.exceptions import Reject, Retry
from celery.signals import task_failure
from django.core.exceptions import ImproperlyConfigured

from .dead_letter import Delivery, close_idle_connections, copy_id, send_to_dead_letter
from .priority import Priority, resolve
from .retry_after import retry_after_s

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 60
LOST_WORKER_DELAY_S = 2
#: Symbols that succeeded in earlier attempts of the same call.
SUCCEEDED_HEADER = "x-succeeded-before"
#: A call must not run before this time (seconds since the epoch); set when the wait is longer than one hop.
NOT_BEFORE_HEADER = "x-not-before"
#: Longest single wait where there is no visibility timeout: RabbitMQ closes the channel of a worker that holds a
#: message for 30 minutes.
HOP_S = 600.0


class BadArgumentsError(TypeError):
    """The call doesn't fit the task; trying again would change nothing."""


class PartialFailureError(Exception):
    """Some symbols failed; a retry takes only those. Plain attributes: it must survive pickling."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        #: Symbols that are still to be done.
        self.remaining: list[str] = []
        #: Number of symbols done in this attempt.
        self.succeeded = 0
        self.retry_after: float | None = None


class UnifiedTask(Task):
    """Retries with exponential backoff, and stores what fails permanently as a dead letter."""

    abstract = True
    autoretry_for = (Exception,)
    dont_autoretry_for = (BadArgumentsError, ImproperlyConfigured)
    acks_late = True
    reject_on_worker_lost = True
    #: A run whose process was killed counts as an attempt; otherwise a call that exhausts the memory would kill one
    #: process after another forever.
    retry_on_worker_lost = True
    default_retry_delay = LOST_WORKER_DELAY_S
    #: How urgent its calls are; None: as the table of policies says, or MEDIUM.
    level: Priority | None = None

    @property
    def priority(self) -> int:
        """The number of this task's level for the broker in use."""
        return resolve(self.level, task_name=self.name, broker_url=self.app.conf.broker_write_url or "")

    @property
    def retry_horizon_s(self) -> float:
        """How long after its first failure a call may go on being retried, if no provider asks for more."""
        return float(FIRST_DELAY_S * (2 ** (self.max_retries or 0) - 1))

    def delay_s(self, exc: Any = None) -> float:
        """Return how long to wait before the next attempt."""
        backoff: float = FIRST_DELAY_S * 2**self.request.retries
        return max(backoff, retry_after_s(exc) or 0)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Refuse arguments that don't fit; send a call again that has to wait longer than one hop."""
        try:
            inspect.signature(self.run).bind(*args, **kwargs)
        except TypeError as error:
            raise BadArgumentsError(
                f"{self.name}: {error} (found args {args!r:.500}, kwargs {kwargs!r:.500})"
            ) from None
        not_before = (self.request.headers or {}).get(NOT_BEFORE_HEADER)
        if not_before is None or self.request.is_eager:
            return
        left_s = float(not_before) - time.time()
        if left_s > 1:
            self._wait_another_hop(left_s)

    def retry(self, args: Any = None, kwargs: Any = None, exc: Any = None, **options: Any) -> Any:
        """Try again later, with the same id, queue, priority and headers, and only with what failed."""
        headers = dict(self.request.as_execution_options()["headers"] or {})
        headers.pop(NOT_BEFORE_HEADER, None)
        if isinstance(exc, PartialFailureError):
            if args is None and kwargs is None:
                args, kwargs = (), self.narrowed(exc.remaining, self.request.args, self.request.kwargs)
            headers[SUCCEEDED_HEADER] = headers.get(SUCCEEDED_HEADER, 0) + exc.succeeded
        if options.get("countdown") is None and options.get("eta") is None:
            options["countdown"] = self.delay_s(exc)
        if (countdown_s := options.get("countdown")) and countdown_s > self._hop_s():
            headers[NOT_BEFORE_HEADER] = time.time() + countdown_s
            options["countdown"] = self._hop_s()
        options["headers"] = {**headers, **(options.get("headers") or {})}
        try:
            return super().retry(args, kwargs, exc, **options)
        except Reject as refused:
            # The broker did not take the new message: Celery would drop the old one as well.
            raise Reject(refused.reason, requeue=True) from refused

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Store as a dead letter what is still to be done of the call."""
        if isinstance(exc, PartialFailureError):
            args, kwargs = (), self.narrowed(exc.remaining, args, kwargs)
        store_failure(self, exc, task_id, args=args, kwargs=kwargs, einfo=einfo)

    def narrowed(self, remaining: list[str], args: Any, kwargs: Any) -> dict[str, Any]:
        """Return the call's arguments by name, with only these symbols."""
        bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))
        return {**bound.arguments, "symbols": list(remaining)}

    def _hop_s(self) -> float:
        """Return the longest single wait: a message held longer than the visibility timeout would run twice."""
        visibility_s = (self.app.conf.broker_transport_options or {}).get("visibility_timeout")
        return visibility_s / 2 if visibility_s else HOP_S

    def _wait_another_hop(self, left_s: float) -> None:
        countdown_s = min(left_s, self._hop_s())
        signature = self.signature_from_request(countdown=countdown_s, retries=self.request.retries)
        try:
            signature.apply_async()
        except Exception as error:
            raise Reject(error, requeue=True) from error
        raise Retry("still waiting", when=countdown_s, sig=signature)


_OF_ONE_DELIVERY = frozenset({SUCCEEDED_HEADER, NOT_BEFORE_HEADER, "redelivered"})


def store_failure(task: Task, exc: Any, task_id: str, *, args: Any, kwargs: Any, einfo: Any) -> None:
    """Store a call of any task as a dead letter."""
    known = task.request.id == task_id  # a hard time limit is reported outside of the request
    headers = dict(task.request.as_execution_options()["headers"] or {}) if known else {}
    delivery_info = (task.request.delivery_info or {}) if known else {}
    send_to_dead_letter(
        task.name,
        args,
        kwargs,
        exc,
        delivery=Delivery(
            task_id=task_id,
            copy_id=copy_id(task.request.properties or {}, headers) if known else "",
            queue=delivery_info.get("routing_key") or "",
            priority=delivery_info.get("priority"),
            attempts=task.request.retries + 1 if known else None,
            headers={name: value for name, value in headers.items() if name not in _OF_ONE_DELIVERY},
            traceback=str(einfo or ""),
        ),
    )
    close_idle_connections()


@task_failure.connect
def keep_when_worker_lost(sender: Any, task_id: str, exception: Any, **call: Any) -> None:
    """Store a call whose process was killed in its last attempt: Celery does not call `on_failure` then."""
    if isinstance(sender, UnifiedTask) and isinstance(exception, WorkerLostError):
        sender.on_failure(exception, task_id, call["args"], call["kwargs"], call["einfo"])
