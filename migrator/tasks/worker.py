"""What this app gives to the workers of a Celery app that is the project's own.

They release parked messages, accept legacy aliases, store messages that no task can run, and store every call that
fails for good, whatever class its task has.
Source: celery/worker/worker.py (`celeryd_init` comes before settings are read and steps are built),
celery/app/trace.py (`task_failure` is sent when no retry follows).
"""

from __future__ import annotations

from typing import Any

from celery._state import _get_active_apps
from celery.signals import celeryd_init, task_failure, worker_ready

from .base import UnifiedTask, store_failure
from .dead_letter import close_idle_connections, import_after_outage
from .legacy_aliases import LegacyAliases
from .parked import ReleaseParked

_CONSUMER = "celery.worker.consumer:Consumer"


def connect() -> None:
    """Extend the apps that there are, and each whose worker starts."""
    for app in _get_active_apps():
        extend(app)
    celeryd_init.connect(_extend_worker)
    worker_ready.connect(_import_spooled)
    task_failure.connect(keep_failure)


def extend(app: Any) -> None:
    """Add to a Celery app what its workers do for dead letters and late messages; a second time changes nothing."""
    app.steps["consumer"].update({ReleaseParked, LegacyAliases})
    if app.conf.worker_consumer == _CONSUMER:
        app.conf.worker_consumer = f"{__package__}.consumer:DeadLetterConsumer"


def keep_failure(sender: Any, task_id: str, exception: Any, **call: Any) -> None:
    """Store a call that failed for good; not one that runs where it is called, nor a failure that its task expects."""
    if isinstance(sender, UnifiedTask) or isinstance(exception, tuple(sender.throws or ())):
        return
    if sender.request.id == task_id and sender.request.is_eager:
        return
    store_failure(sender, exception, task_id, args=call["args"], kwargs=call["kwargs"], einfo=call["einfo"])


def _extend_worker(instance: Any = None, **_: Any) -> None:
    if instance is not None:
        extend(instance.app)


def _import_spooled(**_: Any) -> None:
    import_after_outage()
    close_idle_connections()
