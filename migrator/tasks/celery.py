"""The Celery app of the unified queue and its defaults.

Settings named `CELERY_*` in the project's Django settings win over every default here.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import worker_ready
from kombu import Exchange, Queue

from . import market_defaults  # noqa: F401  # before anything asks for a setting or a priority
from .legacy_aliases import LegacyAliases
from .parked import ReleaseParked
from .priority import MAX_PRIORITY, higher_runs_first, resolve

DEFAULT_SETTINGS_MODULE = "migrator.tasks.settings"

os.environ.setdefault("DJANGO_SETTINGS_MODULE", DEFAULT_SETTINGS_MODULE)

logger = logging.getLogger(__name__)

#: Redis gives a message to another worker when it has not been acknowledged for this long.
VISIBILITY_TIMEOUT_S = 3600
#: Raised inside the task; the hard limit kills its process. Together with the longest wait of a retry (960 s) they
#: stay under the visibility timeout, or a message would run twice.
SOFT_TIME_LIMIT_S = 1500
TIME_LIMIT_S = 1680


class UnifiedCelery(Celery):
    """Celery that gives each message the priority of its task on the broker in use."""

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a task. Every way of sending ends here: delay, chains, groups, retries, beat, send by name."""
        options["priority"] = resolve(
            options.get("priority"), task_name=name, broker_url=self.conf.broker_write_url or ""
        )
        return super().send_task(name, *args, **options)


app = UnifiedCelery("tasks", include=[f"{__package__}.unified_tasks"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["consumer"].update({ReleaseParked, LegacyAliases})


def _defaults() -> dict[str, Any]:
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_default_queue": "unified",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_time_limit": TIME_LIMIT_S,
        "task_soft_time_limit": SOFT_TIME_LIMIT_S,
        "worker_prefetch_multiplier": 1,
        "worker_consumer": f"{__package__}.consumer:DeadLetterConsumer",
        "broker_connection_retry_on_startup": True,
        "beat_schedule": {
            "fetch-stocks-every-5-min": {
                "task": "tasks.fetch_yahoo_stocks",
                "schedule": crontab(minute="*/5"),
                "kwargs": {"limit": 50},
            },
            "fetch-crypto-every-5-min": {
                "task": "tasks.fetch_binance_cryptos",
                "schedule": crontab(minute="*/5"),
                "kwargs": {"limit": 30},
            },
            "calculate-indicators-hourly": {
                "task": "tasks.calculate_indicators",
                "schedule": crontab(minute=0, hour="*"),
                "kwargs": {"period": 200},
            },
        },
    }


@app.on_after_configure.connect
def complete_settings(source: Any, **_: Any) -> None:
    """Set the defaults that the project does not set.

    Not by `app.add_defaults`: those would win over the project's settings.
    Source: celery/utils/collections.py (`ChainMap.add_defaults` puts them before the configuration).
    """
    from django.conf import settings

    for name, value in _defaults().items():
        if name not in source.changes and not hasattr(settings, f"CELERY_{name.upper()}"):
            source[name] = value
    _fit_to_broker(source)


def _fit_to_broker(source: Any) -> None:
    if higher_runs_first(source.broker_url or ""):
        if not source.task_queues:
            # Only on our own queue: a queue that exists with other arguments can't be declared again.
            name = source.task_default_queue
            source.task_queues = (Queue(name, Exchange(name), routing_key=name, max_priority=MAX_PRIORITY),)
    else:
        source.broker_transport_options = {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            **(source.broker_transport_options or {}),
        }


@worker_ready.connect
def import_spooled_dead_letters(sender: Any, **_: Any) -> None:
    """Import the dead letters that were spooled while the database was down."""
    if sender.app is not app:
        return
    from .dead_letter import close_idle_connections, import_after_outage

    import_after_outage()
    close_idle_connections()
