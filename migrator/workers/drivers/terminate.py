"""Tell a process to stop, and wait until it has ended with all its children, whoever started it.

Nothing stronger than SIGTERM is sent here; that requires a person's confirmation (:mod:`migrator.workers.kill`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from migrator.errors import RefusedError, UnreachableError
from migrator.plan.processes import Process, Role
from migrator.wire.message import System
from migrator.workers.drivers.process_identity import Identity, send_signal, wait_gone

#: How long children that outlive their parent get to end by themselves, and after a SIGTERM of their own.
CHILD_GRACE_S = 5.0
CHILD_TIMEOUT_S = 5.0
#: How long Celery's beat gets to end before SIGTERM is sent again.
BEAT_RESEND_S = 3.0


def send_sigterm(process: Process, identity: Identity, *, relation: str = "") -> None:
    """Send SIGTERM to a process of the plan; no-op if it is gone.

    Args:
        relation: Its relation to the process of the plan, as ``, its child,``; empty for itself.

    Raises:
        RefusedError: It belongs to somebody else.
    """
    try:
        send_signal(identity, signal.SIGTERM)
    except PermissionError as error:
        what = f"pid {identity.pid}{relation} belongs to another user"
        raise RefusedError(f"process {process.name}", what, remedy="run as that user") from error


def wait_stopped(process: Process, family: Iterable[Identity], *, timeout_s: float | None = None) -> float:
    """Wait until a process that was told to stop has ended with all its children; returns the seconds it took.

    Raises:
        UnreachableError: It is still running. Nothing stronger than SIGTERM was sent.
        RefusedError: It has left a child behind that belongs to somebody else.
    """
    began = time.monotonic()
    limit_s = process.stop_timeout_s if timeout_s is None else timeout_s
    members = tuple(family)
    left = _wait(process, members[:1], limit_s)
    if not left:
        left = wait_gone(members[1:], timeout_s=min(CHILD_GRACE_S, limit_s))
        for child in left:
            send_sigterm(process, child, relation=", its child,")
        left = _wait(process, left, CHILD_TIMEOUT_S)
    if left:
        pids = ", ".join(str(member.pid) for member in left)
        raise UnreachableError(
            f"process {process.name}",
            f"has not ended {limit_s:g} s after SIGTERM",
            found=f"still running: pid {pids}",
            remedy="it ends when its tasks end: look at `migrator workers list`, then run the same command again",
        )
    return time.monotonic() - began


def _wait(process: Process, members: tuple[Identity, ...], limit_s: float) -> tuple[Identity, ...]:
    """Wait until processes have ended, and return those that have not; SIGTERM is sent again to a beat that ignores it.

    The signal handler of Celery's beat closes the connection at once. A signal that arrives while beat writes to
    RabbitMQ finds the connection's lock held by beat itself, and beat deadlocks; the next signal ends it. It holds no
    messages. Under a process manager it is the same: the manager has stopped it, so it does not restart it. A shell in
    front of it ends at the first signal and leaves beat behind, which then gets SIGTERM as a child. We can't signal a
    beat of another user again.
    Source: celery/apps/beat.py (`install_sync_handler`), amqp/method_framing.py (`write_frame`).
    """
    if process.role is not Role.SCHEDULER or process.system is not System.CELERY:
        return wait_gone(members, timeout_s=limit_s)
    end = time.monotonic() + limit_s
    while left := wait_gone(members, timeout_s=max(0.0, min(BEAT_RESEND_S, end - time.monotonic()))):
        if time.monotonic() >= end:
            return left
        for beat in left:
            with suppress(PermissionError):
                send_signal(beat, signal.SIGTERM)
    return left
