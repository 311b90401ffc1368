"""Questions in the middle of a run: asked on a terminal only, and only where an answer is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from migrator.cli.output import say
from migrator.plain_text import one_line

if TYPE_CHECKING:
    from migrator.events import Listener
    from migrator.plan.model import Plan
    from migrator.plan.processes import Process


def on_terminal() -> bool:
    """Return True if a question can be asked: stdin and stderr are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def warn_of_volatile_servers(plan: Plan) -> None:
    """Say which servers keep nothing on disk, before the question whether to move messages there."""
    from migrator.brokers.connect import volatile_servers

    for where in volatile_servers(plan, os.environ):
        what = "keeps nothing on disk: a restart while messages move loses every message there"
        say(f"warning: {where} {what}; CONFIG SET appendonly yes", err=True)


def ask_kill(listener: Listener, *, yes: bool) -> Callable[[Process, str], bool] | None:
    """Return a question about a process that has not stopped within its timeout; None if no question may be asked."""
    if yes or not on_terminal():
        return None

    def ask(process: Process, text: str) -> bool:
        # The live view would overwrite the question.
        with getattr(listener, "paused", nullcontext)():
            say("", err=True)
            say(text, err=True)
            return click.confirm(
                f"Kill {one_line(process.name)} (no stops the run here; it can be resumed)?", default=False, err=True
            )

    return ask


def kill_question(plan: Plan, *, kills: tuple[str, ...], yes: bool, listener: Listener) -> Callable[[Process], bool]:
    """Return the decision to kill a process that has not stopped: by `--kill` with `--yes`, or by a question."""

    def decide(process: Process) -> bool:
        from migrator.workers.kill_impact import consequences

        text = consequences(plan, process, environ=os.environ)
        if yes:
            if process.name in kills:
                say(f"killing: {text}", err=True)
            return process.name in kills
        question = ask_kill(listener, yes=False)
        return question is not None and question(process, text)

    return decide
