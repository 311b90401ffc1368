"""Chaos on the sample under load: tool, workers, Redis and database are killed at random moments, over and over.

A leg is a cutover or a rollback that is begun again, as an operator would by what `status` names, until the system has
arrived. Each attempt suffers one fault. Nothing is repaired in between. At the end each message is looked for by id.

Two things are the brokers' own and not the tool's, and are counted apart: a message that ran in a worker that was
killed, or while its broker was down, may run again (at-least-once); and a Celery worker that is killed takes the one
message with it that it has popped and not yet noted down (kombu/transport/redis.py: BRPOP comes before QoS.append).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson
from redis_trail import popped_by_a_worker, trails
from sample_scene import Scene, convert
from waiting import WaitTimeoutError

from migrator.brokers.redis.keys import celery_lists
from migrator.demo.accounting import SystemTally
from migrator.demo.load import Load
from migrator.errors import UnreachableError
from migrator.plan.processes import Role
from migrator.runner import cutover
from migrator.runner.single_tasks import read_moves
from migrator.runner.state import MigrationState
from migrator.state.journal import open_journal
from migrator.wire.message import Side, System
from migrator.workers.drivers.process_identity import descendants, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.start_stop import list_processes, start_side, stop_side

ATTEMPT_TIMEOUT_S = 240.0
#: More attempts than this and the leg counts as one that does not arrive.
MOST_ATTEMPTS = 200
#: How many lines a move of single tasks says.
LINES_OF_A_TASK = 7
ARRIVED = {"cutover": MigrationState.MIGRATED, "rollback": MigrationState.ROLLED_BACK}
BETWEEN = (MigrationState.MIGRATING, MigrationState.ROLLING_BACK)
#: A run that ended this long before or after an outage may not have been able to say so to its broker.
AROUND_OUTAGE_S = 8.0
#: How long a side may take to stop and to give back what it held.
AT_REST_TIMEOUT_S = 180.0
#: How long nobody sends before RabbitMQ is killed: producers don't wait for a confirmation.
SILENCE_S = 2.0


@dataclass(kw_only=True)
class Outcome:
    """What a campaign found."""

    faults: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    #: Attempts that went on with what an earlier one had begun.
    resumed: int = 0
    #: Attempts that took everything back by themselves.
    undone: int = 0
    #: States that were not what `status` said, attempts that ended oddly, legs that did not arrive.
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    #: Ran again because a worker or the broker died under them.
    repeated: int = 0
    #: Went with a Celery worker that was killed in the middle of taking them.
    gone_with_worker: int = 0
    enqueued: int = 0
    #: Pids that were killed, and outages of the broker from when to when.
    killed: set[int] = field(default_factory=set)
    celery_kills: int = 0
    outages: list[tuple[float, float]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    @property
    def line(self) -> str:
        return (
            f"lost={len(self.lost)} doubled={len(self.doubled)} wrong={len(self.wrong)} "
            f"kills={sum(self.faults.values())} resumed={self.resumed} undone={self.undone} "
            f"messages={self.enqueued} repeated={self.repeated} gone_with_worker={self.gone_with_worker}"
        )


@dataclass(kw_only=True)
class Chaos:
    """One campaign on one scene."""

    scene: Scene
    chance: random.Random
    outcome: Outcome = field(default_factory=Outcome)
    #: Fault by name; each is given the attempt's process.
    faults: dict[str, Callable[[Chaos, subprocess.Popen[str]], None]] = field(default_factory=dict)
    #: A fault comes when an attempt has said at most so many lines; a whole way has some more.
    latest_line: int = 42
    #: Workers of both sides run: single tasks were moved, and no whole run has ended since.
    side_by_side: bool = False
    tell: Callable[[str], None] = lambda text: None

    def some(self, number: int) -> list[str]:
        """Return so many faults by chance."""
        return [self.chance.choice(list(self.faults)) for _ in range(number)]

    def leg(self, command: str, faults: Iterable[str], *, once: bool = False) -> None:
        """Bring the system to one end, with these faults on the way.

        Args:
            command: ``cutover`` or ``rollback``.
            faults: By name; each attempt suffers the next one.
            once: Leave faults out that are left when it has arrived, instead of going there and back for them.
        """
        names = list(faults)[::-1]
        for _ in range(MOST_ATTEMPTS):
            state = self.state
            if state is ARRIVED[command] and (once or not names):
                self.side_by_side = False
                return
            now = self._next(command, state)
            if now == "cutover" and state in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
                convert(self.scene)
            fault = names.pop() if names else ""
            if not self._attempt(now, fault, resumed=state in BETWEEN):
                names.append(fault)
        self.outcome.wrong.append(f"{command} did not arrive in {MOST_ATTEMPTS} attempts")

    def single_tasks(self, command: str, names: Iterable[str], faults: Iterable[str]) -> None:
        """Move single tasks over or back, with these faults on the way."""
        self.side_by_side = True
        wanted, left = set(names), list(faults)[::-1]
        for attempt in range(MOST_ATTEMPTS):
            fault = left.pop() if left else ""
            arguments = [f"--task={name}" for name in sorted(wanted)]
            if not self._attempt(command, fault, resumed=attempt > 0, arguments=arguments, latest_line=LINES_OF_A_TASK):
                left.append(fault)
            moves = read_moves(open_journal(self.scene.system.scratch.plan).entries())
            there = wanted <= set(moves.moved) if command == "cutover" else not wanted & set(moves.moved)
            if there and not wanted & set(moves.begun) and not left:
                return
        self.outcome.wrong.append(f"{command} of {names} did not arrive in {MOST_ATTEMPTS} attempts")

    def every_action(self, command: str) -> None:
        """Bring the system to one end, killed at the beginning and at the end of every action."""
        if command == "cutover":
            convert(self.scene)
        for attempt in range(MOST_ATTEMPTS):
            # The second event is the end of the first action left, the third the beginning of the next one.
            self._attempt(command, "", resumed=attempt > 0, arguments=[str(2 + attempt % 2)])
            if self.state is ARRIVED[command]:
                return
            self.outcome.faults["tool at action"] = self.outcome.faults.get("tool at action", 0) + 1
        self.outcome.wrong.append(f"{command} did not arrive in {MOST_ATTEMPTS} attempts")

    def settle(self, name: str) -> SystemTally:
        """Let every process of this side run, account for each id, and tell what is the brokers' own from the rest."""
        side = Side.UNIFIED if self.state is MigrationState.MIGRATED else Side.LEGACY
        missing = self.scene.all_of(side) - self.scene.running(side)
        if missing:
            start_side(self.scene.system.scratch.plan, side, environ=self.scene.environ, names=sorted(missing))
        account = self.scene.system.tally(name) if self.scene.rabbit is None else self._counted_at_rest(name, side)
        self._judge(account)
        self.tell(
            f"{name}: {account.enqueued:,} = {account.run:,} run + {account.waiting:,} waiting + {account.quarantined}"
        )
        self.tell(f"  {self.outcome.line}")
        return account

    def _counted_at_rest(self, name: str, side: Side) -> SystemTally:
        """Stop a side, count, and let it run again: what workers of RabbitMQ hold can't be read."""
        plan, environ = self.scene.system.scratch.plan, self.scene.environ
        deadline = time.monotonic() + AT_REST_TIMEOUT_S
        while True:
            try:
                stop_side(plan, side, environ=environ)
                account = self.scene.system.tally(name, workers_stopped=True)
            except UnreachableError as failure:
                # On a busy machine somebody takes longer than its time.
                self.tell(f"  {failure}")
            else:
                # What a worker held comes back when the server has noticed that it is gone.
                if not account.lost or time.monotonic() > deadline:
                    break
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"not within {AT_REST_TIMEOUT_S} s: {side.value} came to rest")
            time.sleep(1)
        start_side(plan, side, environ=environ)
        return account

    def _attempt(
        self, command: str, fault: str, *, resumed: bool, arguments: Iterable[str] = (), latest_line: int = 0
    ) -> bool:
        """Run a command once; True unless it ended before its fault came."""
        arguments = tuple(arguments)
        process = self.scene.begin(command, *arguments)
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        suffered = not fault or self._after(self.chance.randint(1, latest_line or self.latest_line), process, lines)
        if fault and suffered:
            self.outcome.faults[fault] = self.outcome.faults.get(fault, 0) + 1
            self.faults[fault](self, process)
        try:
            process.wait(ATTEMPT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self.outcome.wrong.append(f"{command} hung after fault {fault}: {lines[-5:]}")
        reader.join(10)
        output = "".join(lines)
        self.outcome.attempts += 1
        self.outcome.resumed += resumed
        self.outcome.undone += "FAILED and was undone" in output
        self._look(" ".join([command, *arguments]), fault if suffered else "", process.wait(10), output)
        return suffered

    def _after(self, line: int, process: subprocess.Popen[str], lines: list[str]) -> bool:
        """Wait until a command has said so many lines and a moment longer; False if it has ended."""
        while len(lines) < line and process.poll() is None:
            time.sleep(0.01)
        time.sleep(self.chance.choice([0, self.chance.uniform(0, 1)]))
        return process.poll() is None

    def _look(self, command: str, fault: str, code: int, output: str) -> None:
        """Check that `status` says where the system is, and that an attempt ended in a way that is documented."""
        now = cutover.status(self.scene.system.scratch.plan, environ=self.scene.environ)
        self.tell(f"{command.split()[0]} with {fault or 'no fault'}: exit {code}, {now.text}")
        # A Ctrl-C that comes when all is done and said ends the process in the way of signals.
        late = code == -signal.SIGINT and " done: " in output
        if (code not in (0, 3, 4, 5, -signal.SIGKILL) and not late) or "Traceback" in output:
            self.outcome.wrong.append(f"{command} after {fault}: exit {code}\n{output[-1500:]}")
        if code == 0 and now.state is not ARRIVED.get(command, now.state):
            self.outcome.wrong.append(f"{command} after {fault}: exit 0 and yet {now.text}")
        if now.owner:
            self.outcome.wrong.append(f"{command} after {fault}: ended, and yet at it: {now.owner}")
        if now.begun_tasks and (f"half way: {', '.join(now.begun_tasks)}" not in now.text or not now.ends):
            self.outcome.wrong.append(f"half way, and nothing says so: {now.text}")
        if now.state in BETWEEN:
            if "nobody is at it" not in now.text or not now.next_steps:
                self.outcome.wrong.append(f"between, and nothing says so: {now.text}")
            return
        there = now.state is MigrationState.MIGRATED
        for process in now.processes:
            other_side = process.side is (Side.LEGACY if there else Side.UNIFIED)
            if other_side and process.state == "running" and not self.side_by_side:
                self.outcome.wrong.append(f"{now.text}, and yet {process.name} runs")

    @property
    def state(self) -> MigrationState:
        return cutover.status(self.scene.system.scratch.plan, environ=self.scene.environ).state

    @staticmethod
    def _next(command: str, state: MigrationState) -> str:
        if state in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
            return "cutover"
        if state in (MigrationState.ROLLING_BACK, MigrationState.MIGRATED):
            return "rollback"
        return command

    def _judge(self, account: SystemTally) -> None:
        ends = self._events("end")
        self.outcome.enqueued = account.enqueued
        doubled = []
        self.outcome.repeated = 0
        for identifier in account.duplicated:
            if any(pid in self.outcome.killed or self._in_outage(at) for pid, at in ends.get(identifier, ())):
                self.outcome.repeated += 1
            else:
                doubled.append(identifier)
        self.outcome.doubled = doubled
        gone = self._gone_with_worker(account.lost)
        self.outcome.gone_with_worker = len(gone)
        self.outcome.lost = [identifier for identifier in account.lost if identifier not in gone]

    def _gone_with_worker(self, lost: tuple[str, ...]) -> set[str]:
        if not lost or not (self.outcome.celery_kills or self.outcome.outages):
            return set()
        if self.scene.rabbit is not None:
            # Celery acknowledges before it runs, unless told otherwise.
            began = self._events("start")
            return {name for name in lost if any(pid in self.outcome.killed for pid, _ in began.get(name, ()))}
        plan = self.scene.system.scratch.plan
        celery = [endpoint for endpoint in (*plan.legacy, plan.unified) if endpoint.system is System.CELERY]
        lists = [name for endpoint in celery for queue in endpoint.queues for name in celery_lists(endpoint, queue)]
        found = trails(self.scene.server.folder, lost)
        for identifier, trail in found.items():
            self.tell(f"  lost {identifier}: {' > '.join(trail)}")
        return {identifier for identifier, trail in found.items() if popped_by_a_worker(trail, lists)}

    def _in_outage(self, at: float) -> bool:
        return any(begin - AROUND_OUTAGE_S < at < end + AROUND_OUTAGE_S for begin, end in self.outcome.outages)

    def _events(self, kind: str) -> dict[str, list[tuple[int, float]]]:
        """Which process began or ended a run of which message, and when, by the audit files."""
        found: dict[str, list[tuple[int, float]]] = {}
        for file in self.scene.system.scratch.audit_folder.glob("*.jsonl"):
            for line in file.read_bytes().splitlines(keepends=True):
                event = orjson.loads(line) if line.endswith(b"\n") else {"event": ""}
                if event["event"] == kind:
                    found.setdefault(event["id"], []).append((int(file.stem), float(event["at"])))
        return found


def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line)


def kill_tool(chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
    attempt.kill()


def interrupt_tool(chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
    """Do what a terminal does at Ctrl-C: whatever the tool runs in the foreground gets it as well."""
    if attempt.poll() is None:
        os.killpg(attempt.pid, signal.SIGINT)


def kill_process(chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
    """Kill one of the plan's running processes with its children."""
    plan = chaos.scene.system.scratch.plan
    running = [state for state in list_processes(plan, environ=chaos.scene.environ) if state.state == "running"]
    if not running:
        return
    chosen = chaos.chance.choice(running)
    record = read_record(plan, chosen.name)
    if record is None:
        return
    family = (record.identity, *descendants(record.identity))
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        chaos.outcome.killed.add(member.pid)
    wait_gone(family, timeout_s=10)
    chaos.outcome.celery_kills += chosen.role is Role.WORKER and "dramatiq" not in chosen.name
    chaos.tell(f"  killed {chosen.name}")


def kill_redis(chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
    """Kill the broker and let it come back with what it had on disk."""
    began = time.time()
    chaos.scene.server.kill()
    time.sleep(chaos.chance.uniform(0.1, 3))
    chaos.scene.server.start()
    chaos.outcome.outages.append((began, time.time()))


def kill_rabbit(chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
    """Kill the node, after a moment in which no producer sends, and let it come back with what it had on disk."""
    rabbit, system = chaos.scene.rabbit, chaos.scene.system
    assert rabbit is not None
    for load in system.loads:
        load.stop()
    time.sleep(SILENCE_S)
    began = time.time()
    rabbit.crash()
    time.sleep(chaos.chance.uniform(0.1, 3))
    rabbit.start()
    chaos.outcome.outages.append((began, time.time()))
    system.loads.append(Load(port=int(chaos.scene.environ["API_PORT"])))
    system.loads[-1].start()
