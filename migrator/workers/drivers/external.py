"""Processes that run elsewhere: commands of the plan start and stop them, or the operator does; the broker tells.

Started means that all replicas answer, stopped that the last sign of them is old and nothing is claimed any more. What
ran before, how many and which release, is recorded when they are told to stop, so that a rollback starts the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from migrator.errors import UnreachableError, UsageError
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill
from migrator.plan.processes import Process, Role
from migrator.project.commands import last_lines, run
from migrator.redaction import redact
from migrator.report import Finding, Severity
from migrator.state.state_folder import ensure_state_folder
from migrator.wire.message import Side
from migrator.workers import signs
from migrator.workers.drivers.process_identity import Identity, boot_id
from migrator.workers.drivers.process_record import ProcessRecord, folder, read_record, replace_file

POLL_S = 0.5
STATE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalRecord:
    """What is known of a process that runs elsewhere."""

    started_at: float = 0.0
    stopping_at: float = 0.0
    #: How many ran when it was told to stop, and which release; 0 and empty if that has not happened.
    replicas: int = 0
    release: str = ""
    living: tuple[str, ...] = ()
    beats: Mapping[str, float] = field(default_factory=dict)
    looked_at: float = 0.0
    #: Ids of heartbeats that were there before it was started.
    strangers: tuple[str, ...] = ()


def current(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Return a record without a pid of a process that shows signs of life; None if there are none."""
    record = _read(plan, process)
    seen, count = _look(plan, process, record, environ)
    if not seen.living and not count:
        return None
    node = seen.living[0] if process.role is Role.WORKER and seen.registered else ""
    return ProcessRecord(
        name=process.name,
        node=node,
        pid=0,
        start_ticks=0,
        boot_id=boot_id(),
        started_at=record.started_at,
        stopping_at=record.stopping_at,
    )


def start(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Have it started, with what ran before if that is known; does not wait until it is ready.

    Raises:
        UnreachableError: A command failed, or did not end in its time.
    """
    running = current(plan, process, environ=environ)
    if running is not None and not running.stopping_at:
        return running
    record = _read(plan, process)
    record = replace(
        record,
        started_at=time.time(),
        stopping_at=0.0,
        release=release(plan, process, environ=environ),
        strangers=tuple(record.beats),
    )
    _write(plan, process, record)
    for words in process.elsewhere.start:
        _run(plan, process, words, environ=environ, limit_s=process.elsewhere.start_timeout_s)
    return ProcessRecord(
        name=process.name, node="", pid=0, start_ticks=0, boot_id=boot_id(), started_at=record.started_at
    )


def signal_stop(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Have it stopped, and record what ran; it has no pids here."""
    record = _read(plan, process)
    if not record.stopping_at:
        seen, count = _look(plan, process, record, environ)
        if seen.living or count:
            ran = count or (len(seen.registered) or process.elsewhere.replicas)
            record = replace(_read(plan, process), replicas=ran, release=release(plan, process, environ=environ))
        _write(plan, process, replace(record, stopping_at=time.time()))
    for words in process.elsewhere.stop:
        _run(plan, process, words, environ=environ, limit_s=max(process.stop_timeout_s, STATE_TIMEOUT_S))
    return ()


def wait_gone(plan: Plan, process: Process, *, environ: Mapping[str, str], timeout_s: float | None = None) -> float:
    """Wait until no sign of a process is left and nothing is claimed any more; returns the seconds.

    Raises:
        UnreachableError: Something is still there after its stop timeout.
    """
    began = time.monotonic()
    limit_s = process.stop_timeout_s if timeout_s is None else timeout_s
    while True:
        seen, count = _look(plan, process, _read(plan, process), environ)
        if not (seen.living or count or seen.claimed):
            return time.monotonic() - began
        if time.monotonic() - began > limit_s:
            raise UnreachableError(
                f"process {process.name}",
                f"is not gone {limit_s:g} s after it was told to stop",
                found=_left(seen, count),
                remedy="stop it where it runs, then run the same command again; what workers that were killed have "
                "claimed is taken with `migrator transfer --take-claimed`",
            )
        time.sleep(POLL_S)


def missing(plan: Plan, process: Process, expected: frozenset[str], *, environ: Mapping[str, str]) -> str:
    """Return what it lacks to be ready; empty if nothing.

    Args:
        expected: The task names that each of its Celery workers must know.
    """
    wanted = replicas(plan, process)
    record = _read(plan, process)
    seen, count = _look(plan, process, record, environ, wanted=wanted)
    if process.elsewhere.state and count < wanted:
        return f"{count} of {wanted} replicas run"
    if process.role is not Role.WORKER:
        return ""
    living = [name for name in seen.living if name not in record.strangers]
    if len(living) < wanted:
        return f"{len(living)} of {wanted} replicas show themselves to the broker"
    for node, names in seen.registered.items():
        lacking = sorted(expected - names)
        if lacking:
            return f"{node} does not know {', '.join(lacking[:3])}"
    return ""


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return that nothing is seen of it."""
    return "the broker sees nothing of it" if process.role is Role.WORKER else "its state command counts none"


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return that its release is not known, which both ways need."""
    try:
        release(plan, process, environ=environ)
    except UsageError as problem:
        return (
            Finding(
                code="RELEASE-UNKNOWN",
                severity=Severity.ERROR,
                where=problem.where,
                what=problem.what,
                remedy=problem.remedy,
            ),
        )
    return ()


def nodes(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of its Celery nodes that answer."""
    return tuple(_look(plan, process, _read(plan, process), environ)[0].registered)


def replicas(plan: Plan, process: Process) -> int:
    """Return how many are to run: on the way back as many as before."""
    before = _read(plan, process).replicas if process.side is Side.LEGACY else 0
    return before or process.elsewhere.replicas


def release(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what it runs: the recorded release of the legacy side, else what the plan says now."""
    before = _read(plan, process).release if process.side is Side.LEGACY else ""
    where = f"process {process.name}: release"
    return before or fill(plan, process.elsewhere.release, environ=environ, where=where)


def request(plan: Plan, process: Process, verb: str, *, environ: Mapping[str, str]) -> str:
    """Return what an operator is asked for where the plan has no command, and what is awaited; empty if it has one."""
    if process.elsewhere.start if verb == "start" else process.elsewhere.stop:
        return ""
    running = release(plan, process, environ=environ)
    what = f"{process.name}{f' of release {running}' if running else ''}"
    if verb == "start":
        number, limit_s = replicas(plan, process), process.elsewhere.start_timeout_s
        return f"start {what} now, {number} of it: awaited for {limit_s:g} s is that {number} show themselves"
    limit_s = process.stop_timeout_s
    return f"stop {what} now, all of it: awaited for {limit_s:g} s is that no sign is left and nothing claimed"


def _look(
    plan: Plan, process: Process, record: ExternalRecord, environ: Mapping[str, str], *, wanted: int = 1
) -> tuple[signs.Signs, int]:
    """Return the signs at the broker, which are recorded, and how many the state command counts."""
    count = _count(plan, process, environ) if process.elsewhere.state else 0
    if process.role is not Role.WORKER:
        return signs.Signs(), count
    others = frozenset(
        found.node for other in plan.processes if other is not process and (found := read_record(plan, other.name))
    )
    before = signs.Before(living=record.living, beats=record.beats, looked_at=record.looked_at, others=others - {""})
    seen = signs.look(plan, process, environ=environ, before=before, wanted=wanted)
    known = (*seen.registered, *seen.silent)
    _write(plan, process, replace(record, living=known, beats=seen.beats, looked_at=time.time()))
    return seen, count


def _count(plan: Plan, process: Process, environ: Mapping[str, str]) -> int:
    printed = _run(plan, process, process.elsewhere.state, environ=environ, limit_s=STATE_TIMEOUT_S)
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return int(lines[0]) if len(lines) == 1 and lines[0].isdecimal() else len(lines)


def _run(plan: Plan, process: Process, words: Sequence[str], *, environ: Mapping[str, str], limit_s: float) -> str:
    """Run one of the plan's commands and return what it prints.

    Raises:
        UnreachableError: It failed, can't be executed or did not end in its time.
    """
    where = f"process {process.name}: {words[0]}"
    number = str(replicas(plan, process))
    running = release(plan, process, environ=environ) if any("{release}" in word for word in words) else ""
    given = [
        word.replace("{name}", process.name).replace("{replicas}", number).replace("{release}", running)
        for word in words
    ]
    line = [fill(plan, word, environ=environ, where=where) for word in given]
    code, output, errors = run(line, folder=plan.folder / process.directory, environ=environ, limit_s=limit_s)
    if code:
        raise UnreachableError(
            where,
            f"ended with {code}",
            found=last_lines(errors or output),
            remedy=f"run it by hand: {redact(' '.join(line))}",
        )
    return output


def _left(seen: signs.Signs, count: int) -> str:
    parts = [", ".join(seen.living[:3])] if seen.living else []
    parts += [f"{count} run"] if count else []
    parts += [f"{seen.claimed} messages claimed"] if seen.claimed else []
    return "; ".join(parts)


def _file(plan: Plan, process: Process) -> Path:
    return folder(plan) / f"{process.name}.elsewhere"


def _read(plan: Plan, process: Process) -> ExternalRecord:
    try:
        document = orjson.loads(_file(plan, process).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return ExternalRecord()
    for key in ("living", "strangers"):
        document[key] = tuple(document.get(key, ()))
    return ExternalRecord(**document)


def _write(plan: Plan, process: Process, record: ExternalRecord) -> None:
    ensure_state_folder(plan)
    replace_file(_file(plan, process), asdict(record))
