"""URLs as people write them: never shown with a secret, and read as Celery and Dramatiq read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.redis.client import client_url
from migrator.brokers.redis.server import RedisServer, failure
from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import MigratorError, RefusedError, UsageError
from migrator.redaction import redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/3", "redis://host:6379/3"),
        ("redis://host", "redis://host"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("rediss://:secret@host:6379/0?ssl_cert_reqs=none", "rediss://host:6379/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("unix://user:secret@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis+socket:///run/redis.sock?virtual_host=2&password=secret", "redis+socket:///run/redis.sock?db=2"),
        ("amqp://user:sec@ret@host:5672//", "amqp://host:5672//"),
        # Not escaped: the parser ends the password there, and takes the rest as host, path or options.
        ("redis://:sec/ret@host:6379/0", "redis://…"),
        ("redis://:sec#ret@host:6379/0", "redis://…"),
        ("redis://:sec?ret@host:6379/0", "redis://…"),
        ("redis://host/0?password=sec@ret", "redis://…"),
        ("redis://:secret/0", "redis://:…/0"),
        (":secret@host:6379", "…"),
    ],
)
def test_no_part_of_a_secret_is_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    try:
        server = RedisServer(url)
    except MigratorError as error:
        assert "sec" not in str(error)
        assert "ret" not in str(error)
    else:
        server.close()


@pytest.mark.parametrize(
    "url", ["amqp://u:sec/ret@host:5672//", "amqp://u:sec?ret@host//", "amqp://u:sec#ret@host:1//"]
)
def test_no_part_of_a_secret_is_shown_for_rabbitmq(url: str) -> None:
    with pytest.raises(UsageError, match="this is no URL of a RabbitMQ server") as caught:
        RabbitmqServer(url)
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value)


def test_celerys_forms_are_read(tmp_path: Path) -> None:
    assert client_url("valkeys://host/1?ssl_cert_reqs=CERT_NONE") == "rediss://host:6379/?db=1&ssl_cert_reqs=none"
    socket = tmp_path / "s"
    with embedded_server(folder=tmp_path / "server", arguments=("--unixsocket", str(socket))) as server:
        there = RedisServer(f"redis+socket://{socket}?virtual_host=2")
        there.client.set("here", 1)
        assert there.database == 2
        there.close()
        with redis.Redis.from_url(server.url(2)) as client:
            assert client.keys() == [b"here"]


def test_a_key_of_the_wrong_type_is_named(redis_server: EmbeddedServer) -> None:
    server = RedisServer(redis_server.url())
    server.client.set("a-list", "x")
    with pytest.raises(RefusedError, match="WRONGTYPE a-list, asked by LLEN"), server.translated():
        server.client.llen("a-list")
    server.client.delete("a-list")
    server.close()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("DB index is out of range", "the broker's URL"), ("NOPERM this user has no permissions", "RUNBOOK.md lists")],
)
def test_a_refusal_says_what_to_do(text: str, remedy: str) -> None:
    assert remedy in str(failure("redis://host/0", redis.ResponseError(text)))
