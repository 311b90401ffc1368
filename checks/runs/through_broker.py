"""Run a case through a real worker: one process sends the message, the plan's worker command takes it from the queue.

The worker is started with the plan's own command line, so that the project decides which tasks it registers, which
queues it reads and what it accepts. It runs one message at a time (Celery's solo pool, one process of Dramatiq) because
it is observed from inside; nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import UsageError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import expand
from migrator.plan.processes import Process, Role
from migrator.project.agent_process import AgentProcess
from migrator.wire.message import Side, System

#: Added to the wait inside the worker, which knows better why no message arrived.
PATIENCE_S = 5.0
#: What is different in an observed worker: one message at a time, no communication with other workers.
_CELERY_OPTIONS = ("--pool=solo", "--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat")
_DRAMATIQ_OPTIONS = ("--processes", "1")
#: Options that are removed for an observed worker; the value is True if an argument follows.
_LEFT_OUT = {"-B": False, "--beat": False, "--autoscale": True, "--pidfile": True, "--logfile": True, "-f": True}
_LEFT_OUT |= {"-D": False, "--detach": False, "--max-tasks-per-child": True, "--statedb": True, "-S": True}
_DRAMATIQ_LEFT_OUT = {"--use-spawn": False, "--watch": True, "--pid-file": True, "--log-file": True}


@dataclass(slots=True)
class WorkerWithProducer:
    """A worker and the producer process that sends to it."""

    worker: AgentProcess
    producer: AgentProcess

    def ask(self, document: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one message and return what the worker's process observed."""
        if "describe" in document:
            return self.producer.ask(document, timeout_s)
        answer = self.worker.ask({"prepare": document}, timeout_s)
        if "broken" in answer:
            return answer
        sent = self.producer.ask({"send": document}, timeout_s)
        if "broken" in sent:
            # The worker is prepared for this case; the next one begins with new processes.
            return {"broken": f"the message could not be sent: {sent['broken']}", "gone": True}
        return self.worker.ask({"observe": {**sent, "timeout_s": timeout_s}}, timeout_s + PATIENCE_S)

    def greet(self, to_worker: Mapping[str, Any], to_producer: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send both their configuration and return the first failure, or the worker's answer."""
        self.producer.greet()
        self.worker.greet()
        failed = self.worker.send(to_worker) or self.producer.send(to_producer)
        answers = [failed] if failed else [agent.receive(timeout_s) for agent in (self.producer, self.worker)]
        return next((answer for answer in answers if "broken" in answer), answers[-1])

    def stop(self) -> None:
        """Stop both."""
        self.producer.stop()
        self.worker.stop()


def worker_arguments(plan: Plan, system: str, *, node: str, state: Path, environ: Mapping[str, str]) -> list[str]:
    """Return ``celery`` or ``dramatiq`` and the arguments of the plan's worker.

    Args:
        plan: The first worker of the side is taken; queues that only another worker reads are added.
        system: ``dramatiq``, ``celery`` or ``unified``.
        node: Name of the worker.
        state: Folder that ``{state}`` stands for.
        environ: Where references in the command are filled in from.
    """
    side = Side.UNIFIED if system == "unified" else Side.LEGACY
    library = System.DRAMATIQ if system == "dramatiq" else System.CELERY
    # A unified worker is one of Celery, whether its process says so or not.
    systems = (library, None) if side is Side.UNIFIED else (library,)
    workers = [p for p in plan.select(side=side, role=Role.WORKER) if p.system in systems]
    known = [found for process in workers if (found := _after_library(process, library))]
    first = known[0] if known else _default(plan, side, library)
    placeholders = {"{node}": node, "{state}": str(state)}
    arguments = []
    for part in _without(first, _DRAMATIQ_LEFT_OUT if library is System.DRAMATIQ else _LEFT_OUT):
        for name, value in placeholders.items():
            part = part.replace(name, value)  # noqa: PLW2901 - each placeholder in turn
        arguments.append(expand(part, environ, where="command of the worker"))
    queues = sorted({queue for command in known for queue in _queues(command, library)})
    return [library.value, *_completed(arguments, library, queues if _queues(first, library) else [])]


def _completed(arguments: Sequence[str], library: System, queues: Sequence[str]) -> list[str]:
    if library is System.DRAMATIQ:
        return [*arguments, *_DRAMATIQ_OPTIONS, *(["--queues", *queues] if queues else [])]
    return [*arguments, *_CELERY_OPTIONS, *(["-Q", ",".join(queues)] if queues else [])]


def _after_library(process: Process, library: System) -> tuple[str, ...]:
    """Return what follows ``celery`` or ``dramatiq`` in a command line, or nothing."""
    for index, part in enumerate(process.command):
        if Path(part).name == library.value:
            return process.command[index + 1 :]
    return ()


def _default(plan: Plan, side: Side, library: System) -> tuple[str, ...]:
    """Return a default command line, for a plan that defines no worker."""
    endpoint = plan.unified if side is Side.UNIFIED else plan.endpoint(library)
    modules = _modules(plan, endpoint)
    if endpoint is None or not modules:
        where = f"{plan.file.name}: {side.value} {library.value}"
        raise UsageError(where, "there is no worker to run", remedy="add its [[process]] with its command")
    if library is System.DRAMATIQ:
        return (*modules, "--queues", *endpoint.queues)
    return ("-A", modules[0], "worker", "--loglevel=info", "-n", "{node}", "-Q", ",".join(endpoint.queues))


def _modules(plan: Plan, endpoint: Endpoint | None) -> tuple[str, ...]:
    if endpoint is not None and endpoint.modules:
        return endpoint.modules
    return tuple(sorted({task.path.rpartition(".")[0] for task in plan.tasks}))


def _queues(arguments: Sequence[str], library: System) -> list[str]:
    """Return the queues that a command line names."""
    names: list[str] = []
    for index, part in enumerate(arguments):
        if part in ("-Q", "--queues"):
            rest = arguments[index + 1 :]
            stop = next((i for i, item in enumerate(rest) if item.startswith("-")), len(rest))
            names += rest[:stop] if library is System.DRAMATIQ else rest[:1]
        elif part.startswith("--queues="):
            names.append(part.partition("=")[2])
    return [name for item in names for name in item.split(",") if name]


def _without(arguments: Sequence[str], left_out: Mapping[str, bool]) -> list[str]:
    result, skip = [], False
    for part in arguments:
        if skip:
            skip = False
        elif part.partition("=")[0] in left_out:
            skip = left_out[part.partition("=")[0]] and "=" not in part
        else:
            result.append(part)
    return result
