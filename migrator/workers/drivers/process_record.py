"""Records of the plan's running processes: one JSON file each in ``.migrator/processes``.

Commands and environments are not recorded: they may hold secrets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from migrator.plan.model import Plan
from migrator.workers.drivers.process_identity import Identity, is_alive


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """A process that was started or adopted for the plan."""

    name: str
    #: Celery node name, as ``name@host``; empty for others.
    node: str
    pid: int
    start_ticks: int
    boot_id: str
    #: Seconds since the epoch.
    started_at: float
    #: Its output; empty if somebody else started it.
    log: str = ""
    #: Where its own output begins in the log.
    log_offset: int = 0
    #: When it was decided to stop it, in seconds since the epoch; 0 if it was not.
    stopping_at: float = 0
    #: When the signal had been sent, in seconds since the epoch; 0 while that is unknown.
    told_at: float = 0
    #: Pid and start ticks of its children when it became ready, to find those that outlive it.
    children: tuple[tuple[int, int], ...] = ()
    #: The same for children that an earlier process of that name has left behind.
    orphans: tuple[tuple[int, int], ...] = ()
    #: Those of the orphans that were sent SIGTERM.
    orphans_told: tuple[tuple[int, int], ...] = ()

    @property
    def identity(self) -> Identity:
        """The identity of the process."""
        return Identity(pid=self.pid, start_ticks=self.start_ticks, boot_id=self.boot_id)

    @property
    def alive(self) -> bool:
        """Whether exactly this process is running."""
        return is_alive(self.identity)

    @property
    def living_children(self) -> tuple[Identity, ...]:
        """Its recorded children that are running, and those of its predecessors."""
        return _living(self.children, self.boot_id) + self.living_orphans

    @property
    def living_orphans(self) -> tuple[Identity, ...]:
        """Children of its predecessors that are running."""
        return _living(self.orphans, self.boot_id)


def folder(plan: Plan) -> Path:
    """Return the folder of the records."""
    return plan.state_folder / "processes"


def record_file(plan: Plan, name: str) -> Path:
    """Return the file of the current process of that name."""
    return folder(plan) / f"{name}.json"


def read_record(plan: Plan, name: str) -> ProcessRecord | None:
    """Return what is recorded about a process, alive or not."""
    return _read(record_file(plan, name))


def write_record(plan: Plan, record: ProcessRecord) -> None:
    """Replace the record of a process, atomically."""
    replace_file(record_file(plan, record.name), asdict(record))


def replace_file(file: Path, document: Mapping[str, Any]) -> None:
    """Replace a JSON file, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps(document))
    draft.replace(file)


def mark_stopping(plan: Plan, record: ProcessRecord, *, signalled: bool) -> ProcessRecord:
    """Record that the process is to stop, or that it has been sent SIGTERM."""
    now = time.time()
    marked = replace(record, told_at=now) if signalled else replace(record, stopping_at=now)
    write_record(plan, marked)
    return marked


def note_children(plan: Plan, record: ProcessRecord, children: Iterable[Identity]) -> ProcessRecord:
    """Record the children of a process."""
    noted = replace(record, children=tuple((child.pid, child.start_ticks) for child in children))
    write_record(plan, noted)
    return noted


def set_aside(plan: Plan, record: ProcessRecord) -> None:
    """Move the record of a process that is still stopping, so that another process may take its name."""
    record_file(plan, record.name).replace(folder(plan) / f"{record.name}.{record.pid}.old.json")


def living(plan: Plan) -> tuple[ProcessRecord, ...]:
    """Return the records of every process of the plan that is alive, those set aside included."""
    files = sorted(folder(plan).glob("*.json")) if folder(plan).is_dir() else []
    found = (_read(file) for file in files)
    return tuple(record for record in found if record is not None and record.alive)


def _read(file: Path) -> ProcessRecord | None:
    try:
        document: dict[str, Any] = orjson.loads(file.read_bytes())
        for key in ("children", "orphans", "orphans_told"):
            document[key] = tuple((pid, ticks) for pid, ticks in document.get(key, ()))
        return ProcessRecord(**document)
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None


def _living(members: Iterable[tuple[int, int]], boot: str) -> tuple[Identity, ...]:
    identities = (Identity(pid=pid, start_ticks=ticks, boot_id=boot) for pid, ticks in members)
    return tuple(identity for identity in identities if is_alive(identity))
