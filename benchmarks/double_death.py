"""The tool and RabbitMQ are killed at the same moment, again and again, in the middle of transfers.

Run: ``python benchmarks/double_death.py [--deaths 30] [--messages 1000] [--seed N] [--only rabbitmq]``. Four
constellations share one RabbitMQ, each with a tool of its own; all of them and the server get SIGKILL together, at a
random time after each has begun to move. Then the server is started again and the command repeated, or now and then
the way back taken at once, and what lies where is compared by id. The messages stay the same for the whole campaign,
so what was remembered wrongly would be missed later. The last line is stable: ``deaths=… lost=0 doubled=0``.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance" / "rabbitmq"))

import redis
from rabbit_runs import begun_run
from rabbit_scene import RabbitScene, before_a_crash, fill, make_scene, mixed
from rabbit_server import RabbitServer, rabbit_server
from rabbitmq import LABELS, urls

from migrator.embedded_redis import embedded_server
from migrator.snapshots import rabbitmq
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.transfer import transfer

#: How long a run takes that nobody kills.
RUN_S = 20.0
#: A crash of the server may lose what producers sent within the last moments without a confirm.
ON_DISK_AFTER_S = 2.0


@dataclass(kw_only=True)
class Leg:
    """One constellation and what has happened to it."""

    label: str
    scene: RabbitScene
    messages: int
    direction: Direction = Direction.FORWARD
    legacy: Counter[tuple[str, str]] = field(default_factory=Counter)
    deaths: int = 0
    turned: int = 0
    lost: int = 0
    doubled: int = 0

    def expected(self) -> Counter[tuple[str, str]]:
        """Return where everything lies after a transfer in the present direction."""
        if self.direction is Direction.BACK:
            return self.legacy
        return Counter({("unified", identity): number for (_, identity), number in self.legacy.items()})


def main() -> int:
    """Run the campaign and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deaths", type=int, default=30)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=LABELS, help="only this constellation")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="migrator-double-death-") as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(embedded_server(folder=folder / "redis"))
        rabbit = stack.enter_context(rabbit_server(folder / "rabbit"))
        legs = []
        for label in (options.only,) if options.only else LABELS:
            address = folder / label.replace(" ", "-")
            address.mkdir()
            scene = stack.enter_context(make_scene(address, **urls(label, server.url(LABELS.index(label)), rabbit)))
            legs.append(Leg(label=label, scene=scene, messages=options.messages))
        stack.enter_context(before_a_crash())
        refill(legs)
        for _ in range(options.deaths):
            one_death(rabbit, legs, chance)
    for leg in legs:
        print(f"{leg.label:18} deaths={leg.deaths} turned={leg.turned} lost={leg.lost} doubled={leg.doubled}")
    total = {key: sum(getattr(leg, key) for leg in legs) for key in ("deaths", "lost", "doubled")}
    print(" ".join(f"{key}={number}" for key, number in total.items()))
    return 1 if total["lost"] or total["doubled"] else 0


def refill(legs: list[Leg]) -> None:
    """Put new messages into the legacy queues and nothing anywhere else."""
    for leg in legs:
        scene, some = leg.scene, leg.messages // 4
        for name, url in scene.urls.items():
            if url.startswith("amqp"):
                rabbitmq.make_room(scene.broker(name))
            else:
                with redis.Redis.from_url(url) as client:
                    client.flushdb()
        # What a server has forgotten, it need not know.
        (scene.plan.state_folder / "book.sqlite3").unlink(missing_ok=True)
        mixed(scene, some)
        if scene.urls["dramatiq"].startswith("amqp"):
            fill(scene, leg.messages - some)
        else:
            for index in range(leg.messages - some):
                scene.send("fetch_crypto_prices_task", [f"C{index}"])
        leg.direction, leg.legacy = Direction.FORWARD, scene.ids()
    time.sleep(ON_DISK_AFTER_S)


def one_death(rabbit: RabbitServer, legs: list[Leg], chance: random.Random) -> None:
    """Kill all in the middle, start the server, repeat the commands, compare."""
    with ExitStack() as stack:
        children = {leg.label: stack.enter_context(tool(leg, chance)) for leg in legs}
        time.sleep(chance.uniform(0, 1.5))
        doomed = [rabbit.pid, *children.values()]
        chance.shuffle(doomed)
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        ends = {label: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for label, pid in children.items()}
        rabbit.crash()
        rabbit.start()
    wrong = []
    for leg in legs:
        leg.deaths += ends[leg.label] == -signal.SIGKILL
        if chance.random() < 0.25:
            leg.turned += 1
            leg.direction = Direction.FORWARD if leg.direction is Direction.BACK else Direction.BACK
        transfer(leg.scene.plan, environ=leg.scene.environ, options=TransferOptions(direction=leg.direction))
        found, expected = leg.scene.ids(), leg.expected()
        lost, doubled = sum((expected - found).values()), sum((found - expected).values())
        leg.lost += lost
        leg.doubled += doubled
        if lost or doubled:
            print(f"{leg.label}: {lost} lost, {doubled} doubled after death {leg.deaths}", flush=True)
            wrong.append(leg)
        else:
            leg.direction = Direction.FORWARD if leg.direction is Direction.BACK else Direction.BACK
    if wrong:
        refill(wrong)


def tool(leg: Leg, chance: random.Random) -> AbstractContextManager[int]:
    """Give the process id of a transfer that has begun to move messages."""
    batch = chance.choice([10, 25, 100, 500])
    # The legs begin one after the other, each some seconds after its queues were made; none may end before the last.
    rate = leg.messages / RUN_S
    options = TransferOptions(direction=leg.direction, batch_size=batch, max_rate=rate, lock_wait_s=20)
    return begun_run(leg.scene, options)


if __name__ == "__main__":
    sys.exit(main())
