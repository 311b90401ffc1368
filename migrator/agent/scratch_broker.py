"""Connect the project's Celery applications and Dramatiq brokers to this run's own server, wherever they would connect.

So a project may name its broker as it likes: literally, in one variable or in several. Queues, options and middleware
stay the project's. A project that has no client of Redis, because it runs on RabbitMQ, gets brokers in memory.
Source: celery/app/base.py (``connection_for_write``), celery/app/utils.py (``Settings``), dramatiq/brokers/redis.py
(``RedisBroker.__init__``), dramatiq/broker.py (``declare_actor``), kombu/transport/memory.py, dramatiq/brokers/stub.py.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from typing import Any
from urllib.parse import urlsplit

#: Schemes of result stores that need no server.
_LOCAL_RESULTS = ("file", "db+sqlite", "disabled", "cache+memory", "in-memory")
_REDIS = ("redis", "rediss", "valkey", "valkeys", "redis+socket", "sentinel")


def has_redis() -> bool:
    """Tell whether the project has a client of Redis."""
    return importlib.util.find_spec("redis") is not None


def clear_memory() -> None:
    """Empty the brokers in memory."""
    if "kombu.transport.memory" in sys.modules:
        for queue in sys.modules["kombu.transport.memory"].Channel.queues.values():
            queue.queue.clear()
    if "dramatiq.brokers.stub" in sys.modules:
        stub = sys.modules["dramatiq.brokers.stub"].StubBroker
        for broker in [found for found in gc.get_objects() if issubclass(type(found), stub)]:
            broker.flush_all()


def use_scratch_server(port: int) -> None:
    """Connect every application and broker that this process has created to ``redis://127.0.0.1:port``."""
    if "celery" in sys.modules:
        from celery import _state

        for app in _state._get_active_apps():
            use_for_celery(app, port)
    if "dramatiq" in sys.modules:
        from dramatiq.broker import Broker

        # By type: to ask a lazy object for its class would evaluate it.
        for broker in [found for found in gc.get_objects() if issubclass(type(found), Broker)]:
            use_for_dramatiq(broker, port)


def use_for_celery(app: Any, port: int) -> None:
    """Connect one application; its database numbers stay."""
    if app.main == "default" and not app.conf.broker_url:
        return
    scheme, database = _known(app.conf.broker_url or "")
    if not _is_scratch(app.conf.broker_url, port):
        url = f"redis://127.0.0.1:{port}/{database}" if has_redis() else "memory://"
        changed: dict[str, Any] = {"broker_url": url, "broker_read_url": url, "broker_write_url": url}
        changed |= {"broker_use_ssl": None}
        if scheme not in _REDIS:
            changed["broker_transport_options"] = {}
        app.conf.update(changed)
    results = app.conf.result_backend
    if results and "://" in results and not results.startswith(_LOCAL_RESULTS) and not _is_scratch(results, port):
        _, database = _known(results)
        app.conf.update(
            result_backend=f"redis://127.0.0.1:{port}/{database}",
            redis_backend_use_ssl=None,
            result_backend_transport_options={},
        )


def use_for_dramatiq(broker: Any, port: int) -> Any:
    """Connect one broker, or put one that can be connected in its place; return the one that is used."""
    from dramatiq.brokers.stub import StubBroker

    if isinstance(broker, StubBroker):
        return broker
    if has_redis() and isinstance(broker, importlib.import_module("dramatiq.brokers.redis").RedisBroker):
        given = broker.client.connection_pool.connection_kwargs
        if (given.get("host"), given.get("port")) != ("127.0.0.1", port):
            _connect(broker, port, int(given.get("db") or 0))
        return broker
    return _replaced(broker, port)


def _connect(broker: Any, port: int, database: int) -> None:
    import redis

    broker.client = redis.Redis(host="127.0.0.1", port=port, db=database)
    broker.scripts = {name: broker.client.register_script(item.script) for name, item in broker.scripts.items()}


def _replaced(broker: Any, port: int) -> Any:
    """Return a broker with the middleware, queues and actors of one that needs another server."""
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    if has_redis():
        redis = importlib.import_module("dramatiq.brokers.redis")
        new = redis.RedisBroker(host="127.0.0.1", port=port, middleware=[])
    else:
        new = StubBroker(middleware=[])
    new.middleware, new.actor_options = broker.middleware, set(broker.actor_options)
    for actor in list(broker.actors.values()):
        actor.broker = new
        new.declare_actor(actor)
    if dramatiq.broker.global_broker is broker:
        dramatiq.set_broker(new)
    return new


def _known(url: str) -> tuple[str, int]:
    """Return the scheme and the database number of a URL; 0 where it has none."""
    parts = urlsplit(url.split(";", maxsplit=1)[0])
    number = parts.path.strip("/")
    return parts.scheme, int(number) if number.isdigit() else 0


def _is_scratch(url: str | None, port: int) -> bool:
    return bool(url) and urlsplit(str(url)).netloc.rpartition(":")[2] == str(port)
