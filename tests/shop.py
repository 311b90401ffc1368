"""The shop: a small Django project with both old systems, copied into a scratch git repository for one test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis
from waiting import wait_until

from migrator.embedded_redis import EmbeddedServer, free_port
from migrator.errors import MigratorError
from migrator.events import Event, EventKind
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Report
from migrator.steps.protocol import RunOptions
from migrator.wire.message import Side
from migrator.workers import start_stop
from migrator.workers.drivers import process_record
from migrator.workers.drivers.process_identity import descendants, send_signal, wait_gone

DATA = Path(__file__).parent / "steps" / "data" / "shop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    plan: Plan
    environ: dict[str, str]
    server: EmbeddedServer

    @property
    def folder(self) -> Path:
        return self.plan.folder

    def redis(self, db: int = 0) -> redis.Redis:
        return redis.Redis.from_url(self.server.url(db), socket_timeout=5, decode_responses=True)

    def run(self, code: str) -> str:
        """Run Python code inside the project, as its own code would run."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder / "src",
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def done(self) -> list[str]:
        with self.redis(1) as book:
            return book.lrange("done", 0, -1)

    def git(self, *arguments: str) -> str:
        return git(self.folder, *arguments)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.strip()


@contextmanager
def open_shop(folder: Path, server: EmbeddedServer) -> Iterator[Shop]:
    """Copy the shop into ``folder``; whatever was started from it is ended afterwards, by pid and start time."""
    shutil.copytree(DATA, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for arguments in (
        ("init", "-q", "-b", "work"),
        ("config", "user.email", "operator@example.org"),
        ("config", "user.name", "Operator"),
        ("config", "commit.gpgsign", "false"),
        ("add", "."),
        ("commit", "-q", "-m", "The shop"),
    ):
        git(folder, *arguments)
    with redis.Redis.from_url(server.url(), socket_timeout=5) as client:
        client.flushall()
    environ = {
        **os.environ,
        "SHOP_BROKER": server.url(0),
        "SHOP_BOOK": server.url(1),
        "SHOP_PORT": str(free_port()),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    plan = load_plan(folder / "migration.toml")
    try:
        yield Shop(plan=plan, environ=environ, server=server)
    finally:
        end_everything(plan)


def with_net(shop: Shop) -> Shop:
    """Give the shop's plan the net, and its unified app what the installed app has."""
    unified = shop.folder / "src/jobs/unified.py"
    unified.write_text(
        "from migrator.tasks.legacy_aliases import LegacyAliases\n"
        + unified.read_text()
        + '\napp.conf.worker_consumer = "migrator.tasks.consumer:DeadLetterConsumer"\n'
        + 'app.steps["consumer"].add(LegacyAliases)\n'
    )
    shop.plan.file.write_text(shop.plan.file.read_text() + "\n[cutover]\nlegacy_aliases = true\n")
    git(shop.folder, "commit", "-q", "-a", "-m", "Hang a net")
    return replace(shop, plan=load_plan(shop.plan.file))


def end_everything(plan: Plan) -> None:
    """Kill what a test has left: only living processes of this plan's own records."""
    family = []
    for record in process_record.living(plan):
        family += [record.identity, *descendants(record.identity)]
    for process in plan.processes:
        last = process_record.read_record(plan, process.name)
        family += last.living_children if last is not None else ()
    for member in family:
        send_signal(member, signal.SIGKILL)
    assert not wait_gone(family, timeout_s=10)


def start_legacy(shop: Shop, names: Sequence[str] = ()) -> None:
    start_stop.start_side(shop.plan, Side.LEGACY, environ=shop.environ, names=names)


def eventually(check: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """Return the first true value of ``check``; a wait that runs out is a `WaitTimeoutError`."""
    return wait_until(check, timeout_s=timeout_s)


def green() -> Report:
    """A check that a higher layer would make, with nothing to object."""
    return Report(subject="given", checked=1)


def options(**changes: Any) -> RunOptions:
    """Options of a run in the shop: proof and conversion are other tests' business."""
    given: dict[str, Any] = {"check_proof": green, "check_source": green, "check_inventory": green}
    return RunOptions(**{**given, **changes})


def pass_time(shop: Shop, seconds: float) -> None:
    """Let so much time have passed since the cutover by the clock since boot, too: nobody can set that one."""
    file = shop.plan.state_folder / "journal.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if "moment" in line["data"]:
            line["data"]["moment"]["boot_s"] -= seconds
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def in_child(work: Callable[[], Any]) -> int:
    """Run ``work`` in a forked process of its own and return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            result = work()
            code = int(getattr(result, "exit_code", 0))
            if code:
                print(result)
        except MigratorError as error:
            print(error)
            code = int(error.exit_code)
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def signal_at(number: int, what: signal.Signals) -> Callable[[Event], None]:
    """A listener that sends its own process a signal at the n-th beginning or end of an action."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        if event.kind is EventKind.ACTION:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), what)

    return listen


def kill_at(number: int) -> Callable[[Event], None]:
    """A listener that kills its own process at the n-th beginning or end of an action."""
    return signal_at(number, signal.SIGKILL)


SEND = """
from jobs.old_celery import pack_order
from jobs.old_dramatiq import mail_order, pack_box, polish
for number in range({first}, {first} + {count}):
    kind = number % 4
    if kind == 0: pack_order.delay(number)
    elif kind == 1: pack_box.send(number)
    elif kind == 2: mail_order.send(number)
    elif number % 8 == 3: pack_order.apply_async((number,), countdown={later_s})
    else: pack_box.send_with_options(args=(number,), delay=int({later_s} * 1000))
"""


def send_orders(shop: Shop, first: int, count: int, *, later_s: float = 900) -> None:
    """Enqueue orders in both old systems; every fourth is due later."""
    shop.run(SEND.format(first=first, count=count, later_s=later_s))


def orders_done(shop: Shop) -> list[int]:
    """The orders that were done, each as often as it was done."""
    return sorted(int(line.rsplit(" ", 1)[1]) for line in shop.done())
