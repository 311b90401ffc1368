"""A process as a deployment file describes it, and one that can't be read there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from migrator.inventory.deployment.command_words import Started, option
from migrator.inventory.deployment.settings_texts import VARIABLE
from migrator.plan.processes import Driver, Role
from migrator.wire.message import System


class Manager(StrEnum):
    """Whose file it is, the one first whose word counts most where several describe the same process."""

    SUPERVISOR = "supervisor"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    COMPOSE = "compose"
    PROCFILE = "procfile"
    DOCKERFILE = "dockerfile"
    SCRIPT = "script"


#: Who starts it for us; the others are run as commands.
DRIVERS = {Manager.SUPERVISOR: Driver.SUPERVISOR, Manager.SYSTEMD: Driver.SYSTEMD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment or StatefulSet of Kubernetes."""

    #: As kubectl takes it: ``deployment/worker``.
    reference: str
    #: Empty: the one of kubectl's context.
    namespace: str
    container: str
    #: Empty if the manifest leaves it to somebody else.
    image: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process that somebody runs, from a deployment file."""

    manager: Manager
    #: ``group:program``, the unit, the service, or the name in a Procfile.
    name: str
    started: Started
    file: Path
    line: int
    #: As the file says it; empty if it does not.
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Seconds from SIGTERM to SIGKILL; None if the file does not say.
    stop_timeout_s: float | None = None
    #: Why it can't be driven as it is; empty if it can.
    doubt: str = ""
    #: What can be scaled in a cluster; None if nothing can.
    workload: Workload | None = None

    @property
    def driver(self) -> Driver:
        """Who starts and stops it."""
        if self.workload is not None:
            return Driver.EXTERNAL
        return DRIVERS.get(self.manager, Driver.COMMAND)

    @property
    def role(self) -> Role:
        """What it does with messages."""
        return self.started.role

    @property
    def system(self) -> System | None:
        """None for a producer."""
        return self.started.system

    @property
    def settings(self) -> str:
        """The settings module that its own command or environment names, as it is written there; empty if none."""
        return option(self.started.command, "--settings", "--settings") or self.environment.get(VARIABLE, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadProgram:
    """A place where a process is started, or may be, that could not be read."""

    name: str
    file: Path
    line: int
    why: str


#: What a file gives, in its order.
Found = Program | UnreadProgram
