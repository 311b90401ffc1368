"""Progress for a pipe: one line per event, no control characters; for a terminal: running and finished steps."""

from __future__ import annotations

import io
import os
import pty
import re
import sys

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from migrator.cli.progress import LiveView, PlainView
from migrator.events import Event, EventKind


def event(kind: EventKind, text: str = "move", **values: object) -> Event:
    return Event(kind=kind, step="transfer", text=text, **values)  # type: ignore[arg-type]


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view(event(EventKind.STEP_STARTED))
    view(event(EventKind.ACTION, "move messages", done=0, total=1))
    view(event(EventKind.ACTION, "move messages", done=1, total=1))
    view(event(EventKind.PROGRESS, "moved", done=1000, total=5000))
    view(event(EventKind.PROGRESS, "moved", done=1001, total=5000))
    view(event(EventKind.STEP_FINISHED, elapsed_s=1.25))
    assert capsys.readouterr().err.splitlines() == [
        "      transfer: move",
        "      transfer: move messages",
        "      transfer: moved 1,000/5,000",
        "done  transfer: move (1.2 s)",
    ]


def test_a_terminal_shows_running_and_finished_steps() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with Progress(TextColumn("{task.fields[step]}"), console=console, auto_refresh=False) as progress:
        view = LiveView(progress)
        view(event(EventKind.STEP_STARTED))
        view(event(EventKind.PROGRESS, "[moved]", done=5, total=10))
        assert [(task.completed, task.total) for task in progress.tasks] == [(5, 10)]
        view(event(EventKind.STEP_FINISHED, "all [moved]", elapsed_s=2.0))
        view(event(EventKind.PROGRESS, "a sweep later", done=1, total=1))
        assert progress.tasks == []
        view(event(EventKind.STEP_STARTED))
        assert len(progress.tasks) == 1
    assert "done  transfer             all [moved] (2.0 s)" in console.file.getvalue()  # type: ignore[attr-defined]


NARROW = """
from migrator.cli.progress import shown_progress
from migrator.cli.runs import run_answer
from migrator.errors import ExitCode
from migrator.events import Event, EventKind
from migrator.runner.report import RunOutcome, RunReport, StepResult
from migrator.steps.order import STEPS

with shown_progress() as listener:
    listener(Event(kind=EventKind.STEP_STARTED, step="quiesce_schedulers", text="Stop the legacy schedulers"))
    listener(Event(kind=EventKind.ACTION, step="quiesce_schedulers", text="stop legacy-beat (pid 4711), wait"))
    listener(Event(kind=EventKind.STEP_FINISHED, step="quiesce_schedulers", text="Stop", elapsed_s=1.0))
    listener(Event(kind=EventKind.PROGRESS, step="transfer", text="3,000 moved", done=3000, total=10000))
steps = tuple(StepResult(name=step.name, title=step.title, outcome="already done", elapsed_s=99.9) for step in STEPS)
report = RunReport(command="cutover", run=1, outcome=RunOutcome.DONE, exit_code=ExitCode.CLEAN, steps=steps)
print(*run_answer(report).lines, sep="\\n")
"""


def on_a_terminal(columns: int) -> str:
    """Return what a process prints on a terminal of this width."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", NO_COLOR="1", COLUMNS=str(columns))
        os.execv(sys.executable, [sys.executable, "-c", NARROW])
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end was closed
            part = b""
        if not part:
            break
        shown += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")


def test_a_narrow_terminal_breaks_no_word() -> None:
    lines = on_a_terminal(40).splitlines()
    assert any("transfer 3,000 moved" in line for line in lines), lines
    assert "  already done   99.9 s  quiesce_schedulers" in lines
    assert max(map(len, lines[lines.index("cutover (run 1) done: the system is unified") + 1 :])) <= 43
    wide = on_a_terminal(100)
    assert "quiesce_schedulers   already done      99.9   Stop the legacy schedulers" in wide
