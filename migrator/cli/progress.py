"""Progress of a long run on stderr: a live view on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.cli.output import say
from migrator.events import Event, EventKind, Listener
from migrator.plain_text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Shortest time between two plain progress lines.
PLAIN_EVERY_S = 2.0
#: A narrower terminal shows neither spinner nor bar nor time.
WIDE = 76
_MARKS = {
    EventKind.STEP_FINISHED: "done",
    EventKind.STEP_SKIPPED: "skip",
    EventKind.STEP_FAILED: "FAIL",
    EventKind.STEP_UNDONE: "undo",
}


@contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[Listener]:
    """Yield a listener that shows its events until the block ends.

    Args:
        quiet: Show nothing, for example with ``--format json``.
    """
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _live() as progress:
            yield LiveView(progress)
    else:
        yield PlainView()


@contextmanager
def _live() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    step = TextColumn("{task.fields[step]}", markup=False, table_column=Column(no_wrap=True))
    what = TextColumn(
        "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
    )
    columns: tuple[ProgressColumn, ...] = (step, what)
    if console.width >= WIDE:
        columns = (SpinnerColumn(finished_text="[green]✓"), step, BarColumn(bar_width=16), what, TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=8, expand=True) as progress:
        yield progress


class LiveView:
    """Running steps at the bottom of the terminal, with a bar if the amount of work is known; finished ones above."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind is EventKind.STEP_STARTED:
            self._ended.discard(event.step)
        if event.kind in _MARKS:
            self._end(event)
        elif event.step not in self._ended and event.text:
            row = self._rows.get(event.step)
            if row is None:
                row = self._rows[event.step] = self._progress.add_task("", total=None, step=one_line(event.step))
            self._progress.update(row, description=one_line(event.text))
            if event.kind is EventKind.PROGRESS:
                self._progress.update(row, completed=event.done, total=event.total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the view while a question is asked."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def _end(self, event: Event) -> None:
        """Print the step's last line above the view and remove its row."""
        from rich.text import Text

        mark = _MARKS[event.kind]
        colour = {"FAIL": "bold red", "undo": "yellow", "done": "green"}.get(mark, "dim")
        elapsed = f" ({event.elapsed_s:.1f} s)" if event.elapsed_s else ""
        line = Text.assemble((mark, colour), one_line(f"  {event.step:<20} {event.text}"), (elapsed, "dim"))
        self._progress.console.print(line)
        row = self._rows.pop(event.step, None)
        if row is not None:
            self._progress.remove_task(row)
        self._ended.add(event.step)


class PlainView:
    """One line per event, without control characters."""

    def __init__(self) -> None:
        self._last_progress_at = 0.0

    def __call__(self, event: Event) -> None:
        """Print one event."""
        if event.kind is EventKind.ACTION and event.done:
            return  # its start was printed
        if event.kind is EventKind.PROGRESS:
            if time.monotonic() - self._last_progress_at < PLAIN_EVERY_S:
                return
            self._last_progress_at = time.monotonic()
        mark = _MARKS.get(event.kind, "    ")
        elapsed = f" ({event.elapsed_s:.1f} s)" if event.kind in _MARKS and event.elapsed_s else ""
        count = f" {event.done:,}" + (f"/{event.total:,}" if event.total else "") if event.done else ""
        say(f"{mark}  {event.step}: {event.text}{count}{elapsed}", err=True)
