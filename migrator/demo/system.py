"""The system under test of a demo run: its processes, enqueued messages and measurements."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrator.brokers.connect import connect
from migrator.demo.accounting import SystemTally, poll_tally, read_ids, tally
from migrator.demo.load import Load
from migrator.demo.scratch import Scratch, manage
from migrator.errors import MigratorError
from migrator.events import Event, EventKind, Listener
from migrator.wire.message import Message, Side
from migrator.workers.start_stop import start_side, stop_side

#: How long workers may take to run the ready messages before the demo goes on.
DRAIN_TIMEOUT_S = 60.0


@dataclass(slots=True, kw_only=True)
class SystemUnderTest:
    """One running scratch system."""

    scratch: Scratch
    listener: Listener
    messages: int
    seed: int
    #: The commit before the rewrite.
    legacy_commit: str = ""
    loads: list[Load] = field(default_factory=list)
    #: Measured values by name, in the order in which they were measured.
    measured: dict[str, Any] = field(default_factory=dict)
    tallies: dict[str, SystemTally] = field(default_factory=dict)
    #: Expectations, and whether they were met.
    checks: dict[str, bool] = field(default_factory=dict)

    def note(self, phase: str, text: str) -> None:
        """Emit a progress note."""
        self.listener(Event(kind=EventKind.NOTE, step=phase, text=text))

    def start(self, side: Side) -> None:
        """Start one side's processes and wait until they are ready."""
        start_side(self.scratch.plan, side, environ=self.scratch.environ)

    def enqueue(self, number: int, *, root: Path | None = None) -> None:
        """Enqueue messages with the sample's own producer.

        Args:
            number: How many.
            root: The checkout whose code enqueues them. Default: the project itself.
        """
        self.seed += 1
        file = self.scratch.folder / f"enqueued-{self.seed}.jsonl"
        command = ("enqueue_traffic", "--messages", str(number), "--seed", str(self.seed), "--record", str(file))
        manage(self.scratch, command, root=root)

    def enqueued(self) -> list[str]:
        """Return every id that a producer has enqueued."""
        files = sorted(self.scratch.folder.glob("enqueued-*.jsonl"))
        recorded = [identifier for file in files for identifier in read_ids(file)]
        return recorded + [identifier for load in self.loads for identifier in list(load.ids)]

    def scan(self) -> list[Message]:
        """Read every message of every broker without taking it."""
        found: list[Message] = []
        for endpoint in (*self.scratch.plan.legacy, self.scratch.plan.unified):
            with closing(connect(endpoint, self.scratch.environ)) as broker:
                found.extend(broker.scan())
        return found

    def depths(self, side: Side) -> Mapping[str, int]:
        """Return the number of messages in each state on one side."""
        plan = self.scratch.plan
        totals: dict[str, int] = {}
        for endpoint in (*plan.legacy, plan.unified):
            if endpoint.side is side:
                with closing(connect(endpoint, self.scratch.environ)) as broker:
                    for (_queue, state), number in broker.depths().items():
                        totals[state.value] = totals.get(state.value, 0) + number
        return totals

    def tally(self, name: str, *, workers_stopped: bool = False) -> SystemTally:
        """Account for every id and store the result under a name."""
        if workers_stopped:
            found = tally(self.enqueued(), self.scan(), self.scratch.audit_folder, workers_stopped=True)
        else:
            found = poll_tally(self.enqueued, self.scratch.audit_folder, self.scan)
        self.tallies[name] = found
        accounted = f"{found.run:,} run + {found.waiting:,} waiting + {found.quarantined:,} quarantined"
        wrong = f"lost {len(found.lost)}, duplicated {len(found.duplicated)}"
        self.note(name, f"{found.enqueued:,} enqueued = {accounted}; {wrong}")
        return found

    def drain(self, phase: str, side: Side) -> bool:
        """Wait until the workers of a side have run all ready messages; return True if they have."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        first = None
        while time.monotonic() < deadline:
            ready = self.depths(side).get("ready", 0)
            first = max(ready, first or 1)
            event = Event(kind=EventKind.PROGRESS, step=phase, text="messages run", done=first - ready, total=first)
            self.listener(event)
            if ready == 0:
                return True
            time.sleep(0.3)
        return False

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Send requests to the sample's API while the block runs."""
        load = Load(port=int(self.scratch.environ["API_PORT"]))
        self.loads.append(load)
        load.start()
        try:
            yield load
        finally:
            load.stop()

    def stop(self) -> None:
        """Stop all processes of both sides; errors are ignored."""
        for load in self.loads:
            load.stop()
        for side in Side:
            with suppress(MigratorError):
                stop_side(self.scratch.plan, side, environ=self.scratch.environ)
