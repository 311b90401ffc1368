"""A Redis with a replica and two Sentinels, on free loopback ports."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from waiting import wait_until

from migrator.embedded_redis import EmbeddedServer, find_server, free_port

MASTER = "shop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """They watch two servers, of which one is the master."""

    first: EmbeddedServer
    second: EmbeddedServer
    ports: tuple[int, ...]

    @property
    def url(self) -> str:
        """Return the URL as Celery has it."""
        return ";".join(f"sentinel://127.0.0.1:{port}" for port in self.ports)

    def master(self) -> int:
        """Return the port of the master that the first Sentinel names."""
        with redis.Redis(port=self.ports[0], socket_timeout=5) as client:
            return int(client.sentinel_get_master_addr_by_name(MASTER)[1])  # type: ignore[no-untyped-call]

    def fail_over(self) -> None:
        """Let the Sentinels make the other server the master, and wait until they have."""
        before = self.master()
        with redis.Redis(port=self.ports[0], socket_timeout=5) as client:
            client.execute_command("SENTINEL", "FAILOVER", MASTER)  # type: ignore[no-untyped-call]
        wait_until(lambda: self.master() != before, timeout_s=30)


@contextmanager
def running_sentinels(folder: Path) -> Iterator[Sentinels]:
    """Run them; all are ended afterwards, by their pids."""
    with ExitStack() as stack:
        servers = []
        for name in ("first", "second"):
            follows = ("--replicaof", f"127.0.0.1 {servers[0].port}") if servers else ()
            server = EmbeddedServer(
                port=free_port(),
                folder=folder / name,
                binary=find_server(),
                arguments=(*follows, "--appendonly", "yes"),
            )
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        ports = tuple(stack.enter_context(_sentinel(folder / f"sentinel-{n}", servers[0].port)) for n in range(2))
        sentinels = Sentinels(first=servers[0], second=servers[1], ports=ports)
        wait_until(lambda: all(_sees_all(port) for port in ports), timeout_s=60)
        yield sentinels


@contextmanager
def _sentinel(folder: Path, master_port: int) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n"
        f"sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_server(), file, "--sentinel"], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _sees_all(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=5) as client:
            facts = client.sentinel_master(MASTER)  # type: ignore[no-untyped-call]
            return int(facts["num-slaves"]) == 1 and int(facts["num-other-sentinels"]) == 1
    except redis.RedisError:
        return False
