"""Run one command as the command line does, with proof and conversion taken as given.

``COMMAND PLAN [KILL-AT] [--task=NAME …]``.
Prints what the command line prints. With a number it kills itself at the n-th beginning or end of an action.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from migrator.cli.progress import PlainView
from migrator.cli.runs import run_answer
from migrator.errors import ExitCode, MigratorError
from migrator.events import Event, EventKind
from migrator.plan.loader import load_plan
from migrator.report import Report
from migrator.runner import cutover
from migrator.steps.protocol import RunOptions
from migrator.wiring import guarded


def green() -> Report:
    return Report(subject="given", checked=1)


class DyingView(PlainView):
    """Shows events until it dies of one."""

    def __init__(self, kill_at: int) -> None:
        super().__init__()
        self.left = kill_at

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if event.kind is EventKind.ACTION:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    command, file, *rest = sys.argv[1:]
    plan = load_plan(Path(file))
    tasks = tuple(part.removeprefix("--task=") for part in rest if part.startswith("--task="))
    kill_at = [part for part in rest if part.isdecimal()]
    options = replace(guarded(plan, RunOptions(tasks=tasks)), check_proof=green, check_source=green)
    # A background job inherits that Ctrl-C is ignored; an operator's shell does not pass that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    view = DyingView(int(kill_at[0])) if kill_at else PlainView()
    try:
        report = getattr(cutover, command)(plan, environ=os.environ, options=options, listener=view)
    except MigratorError as error:
        print(f"error: {error}")
        return int(error.exit_code)
    answer = run_answer(report)
    print("\n".join(answer.lines))
    return int(answer.exit_code)


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted before or after the run itself")
        code = int(ExitCode.INTERRUPTED)
    sys.exit(code)
