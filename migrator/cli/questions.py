"""Questions in the middle of a run: only on a terminal, and never about something that can be done without."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from migrator.events import Listener
    from migrator.plan.model import Plan
    from migrator.plan.processes import Process


def on_terminal() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_kill(listener: Listener, *, yes: bool) -> Callable[[Process, str], bool] | None:
    """Return a question about a process that has not ended in its time; None where nobody is to be asked."""
    if yes or not on_terminal():
        return None

    def ask(process: Process, text: str) -> bool:
        # The live view would write over the question.
        with getattr(listener, "paused", nullcontext)():
            click.echo(f"\n{text}", err=True)
            return click.confirm(f"Kill {process.name} (no: stop here, resumable)?", default=False, err=True)

    return ask


def kill_question(plan: Plan, *, kills: tuple[str, ...], yes: bool, listener: Listener) -> Callable[[Process], bool]:
    """Return who decides about a process that has not ended: `--kill` with `--yes`, or whoever sits there."""

    def decide(process: Process) -> bool:
        from migrator.workers.kill_impact import consequences

        text = consequences(plan, process, environ=os.environ)
        if yes:
            if process.name in kills:
                click.echo(f"killing: {text}", err=True)
            return process.name in kills
        question = ask_kill(listener, yes=False)
        return question is not None and question(process, text)

    return decide
