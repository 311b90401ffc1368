"""Kill the transfer at the moments that matter: just before and just after bytes leave for a server."""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import amqp.transport
import redis.connection
from rabbit_scene import RabbitScene

from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.transfer import transfer


@dataclass(slots=True)
class Outcome:
    """What a campaign did."""

    kills: int = 0
    finished: int = 0
    #: Runs that began with messages of a run before them under way.
    resumed: int = 0
    laps: list[str] = field(default_factory=list)


def run_child(scene: RabbitScene, options: TransferOptions, *, kill_at: int, after: bool) -> bool:
    """Run a transfer in a process of its own that dies at its n-th write; return whether it ended well."""
    pid = os.fork()
    if pid == 0:
        code = 4
        try:
            _arm(kill_at, after=after)
            report = transfer(scene.plan, environ=scene.environ, options=options)
            code = 0 if report.balance == 0 else 3
        except Exception:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the transfer ended with {code}"
    return code == 0


def campaign(scene: RabbitScene, *, kills: int, seed: int, batch_size: int = 10) -> Outcome:
    """Carry what the scene holds forward and back until enough runs were killed; the scene ends on the legacy side.

    Raises:
        AssertionError: A message was lost or doubled, or came back changed.
    """
    chance, outcome = random.Random(seed), Outcome()
    before, ids = as_counter(scene.legacy()), scene.ids()
    expected = Counter({("unified", identity): number for (_, identity), number in ids.items()})
    while outcome.kills < kills:
        for direction in Direction:
            _lap(scene, TransferOptions(direction=direction, batch_size=batch_size, lock_wait_s=20), chance, outcome)
            if direction is Direction.FORWARD:
                found = scene.ids()
                assert found == expected, f"lost {expected - found}, doubled {found - expected}"
            else:
                after = as_counter(scene.legacy())
                assert after == before, f"lost {before - after}, doubled or changed {after - before}"
    return outcome


def _lap(scene: RabbitScene, options: TransferOptions, chance: random.Random, outcome: Outcome) -> None:
    while True:
        # Connecting and looking around takes some 150 writes, tidying up another 100; in between messages move.
        if run_child(scene, options, kill_at=chance.randint(120, 600), after=chance.random() < 0.5):
            outcome.finished += 1
            return
        outcome.kills += 1


def as_counter(content: dict[str, list[Any]]) -> Counter[str]:
    """Return what lies in queues, without its order."""
    return Counter(f"{queue} {item!r}" for queue, items in content.items() for item in items)


def _arm(kill_at: int, *, after: bool) -> None:
    seen = 0

    def armed(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == kill_at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, write)

    armed(amqp.transport._AbstractTransport, "write")
    armed(redis.connection.AbstractConnection, "send_packed_command")
