"""Pushes and the script that ends their transaction: all or nothing, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from migrator.brokers.redis.keys import LEDGER, LOCK
from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.brokers.redis.server import RedisServer
from migrator.embedded_redis import EmbeddedServer

MESSAGES = [b"m1", b"m2", b"m3"]


@pytest.fixture
def pipeline(redis_server: EmbeddedServer) -> Iterator[RedisPipeline]:
    """A server with the lock held by ``us``, three messages claimed of four, and one in the destination."""
    server = RedisServer(redis_server.url())
    client = server.client
    client.flushall()
    client.set(LOCK, "us")
    client.rpush("claim", "a", "b", "c", "d")
    client.hset("bodies", mapping=dict.fromkeys("abcd", "body"))
    client.lpush("to", "before")
    pipeline = RedisPipeline(server)
    yield pipeline
    pipeline.close()
    server.close()


def _apply(pipeline: RedisPipeline, *, claimed: int = 4) -> None:
    last = MESSAGES[-1]
    arguments = ["us", 60_000, claimed, 3, 2, "pushed", 1, "list", 2, 3, last, "HDEL", 2, "hash", "claimed"]
    pipeline.result(pipeline.transact([("to", MESSAGES)], "apply", [LOCK, "claim", "to", "bodies"], arguments))


def _note(pipeline: RedisPipeline, *entries: str) -> None:
    arguments = ["us", 60_000, "now", 1, 3, MESSAGES[-1], *entries]
    pipeline.result(pipeline.transact([("to", MESSAGES)], "note", [LOCK, LEDGER, "to"], arguments))


def _contents(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter() if key != LOCK.encode()}


def test_messages_are_pushed_and_leave_the_claim(pipeline: RedisPipeline) -> None:
    _apply(pipeline)
    client = pipeline.server.client
    assert client.lrange("to", 0, -1) == [b"m3", b"m2", b"m1", b"before"]
    assert client.lrange("claim", 0, -1) == [b"d"]
    assert client.hkeys("bodies") == [b"d"]
    assert client.pttl(LOCK) > 50_000


def test_messages_are_pushed_and_recorded(pipeline: RedisPipeline) -> None:
    _note(pipeline, "x", "y", "z")
    client = pipeline.server.client
    assert client.lrange("to", 0, -1) == [b"m3", b"m2", b"m1", b"before"]
    assert client.hgetall(LEDGER) == {b"x": b"now", b"y": b"now", b"z": b"now"}


OBSTACLES: list[tuple[str, Callable[[redis.Redis], object], Callable[[RedisPipeline], None], str]] = [
    ("another run holds the lock", lambda c: c.set(LOCK, "others"), _apply, "FENCED"),
    ("another run holds the lock there", lambda c: c.set(LOCK, "others"), lambda at: _note(at, *"xyz"), "FENCED"),
    ("the lock has expired", lambda c: c.delete(LOCK), _apply, "FENCED"),
    ("the claim has changed", lambda c: c.rpush("claim", "e"), _apply, "CHANGED"),
    ("the destination is no list", lambda c: (c.delete("to"), c.set("to", "x")), _apply, "WRONGTYPE"),
    (
        "the destination there is no list",
        lambda c: (c.delete("to"), c.set("to", "x")),
        lambda at: _note(at, *"xyz"),
        "WR",
    ),
    ("the bodies are no hash", lambda c: (c.delete("bodies"), c.set("bodies", "x")), _apply, "WRONGTYPE"),
    ("the ledger is no hash", lambda c: c.set(LEDGER, "x"), lambda at: _note(at, *"xyz"), "WRONGTYPE"),
    ("one has arrived before", lambda c: c.hset(LEDGER, "y", "then"), lambda at: _note(at, *"xyz"), "CHANGED"),
    ("one occurs twice", lambda c: c.hset(LEDGER, "w", "then"), lambda at: _note(at, *"xyx"), "CHANGED"),
    ("the memory is full", lambda c: c.config_set("maxmemory", 1), _apply, "command not allowed"),
]


@pytest.mark.parametrize(
    ("obstacle", "act", "error"), [row[1:] for row in OBSTACLES], ids=[row[0] for row in OBSTACLES]
)
def test_a_refusal_leaves_everything_as_it_was(
    pipeline: RedisPipeline, obstacle: Callable[[redis.Redis], object], act: Callable[[RedisPipeline], None], error: str
) -> None:
    client = pipeline.server.client
    obstacle(client)
    before = _contents(client)
    try:
        with pytest.raises(redis.RedisError, match=error):
            act(pipeline)
        assert _contents(client) == before
    finally:
        client.config_set("maxmemory", 0)


def test_a_push_that_the_server_refused_is_noticed(pipeline: RedisPipeline) -> None:
    # For example when the user's permissions change between the request and its execution.
    client = pipeline.server.client
    before = _contents(client)
    arguments = ["us", 60_000, 4, 3, 2, "pushed", 1, "list", 2, 3, "never pushed", "HDEL", 2, "hash", "claimed"]
    with pytest.raises(redis.RedisError, match="nothing was pushed"):
        pipeline.result(
            pipeline.transact([("elsewhere", MESSAGES)], "apply", [LOCK, "claim", "to", "bodies"], arguments)
        )
    client.delete("elsewhere")
    assert _contents(client) == before
