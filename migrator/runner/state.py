"""Where the migration stands, read from the journal alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from migrator.state.journal import EntryKind, JournalEntry, Phase


class MigrationState(StrEnum):
    """Where the system is; never between without saying so."""

    LEGACY = "legacy"
    MIGRATING = "migrating"
    MIGRATED = "migrated"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The last run, as the journal tells it."""

    state: MigrationState
    #: 0 if there has been none.
    run: int
    #: The plan it was begun with.
    plan: str = ""
    #: Steps whose forward actions have all been done and verified.
    done: tuple[str, ...] = ()
    #: Steps of which at least one forward action was begun.
    begun: tuple[str, ...] = ()
    #: Steps that have been undone.
    undone: tuple[str, ...] = ()
    #: Finished action ids by (phase, step).
    actions: Mapping[tuple[Phase, str], frozenset[str]] = field(default_factory=dict)
    #: The step that is next or under way; empty if none is.
    step: str = ""


def read_state(entries: Iterable[JournalEntry]) -> RunState:
    """Return what the last run has done."""
    lines = tuple(entries)
    run = max((line.run for line in lines), default=0)
    if not run:
        return RunState(state=MigrationState.LEGACY, run=0)
    mine = [line for line in lines if line.run == run]
    forward = [line for line in mine if line.phase is Phase.FORWARD]
    back = [line for line in mine if line.phase is Phase.BACK]
    finished: dict[tuple[Phase, str], set[str]] = {}
    for line in mine:
        if line.mark is EntryKind.DONE and line.action:
            finished.setdefault((line.phase, line.step), set()).add(line.action)
    state = _state(mine)
    way = back if state is MigrationState.ROLLING_BACK else forward
    return RunState(
        state=state,
        run=run,
        plan=mine[0].plan,
        done=_steps(line for line in forward if line.mark is EntryKind.DONE and not line.action),
        begun=_steps(line for line in forward if line.mark is EntryKind.STARTED and line.action),
        undone=_steps(line for line in back if line.mark is EntryKind.DONE and not line.action),
        actions={key: frozenset(ids) for key, ids in finished.items()},
        step=next((line.step for line in reversed(way) if line.step), ""),
    )


def _state(lines: list[JournalEntry]) -> MigrationState:
    state = MigrationState.MIGRATING
    for line in lines:
        if line.mark is EntryKind.RUN_CLOSED:
            state = MigrationState.COMPLETED
        elif line.mark is EntryKind.RUN_BEGUN and line.phase is Phase.BACK:
            state = MigrationState.ROLLING_BACK
        elif line.mark is EntryKind.RUN_DONE:
            state = MigrationState.MIGRATED if line.phase is Phase.FORWARD else MigrationState.ROLLED_BACK
    return state


def _steps(lines: Iterable[JournalEntry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.step for line in lines))
