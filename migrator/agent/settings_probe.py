"""Report which brokers and databases the project's own code would use; the arguments are the settings and modules.

It reports what the project's modules are configured with after import, not what the plan assumes. Importing them opens
no connection to a broker.

Source: celery/_state.py (`_get_active_apps`), kombu/connection.py (`alt`, `info`), dramatiq/broker.py (`get_broker`),
dramatiq/brokers/rabbitmq.py (`parameters`: one or a list).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from .project_setup import set_up


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Import the project and read its settings."""
    set_up(arguments[0])
    from django.conf import settings

    for name in arguments[1:]:
        importlib.import_module(name)
    return {
        "brokers": [*_celery_brokers(), *_dramatiq_brokers()],
        "databases": [f"{given.get('NAME')}@{given.get('HOST') or ''}" for given in settings.DATABASES.values()],
        "others": {**_others(settings), **_results()},
    }


def _others(settings: Any) -> dict[str, str]:
    found = {
        f"cache {name}": str(cache.get("LOCATION"))
        for name, cache in settings.CACHES.items()
        if "Redis" in cache["BACKEND"] or "Memcache" in cache["BACKEND"]
    }
    # By Django's defaults mail goes to this machine; only a project that sets the host sends mail.
    if settings.EMAIL_BACKEND.endswith("smtp.EmailBackend") and settings.is_overridden("EMAIL_HOST"):
        found["mail"] = f"smtp://{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    return found


def _results() -> dict[str, str]:
    from celery import _state

    apps = _state._get_active_apps()
    return {f"results of {app.main}": str(app.conf.result_backend) for app in apps if app.conf.result_backend}


def _celery_brokers() -> Iterator[str]:
    import kombu
    from celery import _state

    for app in _state._get_active_apps():
        if app.main == "default" and not app.conf.broker_url:
            continue
        for connection in (app.connection_for_write(), app.connection_for_read()):
            for one in [kombu.Connection(url) for url in connection.alt or ()] or [connection]:
                given = one.info()
                yield _address(*(given[name] for name in ("transport", "hostname", "port", "virtual_host")))


def _dramatiq_brokers() -> Iterator[str]:
    if "dramatiq" not in sys.modules:
        return
    import dramatiq

    broker = dramatiq.get_broker()
    client = getattr(broker, "client", None)
    if client is not None:
        given = client.connection_pool.connection_kwargs
        yield _address("redis", *(given.get(name) for name in ("host", "port", "db")))
    parameters = getattr(broker, "parameters", None) or ()
    for one in parameters if isinstance(parameters, (list, tuple)) else [parameters]:
        yield _address("amqp", one.host, one.port, one.virtual_host)


def _address(scheme: str, host: Any, port: Any, virtual_host: Any) -> str:
    return f"{scheme}://{host}:{port}/{quote(str(virtual_host), safe='')}"
