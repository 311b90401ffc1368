"""The lock: one run at a time, on every server that it writes to.

It works as a fence: every script of the transfer compares the lock with its own token first, so a run that was paused
and overtaken can't change anything any more. A lock expires after :data:`LIFE_MS`; one whose holder has ended on this
machine is taken over at once. Taking the lock increments a counter of runs, so a run that was paused and finds the
lock free can tell whether another run had it meanwhile, or a restart of the server has lost it.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
import redis

from migrator.brokers.redis.keys import LOCK, RUNS
from migrator.brokers.redis.server import RedisServer
from migrator.errors import InterruptedRunError, RefusedError

LIFE_MS = 30_000


class Holder(msgspec.Struct):
    """The holder of a lock; its JSON is the token."""

    nonce: str
    host: str
    #: Distinguishes one boot of the machine from the next.
    boot: str
    pid: int
    #: Start of the process in clock ticks since boot.
    started: int


def new_token() -> str:
    """Return the token of this process."""
    return msgspec.json.encode(
        Holder(
            nonce=uuid.uuid4().hex,
            host=socket.gethostname(),
            boot=_boot_id(),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
        )
    ).decode()


def acquire(servers: Iterable[RedisServer], token: str, *, wait_s: float, takeover: bool) -> None:
    """Take the lock on every server.

    Raises:
        RefusedError: Another run holds one of them.
    """
    wanted = list(servers)
    try:
        for server in wanted:
            _acquire_one(server, token, wait_s=wait_s, takeover=takeover)
    except BaseException:
        # On all of them: where it failed, only the answer may have been lost.
        release(wanted, token)
        raise


def retake(server: RedisServer, token: str) -> None:
    """Extend the lock; take it again where a restart of the server has lost it.

    Raises:
        InterruptedRunError: Another run has it, or has had it since.
        redis.RedisError: The server does not answer.
    """
    remedy = "let that run finish, check `migrator status`, then start again what is still needed"
    if server.run("lock", [LOCK], [token, LIFE_MS, ""]).decode() != token:
        raise InterruptedRunError(server.where, "another run took over", remedy=remedy)
    # Nobody else increments the counter while the lock is ours.
    runs = int(server.client.get(RUNS) or 0)
    if runs > server.run_number:
        server.run("unlock", [LOCK], [token])
        raise InterruptedRunError(server.where, "another run took over while this one was paused", remedy=remedy)
    if runs < server.run_number:
        server.client.set(RUNS, server.run_number)


def release(servers: Iterable[RedisServer], token: str) -> None:
    """Release the lock where it is still ours. Never raises: the lock expires by itself."""
    for server in servers:
        for _ in range(3):
            try:
                server.run("unlock", [LOCK], [token])
                break
            except (redis.RedisError, OSError):
                # The connection may have been lost; the next attempt opens a new one.
                continue


def _acquire_one(server: RedisServer, token: str, *, wait_s: float, takeover: bool) -> None:
    deadline = time.monotonic() + wait_s
    ended = ""
    while True:
        with server.translated():
            holder = server.run("lock", [LOCK], [token, LIFE_MS, ended]).decode()
        if holder == token:
            with server.translated():
                server.run_number = server.client.incr(RUNS)
            return
        if takeover or has_ended(holder):
            ended = holder
            continue
        if time.monotonic() >= deadline:
            raise RefusedError(
                f"{server.where} {LOCK}",
                f"another transfer holds the lock; waited {wait_s:g} s for it",
                found=_named(holder),
                remedy=f"let it finish; if it has ended, its lock expires within {LIFE_MS // 1000} s",
            )
        time.sleep(0.1)


def _named(token: str) -> str:
    """Return the holder of a lock as text."""
    holder = _holder(token)
    return token if holder is None else f"process {holder.pid} on {holder.host}"


def _holder(token: str) -> Holder | None:
    try:
        return msgspec.json.decode(token, type=Holder)
    except msgspec.MsgspecError:
        return None


def has_ended(token: str) -> bool:
    """Say whether the process with this token ran on this machine and has ended."""
    holder = _holder(token)
    if holder is None:
        return False
    if holder.host != socket.gethostname() or not holder.boot:
        return False
    return holder.boot != _boot_id() or _started(holder.pid) != holder.started


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Return the start time of a process; None if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
