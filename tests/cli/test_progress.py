"""Progress for a pipe: one line a thing, no control characters; for a terminal: what is under way, the rest above."""

from __future__ import annotations

import io

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
    view(event(EventKind.ACTION, "carry over", done=0, total=1))
    view(event(EventKind.ACTION, "carry over", done=1, total=1))
    view(event(EventKind.PROGRESS, "moved", done=1000, total=5000))
    view(event(EventKind.PROGRESS, "moved", done=1001, total=5000))
    view(event(EventKind.STEP_FINISHED, elapsed_s=1.25))
    assert capsys.readouterr().err.splitlines() == [
        "      transfer: move",
        "      transfer: carry over",
        "      transfer: moved 1,000/5,000",
        "done  transfer: move (1.2 s)",
    ]


def test_a_terminal_shows_what_is_under_way_and_keeps_what_has_ended() -> None:
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
