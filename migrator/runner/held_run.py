"""Hold a run: the lock on this machine, and the lease on the unified broker for all others.

The journal of a run, its proof and its snapshots lie on one machine. Another one may go on with the run only with a
copy of that state folder, and only when whoever was at it has come to an end, or is not heard of any more
(``--takeover``). Without the folder it may only look.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from migrator.brokers.connect import open_run_store, read_run
from migrator.brokers.run_record import LEASE_S, RunOwner, RunStore
from migrator.errors import InterruptedRunError, MigratorError, RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.runner.state import MigrationState, read_state
from migrator.state.run_lock import run_lock
from migrator.state.state_folder import folder_id, operator
from migrator.steps.protocol import Context, note
from migrator.transfer.lock import has_ended, new_token


@contextmanager
def held_run(context: Context, command: str) -> Iterator[tuple[Context, str]]:
    """Hold the plan's lock and lease; yields a context that keeps the lease, and a note if a lock was taken over.

    Raises:
        RefusedError: Somebody else is at the run, or its journal lies elsewhere.
    """
    with run_lock(context.plan, command) as taken_over:
        try:
            lease = _take(context, command)
        except UnreachableError as failure:
            # Whatever needs this broker fails by itself, with its own advice.
            note(context, "", f"other machines can't be told of this run: {failure}")
            yield context, taken_over
            return
        thread = threading.Thread(target=lease.renew, name="lease", daemon=True)
        thread.start()
        try:
            yield replace(context, keep_lease=lease.keep), taken_over
        finally:
            lease.ended.set()
            thread.join(LEASE_S)
            lease.release()


def refuse_elsewhere(plan: Plan, environ: Mapping[str, str]) -> None:
    """Refuse to change anything if the journal of the plan's run lies in another state folder.

    Raises:
        RefusedError: It does.
    """
    if (there := run_elsewhere(plan, environ)) is not None:
        raise _elsewhere(plan, there[0])


def run_elsewhere(plan: Plan, environ: Mapping[str, str]) -> tuple[RunOwner, float] | None:
    """Return the record of a run whose journal lies in another folder, and how long its lease lasts."""
    with suppress(MigratorError):
        found, left_s = read_run(plan, environ)
        if found is not None and not _is_here(plan, found):
            return found, left_s
    return None


def _is_here(plan: Plan, found: RunOwner) -> bool:
    """Say whether a run is ours to go on with; one that was rolled back is nobody's any more."""
    over = found.state == MigrationState.ROLLED_BACK and not found.under_way
    return over or found.folder_id == folder_id(plan)


@dataclass(slots=True, kw_only=True)
class RunLease:
    """The lease that this process holds."""

    store: RunStore
    record: RunOwner
    #: What was there before; it is put back by a command that has done nothing.
    before: RunOwner | None
    #: Lines of the journal then.
    began_with: int
    #: Number of the run, its state, and how many lines its journal has.
    position: Callable[[], tuple[int, str, int]]
    ended: threading.Event = field(default_factory=threading.Event)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def keep(self) -> None:
        """Renew the lease, and say how far the run is.

        Raises:
            InterruptedRunError: Another process has taken the run over.
        """
        with self._one_at_a_time:
            self._write(lease=True)

    def renew(self) -> None:
        """Renew the lease until the run has ended; what is wrong with it, the next action finds out."""
        while not self.ended.wait(LEASE_S / 3):
            with suppress(MigratorError):
                self.keep()

    def release(self) -> None:
        """Let go of the run; the record stays while somebody could go on with it."""
        with self._one_at_a_time, suppress(MigratorError):
            self._write(lease=False)
        self.store.close()

    def _write(self, *, lease: bool) -> None:
        run, state, lines = self.position()
        idle = lines == self.began_with
        self.record = msgspec.structs.replace(self.record, run=run, state=state, lines=lines, under_way=lease)
        new: RunOwner | None = self.record
        if not lease and (idle or state == MigrationState.COMPLETED):
            new = self.before if idle else None
        with suppress(UnreachableError):  # the lease lasts for a while, and its record longer
            if self.store.replace(self.record.token, new, lease=lease):
                return
            found, _ = self.store.read()
            if found is None:  # a restart of the server has lost it
                self.store.replace("", new, lease=lease)
            elif found.token != self.record.token:
                remedy = "`migrator status` there says how far it is; here, nothing goes on"
                raise InterruptedRunError(self.store.where, "the run was taken over", found=found.who, remedy=remedy)


def _take(context: Context, command: str) -> RunLease:
    plan, journal = context.plan, context.journal

    def position() -> tuple[int, str, int]:
        entries = journal.entries()
        state = read_state(entries)
        return state.run, state.state.value, len(entries)

    run, state, lines = position()
    store = open_run_store(plan, context.environ)
    try:
        found, left_s = store.read()
        if found is not None:
            _require_ours(plan, store, (found, left_s), lines, takeover=context.options.takeover)
        record = RunOwner(
            folder_id=folder_id(plan, create=True),
            folder=str(plan.state_folder),
            host=socket.gethostname(),
            user=operator(),
            pid=os.getpid(),
            command=f"migrator {command}",
            since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            token=new_token(),
            run=run,
            state=state,
            lines=lines,
        )
        if not store.replace(found.token if found is not None else "", record, lease=True):
            remedy = "run the same command again"
            raise RefusedError(store.where, "another machine has taken the run at this moment", remedy=remedy)
    except BaseException:
        store.close()
        raise
    return RunLease(store=store, record=record, before=found, began_with=lines, position=position)


def _require_ours(plan: Plan, store: RunStore, there: tuple[RunOwner, float], lines: int, *, takeover: bool) -> None:
    found, left_s = there
    if not _is_here(plan, found):
        raise _elsewhere(plan, found)
    ours = (found.host, found.pid) == (socket.gethostname(), os.getpid())  # it could not let go: the broker was away
    if not found.under_way or ours or has_ended(found.token):
        pass
    elif left_s > 0:
        remedy = f"wait for it; if it has ended, its lease does within {left_s:.0f} s"
        raise RefusedError(store.where, "somebody else is at this run", found=found.who, remedy=remedy)
    elif not takeover and found.host != socket.gethostname():
        remedy = "make sure that nothing of it runs there, then add --takeover"
        raise RefusedError(store.where, "the run was not brought to its end", found=found.who, remedy=remedy)
    if lines < found.lines and found.folder_id == folder_id(plan):
        what = f"this copy of the state folder is not the latest: the run went on at {found.host}:{found.folder}"
        remedy = "copy the folder from there, then run the same command again"
        raise RefusedError(str(plan.state_folder), what, found=f"{lines} of {found.lines} lines", remedy=remedy)


def _elsewhere(plan: Plan, found: RunOwner) -> RefusedError:
    return RefusedError(
        str(plan.state_folder),
        f"the journal of run {found.run} ({found.state}) is not here but at {found.host}:{found.folder}",
        found=found.who,
        remedy="go on there, or copy that folder to this place; without it, only `migrator status` can be used here",
    )
