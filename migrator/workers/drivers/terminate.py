"""Tell a process to stop, and wait until it has ended with all its children, whoever started it.

Nothing stronger than SIGTERM is sent here; for that a person has to say so (:mod:`migrator.workers.kill`).
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
#: How long Celery's beat gets to end before it is told again.
BEAT_AGAIN_S = 3.0


def tell(process: Process, identity: Identity, *, kinship: str = "") -> None:
    """Send SIGTERM to a process of the plan; no-op if it is gone.

    Args:
        kinship: What it is to the process of the plan, as ``, its child,``; empty for itself.

    Raises:
        RefusedError: It belongs to somebody else.
    """
    try:
        send_signal(identity, signal.SIGTERM)
    except PermissionError as error:
        what = f"pid {identity.pid}{kinship} belongs to another user"
        raise RefusedError(f"process {process.name}", what, remedy="run as that user") from error


def wait_stopped(process: Process, family: Iterable[Identity], *, timeout_s: float | None = None) -> float:
    """Wait until a process that was told to stop has ended with all its children; returns the seconds it took.

    Raises:
        UnreachableError: It still runs. Nothing stronger than SIGTERM was sent.
        RefusedError: It has left a child behind that belongs to somebody else.
    """
    began = time.monotonic()
    limit_s = process.stop_timeout_s if timeout_s is None else timeout_s
    members = tuple(family)
    left = _wait(process, members[:1], limit_s)
    if not left:
        left = wait_gone(members[1:], timeout_s=min(CHILD_GRACE_S, limit_s))
        for child in left:
            tell(process, child, kinship=", its child,")
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


def _wait(process: Process, told: tuple[Identity, ...], limit_s: float) -> tuple[Identity, ...]:
    """Wait until processes have ended, and return those that have not; Celery's beat is told again now and then.

    Its handler closes the connection at once. A signal that arrives while beat writes to RabbitMQ finds the lock of the
    connection held by beat itself, and both wait for ever; the next one ends it. It holds no messages. Under a process
    manager the same: it has told it to stop, so it does not start it again. A shell in front of it ends at the first
    signal and leaves beat behind, which then is told as a child. A beat of another user can't be told again by us.
    Source: celery/apps/beat.py (`install_sync_handler`), amqp/method_framing.py (`write_frame`).
    """
    if process.role is not Role.SCHEDULER or process.system is not System.CELERY:
        return wait_gone(told, timeout_s=limit_s)
    end = time.monotonic() + limit_s
    while left := wait_gone(told, timeout_s=max(0.0, min(BEAT_AGAIN_S, end - time.monotonic()))):
        if time.monotonic() >= end:
            return left
        for beat in left:
            with suppress(PermissionError):
                send_signal(beat, signal.SIGTERM)
    return left
