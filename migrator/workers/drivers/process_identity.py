"""The identity of a process: pid, start time and boot together, because a pid alone is reused.

Source: proc(5), field 22 of ``/proc/PID/stat``; pidfd_open(2), pidfd_send_signal(2). Linux only.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identifies one process for ever: no other process will have the same three values."""

    pid: int
    #: Clock ticks between boot and the start of the process.
    start_ticks: int
    boot_id: str


def identify(pid: int) -> Identity | None:
    """Return the identity of a living process; None if there is none (a zombie does not count)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    if state in "ZX":
        _reap(pid)
        return None
    return Identity(pid=pid, start_ticks=int(fields[18]), boot_id=boot_id())


def is_alive(identity: Identity) -> bool:
    """Return whether exactly this process is running."""
    return identify(identity.pid) == identity


def started_at(identity: Identity) -> float:
    """Return when a process started, in seconds since the epoch."""
    uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return time.time() - uptime_s + identity.start_ticks / os.sysconf("SC_CLK_TCK")


def age_s(identity: Identity) -> float:
    """Return for how many seconds a process has been running, regardless of changes to the wall clock."""
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot_s - identity.start_ticks / os.sysconf("SC_CLK_TCK"))


def parent_pid(identity: Identity) -> int | None:
    """Return the pid of a living process's parent; None if the process is gone."""
    try:
        pid = psutil.Process(identity.pid).ppid()
    except psutil.Error:
        return None
    return pid if is_alive(identity) else None


def boot_id() -> str:
    """Return what distinguishes this boot of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def descendants(identity: Identity) -> tuple[Identity, ...]:
    """Return the living children of a process, and theirs."""
    if not is_alive(identity):
        return ()
    try:
        children = psutil.Process(identity.pid).children(recursive=True)
    except psutil.Error:
        return ()
    found = (identify(child.pid) for child in children)
    return tuple(child for child in found if child is not None)


def send_signal(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False if it is gone.

    Raises:
        PermissionError: The process belongs to somebody else.
    """
    descriptor = _open(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(identities: Iterable[Identity], *, timeout_s: float) -> tuple[Identity, ...]:
    """Wait until all of them have ended, at most ``timeout_s`` seconds, and return those that have not."""
    waiting = {}
    for identity in identities:
        descriptor = _open(identity)
        if descriptor is not None:
            waiting[descriptor] = identity
    poller = select.poll()
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    end = time.monotonic() + timeout_s
    while waiting:
        left_s = end - time.monotonic()
        ready = poller.poll(max(0, int(left_s * 1000)))
        for descriptor, _ in ready:
            poller.unregister(descriptor)
            os.close(descriptor)
            _reap(waiting.pop(descriptor).pid)
        if not ready and left_s <= 0:
            break
    for descriptor in waiting:
        os.close(descriptor)
    return tuple(waiting.values())


def _open(identity: Identity) -> int | None:
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError:
        return None
    if is_alive(identity):
        return descriptor
    os.close(descriptor)
    return None


def _reap(pid: int) -> None:
    """Collect the exit status if the process is our own child, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
