"""The state of everything the tasks need, without raising and without creating a provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from . import spool
from .celery import app
from .host_settings import host_setting, load_object
from .providers import _scraper_cache, get_cache

#: Longest wait for the broker.
BROKER_TIMEOUT_S = 3.0


def report() -> dict[str, Any]:
    """Return `status`, the outcome of each check, what is wrong where, and the number of dead letters."""
    tries: dict[str, Callable[[], None]] = {"broker": _broker, "database": _database, "cache": _cache}
    for name, path in host_setting("PROVIDERS").items():
        tries[f"provider:{name}"] = partial(load_object, path, setting_name="PROVIDERS")
    errors = {name: error for name, check in tries.items() if (error := _try(check))}
    return {
        "status": "unhealthy" if errors else "healthy",
        "checks": {name: name not in errors for name in tries},
        "errors": errors,
        "providers_created": sorted(_scraper_cache),
        "dead_letters": _dead_letters(),
    }


def _try(check: Callable[[], Any]) -> str | None:
    """Return what is wrong, if anything."""
    try:
        check()
    except Exception as error:  # noqa: BLE001  # finding out what is wrong is the purpose
        return f"{type(error).__name__}: {error}"
    return None


def _broker() -> None:
    with app.connection_for_write(connect_timeout=BROKER_TIMEOUT_S) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=BROKER_TIMEOUT_S)


def _database() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def _cache() -> None:
    cache = get_cache()
    probe = f"{time.time_ns()}"
    cache.set("health", "probe", probe, 60)
    found = cache.get("health", "probe")
    if found != probe:
        raise RuntimeError(f"the cache does not return what was written (found {found!r}); check CACHES")


def _dead_letters() -> dict[str, int | None]:
    """Return how many wait in the database and in the spool; None: can't be counted now."""
    from .models import TaskFailure

    counts: dict[str, int | None] = {"open": None, "spooled": None}
    _try(lambda: counts.update(open=TaskFailure.objects.filter(status=TaskFailure.Status.OPEN).count()))
    _try(lambda: counts.update(spooled=len(spool.pending())))
    return counts
