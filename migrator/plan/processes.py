"""The plan's processes: what each does with messages, and who starts and stops it. Part of :mod:`migrator.plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from migrator.plan.command_line import SHELLS, ShellLine, split_line
from migrator.plan.toml_table import TomlTable
from migrator.wire.message import Side, System


class Role(StrEnum):
    """What a process does with messages."""

    WORKER = "worker"
    SCHEDULER = "scheduler"
    PRODUCER = "producer"


class Driver(StrEnum):
    """Who starts and stops a process; one module of :mod:`migrator.workers` each."""

    #: The migrator, as a command.
    COMMAND = "command"
    #: A running supervisord.
    SUPERVISOR = "supervisor"
    #: The system's or the user's systemd.
    SYSTEMD = "systemd"
    #: Whoever the plan's commands ask, such as kubectl; or the operator.
    EXTERNAL = "external"


#: Address of a process manager if the plan doesn't name one.
MANAGERS = {
    Driver.COMMAND: "",
    Driver.SUPERVISOR: "${SUPERVISOR_URL:-unix:///var/run/supervisor.sock}",
    Driver.SYSTEMD: "system",
    Driver.EXTERNAL: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """How a process that runs elsewhere is started, stopped and seen; commands are argument lists.

    ``{name}``, ``{replicas}``, ``{release}`` and ``${NAME:-default}`` are filled in. Without `start` and `stop` the
    operator is asked.
    """

    start: tuple[tuple[str, ...], ...] = ()
    stop: tuple[tuple[str, ...], ...] = ()
    #: Prints how many run: a number, or a line for each; empty for none.
    state: tuple[str, ...] = ()
    #: How many there are.
    replicas: int = 1
    #: What they run, such as the tag of an image.
    release: str = ""
    #: Pattern of their Celery node names; empty: those that consume the queues of its side.
    nodes: str = ""
    #: Seconds that it may take until all are ready.
    start_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One long-running process, identified by pid and start time."""

    name: str
    side: Side
    role: Role
    #: None for a producer that serves both.
    system: System | None
    #: Argument list, never a shell line; ``{python}``, ``{node}`` and ``${NAME:-default}`` are filled in.
    #: With a process manager it may be empty, and only tells on which port a producer listens.
    command: tuple[str, ...]
    #: Working directory, relative to the plan's folder.
    directory: str
    environment: Mapping[str, str]
    #: Seconds it may take to stop after SIGTERM.
    stop_timeout_s: float
    #: File in which the process writes its pid when somebody else starts it; empty if ours.
    pidfile: str = ""
    driver: Driver = Driver.COMMAND
    #: Its name at supervisord, as ``program`` or ``group:program``.
    program: str = ""
    #: Its systemd unit, such as ``celery.service``.
    unit: str = ""
    #: URL of supervisord (``unix:///run/supervisor.sock``, ``http://user:password@127.0.0.1:9001``; may hold
    #: ``${NAME:-default}``), or ``system`` or ``user`` for systemd.
    manager: str = ""
    #: With a scope: whether this legacy process is started again after the cutover, for tasks that stay. None: workers
    #: are asked what they register.
    stays: bool | None = None
    #: It runs on the source as it is, a legacy one too: set for what is started again, never by a plan.
    as_it_is: bool = False
    #: With driver ``external``.
    elsewhere: Elsewhere = Elsewhere()


def read_process(table: TomlTable) -> Process:
    """Read one ``[[process]]``."""
    driver = table.choice("driver", Driver, default=Driver.COMMAND)
    line = _line(table)
    process = Process(
        name=table.text("name"),
        side=table.choice("side", Side),
        role=table.choice("role", Role),
        system=table.choice("system", System) if "system" in table.data else None,
        command=line.words or _command(table, driver),
        directory=table.text("directory", default="."),
        environment={
            **dict(line.environment),
            **{key: str(value) for key, value in table.mapping("environment").items()},
        },
        stop_timeout_s=table.number("stop_timeout_s", default=60) or 60,
        pidfile=table.text("pidfile", default=""),
        driver=driver,
        program=table.text("program") if driver is Driver.SUPERVISOR else table.text("program", default=""),
        unit=table.text("unit") if driver is Driver.SYSTEMD else table.text("unit", default=""),
        manager=table.text("manager", default=MANAGERS[driver]),
        stays=table.flag("stays") if "stays" in table.data else None,
        elsewhere=_elsewhere(table) if driver is Driver.EXTERNAL else Elsewhere(),
    )
    if process.stays is not None and process.side is Side.UNIFIED:
        table.problem("stays", "is for legacy processes", "unified ones always stay")
    _check_driver(table, process)
    table.close()
    return process


def _elsewhere(table: TomlTable) -> Elsewhere:
    return Elsewhere(
        start=_commands(table, "start"),
        stop=_commands(table, "stop"),
        state=table.texts("state", default=()),
        replicas=table.integer("replicas", default=1) or 1,
        release=table.text("release", default=""),
        nodes=table.text("nodes", default=""),
        start_timeout_s=table.number("start_timeout_s", default=300) or 300,
    )


def _commands(table: TomlTable, key: str) -> tuple[tuple[str, ...], ...]:
    """Read one argument list, or several that are run in turn."""
    given = table.take(key, ())
    lists = given if given and isinstance(given, list) and all(isinstance(item, list) for item in given) else [given]
    if not given:
        return ()
    for words in lists:
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
            table.problem(key, "needs a list of arguments, or a list of such lists", f"found {given!r}")
            return ()
        if PurePosixPath(words[0]).name in SHELLS and "-c" in words:
            table.problem(key, f"runs {words[0]} -c", "write the command itself, or a script")
    return tuple(tuple(words) for words in lists)


def _line(table: TomlTable) -> ShellLine:
    """Read `shell`, a line that is split into the argument list."""
    text = table.text("shell", default="")
    if not text:
        return ShellLine()
    if "command" in table.data:
        table.problem("shell", "is given beside `command`", "keep one of them")
    line = split_line(text)
    if line.problem:
        table.problem("shell", line.problem, line.hint)
    return ShellLine(words=line.words or ("?",), environment=line.environment)


def _command(table: TomlTable, driver: Driver) -> tuple[str, ...]:
    given = table.data.get("command")
    if isinstance(given, str):
        table.take("command")
        table.problem("command", "needs a list of arguments", f"as a line it is `shell = {given!r}`")
        return ("?",)
    words = table.texts("command") if driver is Driver.COMMAND else table.texts("command", default=())
    if words and PurePosixPath(words[0]).name in SHELLS and "-c" in words:
        hint = 'write the command itself; `shell = "…"` splits a line without running a shell'
        table.problem("command", f"runs {words[0]}, which does not pass SIGTERM on to what it starts", hint)
    return words


def _check_driver(table: TomlTable, process: Process) -> None:
    meant = {"program": Driver.SUPERVISOR, "unit": Driver.SYSTEMD}
    for key, driver in meant.items():
        if key in table.data and process.driver is not driver:
            table.problem(key, f"needs `driver = {driver.value!r}`", f"the driver is {process.driver.value!r}")
    if process.driver is Driver.COMMAND:
        if "manager" in table.data:
            table.problem("manager", "needs a driver that has one", "`driver = 'supervisor'` or `'systemd'`")
        return
    if process.driver is Driver.EXTERNAL and process.role is not Role.WORKER and not process.elsewhere.state:
        hint = "a command that prints how many run: brokers know nothing of it"
        table.problem("state", f"is missing: a {process.role.value} says nothing to a broker", hint)
    for key in ("environment", "pidfile"):
        if key in table.data:
            own = process.driver is Driver.EXTERNAL
            hint = "it belongs to whoever runs it" if own else f"it is in the configuration of {process.driver.value}"
            table.problem(key, f"is not used with driver {process.driver.value!r}", hint)
    for key in ("program", "unit"):
        if "*" in str(table.data.get(key, "")):
            table.problem(key, "names several processes", "give each its own [[process]]")
    if process.driver is Driver.SYSTEMD and process.manager not in ("system", "user"):
        table.problem("manager", "needs 'system' or 'user'", f"found {process.manager!r}")
