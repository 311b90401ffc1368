"""A RabbitMQ node for each process of the run, a virtual host of its own for each test."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from rabbit_scene import RabbitScene, make_scene
from rabbit_server import RabbitServer

from migrator.embedded_redis import EmbeddedServer

_numbers = itertools.count(1)
# One process for all would be the last of the run by minutes. These stop nodes or run whole sides on them.
_RUNS = (
    "test_rabbitmq_cutover",
    "test_rabbitmq_kills",
    "test_rabbitmq_rehearse",
    "test_rabbitmq_dedup_log",
    "test_rabbitmq_workers",
)
# pika tells every step of every connection.
logging.getLogger("pika").setLevel(logging.CRITICAL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests need a server that takes seconds to start, so they share two processes."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.acceptance)
            item.add_marker(pytest.mark.xdist_group("rabbitmq-runs" if item.path.stem in _RUNS else "rabbitmq"))


@pytest.fixture
def vhost(rabbit: RabbitServer) -> Iterator[str]:
    """An empty virtual host."""
    name = f"t{next(_numbers)}"
    rabbit.make_host(name)
    yield name
    rabbit.manage("DELETE", f"vhosts/{quote(name)}")


@pytest.fixture
def rabbit_only(tmp_path: Path, rabbit: RabbitServer, vhost: str) -> Iterator[RabbitScene]:
    """Everything on one RabbitMQ."""
    url = rabbit.url(vhost)
    with make_scene(tmp_path, dramatiq=url, celery=url, unified=url) as scene:
        yield scene


@pytest.fixture
def to_redis(tmp_path: Path, rabbit: RabbitServer, vhost: str, redis_server: EmbeddedServer) -> Iterator[RabbitScene]:
    """Both legacy systems on RabbitMQ, the unified queue on Redis."""
    redis.Redis(port=redis_server.port, socket_timeout=5).flushall()
    url = rabbit.url(vhost)
    with make_scene(tmp_path, dramatiq=url, celery=url, unified=redis_server.url()) as scene:
        yield scene


@pytest.fixture
def to_rabbit(tmp_path: Path, rabbit: RabbitServer, vhost: str, redis_server: EmbeddedServer) -> Iterator[RabbitScene]:
    """Both legacy systems on Redis, the unified queue on RabbitMQ."""
    redis.Redis(port=redis_server.port, socket_timeout=5).flushall()
    url = redis_server.url()
    with make_scene(tmp_path, dramatiq=url, celery=url, unified=rabbit.url(vhost)) as scene:
        yield scene


@pytest.fixture
def two_hosts(tmp_path: Path, rabbit: RabbitServer, vhost: str) -> Iterator[RabbitScene]:
    """Legacy and unified on two virtual hosts, which is as far apart as two brokers: no transaction spans them."""
    other = f"{vhost}-unified"
    rabbit.make_host(other)
    url = rabbit.url(vhost)
    with make_scene(tmp_path, dramatiq=url, celery=url, unified=rabbit.url(other)) as scene:
        yield scene
    rabbit.manage("DELETE", f"vhosts/{quote(other)}")


@pytest.fixture(params=["rabbit_only", "to_redis", "to_rabbit", "two_hosts"])
def any_scene(request: pytest.FixtureRequest) -> RabbitScene:
    """The same test in every constellation."""
    return request.getfixturevalue(request.param)
