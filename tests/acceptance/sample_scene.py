"""The sample under real load for tests and campaigns: its processes, a Redis that survives a kill, commands that don't.

The commands run in processes of their own, as an operator's would, so that they can be killed. Proof and conversion
are other tests' business and count as given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rabbit_server import RabbitServer
from sample_rabbitmq import on_rabbitmq, put_on_rabbitmq
from shop import end_everything

from codemods.runner import rewrite
from migrator.demo.scratch import commit, create_scratch, find_fixtures, git, manage
from migrator.demo.servers import market_server
from migrator.demo.system import SystemUnderTest
from migrator.embedded_redis import EmbeddedServer, find_server, free_port
from migrator.events import ignore
from migrator.plan.loader import load_plan
from migrator.wire.message import Side
from migrator.workers.start_stop import list_processes

COMMAND = Path(__file__).with_name("sample_command.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The running sample and the server under it."""

    system: SystemUnderTest
    server: EmbeddedServer
    #: Where the messages lie instead, if they do.
    rabbit: RabbitServer | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        return self.system.scratch.environ

    def begin(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a command whose output can be read, at the head of a process group as in a terminal."""
        return subprocess.Popen(
            [sys.executable, str(COMMAND), command, str(self.system.scratch.plan.file), *arguments],
            env=dict(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def running(self, side: Side) -> set[str]:
        states = list_processes(self.system.scratch.plan, environ=self.environ)
        return {state.name for state in states if state.state == "running" and state.side is side}

    def all_of(self, side: Side) -> set[str]:
        return {process.name for process in self.system.scratch.plan.select(side=side)}


@contextmanager
def open_scene(folder: Path, *, seed: int = 3, rabbit: RabbitServer | None = None, **environ: str) -> Iterator[Scene]:
    """Create the sample in ``folder``; whatever was started from it is ended afterwards, by pid and start time.

    Args:
        folder: Empty.
        seed: Of the traffic.
        rabbit: A running node that the messages are to lie on; by default a Redis of its own.
        environ: What the sample's processes find in their environment beside the usual.
    """
    fixtures = find_fixtures(None)
    with ExitStack() as stack:
        arguments = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
        server = EmbeddedServer(port=free_port(), folder=folder / "redis", binary=find_server(), arguments=arguments)
        stack.callback(server.stop)
        server.start()
        own = {
            "DRAMATIQ_BROKER_URL": server.url(0),
            "CELERY_BROKER_URL": server.url(0),
            "CELERY_RESULT_BACKEND": server.url(1),
            "CACHE_URL": server.url(2),
            "MARKET_URL": stack.enter_context(market_server(fixtures / "market" / "server.py", folder)),
            "API_PORT": str(free_port()),
            **environ,
        }
        if rabbit is not None:
            own = on_rabbitmq(own, url=rabbit.url(), management_url=rabbit.management_url)
        scratch = create_scratch(fixtures, folder, own)
        git(scratch.plan.folder, "config", "user.name", "Operator")
        git(scratch.plan.folder, "config", "user.email", "operator@example.org")
        if rabbit is not None:
            put_on_rabbitmq(scratch.plan.folder)
            scratch = replace(scratch, plan=load_plan(scratch.plan.file))
        system = SystemUnderTest(scratch=scratch, listener=ignore, messages=0, seed=seed)
        stack.callback(end_everything, scratch.plan)
        stack.callback(lambda: [load.stop() for load in system.loads])
        yield Scene(system=system, server=server, rabbit=rabbit)


def prepare(scene: Scene, messages: int) -> None:
    """Migrate the database, enqueue, and start the legacy side."""
    manage(scene.system.scratch, ["migrate", "--verbosity", "0"])
    while messages > 0:
        scene.system.enqueue(min(messages, 5_000))
        messages -= 5_000
    scene.system.start(Side.LEGACY)


def convert(scene: Scene) -> None:
    """Rewrite the source and commit it; a line by hand stands for what a person still changes."""
    plan = scene.system.scratch.plan
    rewrite(plan)
    by_hand = plan.source_root / "api/management/commands/enqueue_traffic.py"
    by_hand.write_text(by_hand.read_text() + "# looked at by hand\n")
    commit(plan.folder, "Convert to the unified tasks")
