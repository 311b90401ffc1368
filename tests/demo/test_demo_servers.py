"""The demo's servers: embedded by default, a given one only if its databases are empty."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
import redis

from migrator.demo.servers import demo_servers
from migrator.embedded_redis import EmbeddedServer, free_port
from migrator.errors import RefusedError, UnreachableError

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_an_embedded_redis_and_a_market_are_started_and_stopped(tmp_path: Path) -> None:
    with demo_servers(FIXTURES, tmp_path, None) as environ:
        client = redis.Redis.from_url(environ["CELERY_BROKER_URL"])
        assert client.ping()
        with urllib.request.urlopen(environ["MARKET_URL"] + "/_control/requests", timeout=5) as response:
            assert response.status == 200
    with pytest.raises(redis.ConnectionError):
        client.ping()
    with pytest.raises(OSError):
        urllib.request.urlopen(environ["MARKET_URL"], timeout=5)


def test_a_given_server_is_used_if_it_is_empty(tmp_path: Path, redis_server: EmbeddedServer) -> None:
    with demo_servers(FIXTURES, tmp_path, redis_server.url(3)) as environ:
        assert environ["CELERY_BROKER_URL"] == environ["DRAMATIQ_BROKER_URL"] == redis_server.url(3)
        assert environ["CELERY_RESULT_BACKEND"] == redis_server.url(4)


def test_a_database_that_is_not_empty_is_refused(tmp_path: Path, redis_server: EmbeddedServer) -> None:
    client = redis.Redis.from_url(redis_server.url(7))
    client.set("other", 1)
    with (
        pytest.raises(RefusedError, match=r"database 7: is not empty.*1 keys"),
        demo_servers(FIXTURES, tmp_path, redis_server.url(6)),
    ):
        pass
    assert client.get("other") == b"1"


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(UnreachableError, match="check --redis-url"), demo_servers(FIXTURES, tmp_path, url):
        pass
