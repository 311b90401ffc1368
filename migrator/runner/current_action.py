"""What a run is doing at this moment, and what ends it: from the journal's last line that has no end.

Each wait of a run is bounded. This says by what it ends of itself, and which command ends it sooner.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from migrator.plan.model import Plan
from migrator.plan.processes import Process
from migrator.state.journal import EntryKind, JournalEntry, Phase

_FILE = re.compile(r"^wait until (?P<file>.+) is gone$")
_PID = re.compile(r"\bpid (?P<pid>\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentAction:
    """One action that was begun and has not ended."""

    step: str
    action: str
    #: What it does, for a person.
    text: str
    #: Seconds since it began.
    since_s: float
    phase: Phase


def current_action(entries: Iterable[JournalEntry], run: int) -> CurrentAction | None:
    """Return the action that was begun last, if its end is not recorded."""
    last = next(
        (line for line in reversed(tuple(entries)) if line.run == run and line.mark is not EntryKind.NOTE), None
    )
    if last is None or last.mark is not EntryKind.STARTED:
        return None
    since_s = max(0.0, time.time() - last.at.timestamp())
    return CurrentAction(step=last.step, action=last.action, text=last.text, since_s=since_s, phase=last.phase)


def how_it_ends(plan: Plan, now: CurrentAction, owner: str) -> tuple[str, ...]:
    """Return what ends this action: by itself, and by which command.

    Args:
        owner: Who is at it, as the lock says; empty if nobody is.
    """
    again, back = ("cutover", "rollback") if now.phase is Phase.FORWARD else ("rollback", "rollback")
    if not owner:
        return (f"nobody is at it: `migrator {again}` goes on",)
    found = list(_by_itself(plan, now))
    pid = _PID.search(owner)
    interrupt = f"Ctrl-C in its terminal, or `kill -TERM {pid['pid']}`" if pid else "Ctrl-C in its terminal"
    then = f"then `migrator {again}` goes on" + (f" and `migrator {back}` undoes it" if back != again else "")
    return (*found, f"{interrupt}, interrupts it; {then}")


def _by_itself(plan: Plan, now: CurrentAction) -> Iterable[str]:
    verb, _, name = now.action.partition(":")
    process = next((process for process in plan.processes if process.name == name), None)
    file = _FILE.match(now.text) if now.action == "hold" else None
    if file is not None:
        yield f"`rm {file['file']}` ends the wait"
    elif process is not None and verb in ("drain", "gone", "stop"):
        yield f"it ends when the tasks of {name} end, or {process.stop_timeout_s:g} s after its begin, as a failure"
        if verb != "drain":
            yield f"`migrator workers stop {process.side.value} --kill {name}` ends {name} with what it runs"
    elif verb == "ready":
        yield f"it ends when {name} is ready or has ended{_log(plan, process)}"


def _log(plan: Plan, process: Process | None) -> str:
    file = plan.state_folder / "processes" / f"{process.name}.log" if process is not None else None
    return f"; see {file}" if file is not None and file.is_file() else ""
