"""``migrator status``: the state of the migration; changes nothing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from migrator.cli.output import Answer, find_plan, finish, format_option, say_error

if TYPE_CHECKING:
    from migrator.errors import UsageError
    from migrator.plan.model import Plan
    from migrator.runner.status import MigrationStatus
    from migrator.workers.start_stop import ProcessState


@click.command("status")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The plan. Default: migration.toml in the current folder or the nearest parent folder.",
)
@format_option
def command(plan_file: Path | None, output_format: str) -> None:
    """Show where in its life the migration is, and the one next command.

    Before a cutover: whether the plan fits, the source is rewritten and committed, until when parity is proved and
    whether it was rehearsed. During one: the step, what moves, and what ends a wait. Afterwards: what `complete` waits
    for. With waiting messages and running processes. Changes nothing.

    Example: migrator status --format json
    """
    from migrator.errors import ExitCode, UsageError
    from migrator.plan.loader import load_plan
    from migrator.runner.cutover import status
    from migrator.steps.protocol import RunOptions
    from migrator.wiring import guarded

    file = plan_file or find_plan(Path.cwd())
    try:
        plan = load_plan(file)
    except UsageError as problem:
        _without_plan(file, problem, output_format)
    now = status(plan, environ=os.environ, options=guarded(plan, RunOptions()))
    lines = [f"{plan.name}: {now.text}", *_current(now)]
    if now.stage == "running":
        lines += [f"{word}: {', '.join(steps)}" for word, steps in (("done", now.done), ("left", now.left)) if steps]
    lines += _messages(now)
    running = [_shown(state) for state in now.processes if state.state != "stopped"]
    lines.append(f"processes: {', '.join(running) or 'none of the plan is running'}")
    interpreter, unclear = _interpreter(plan)
    lines.append(f"interpreter: {unclear or '{command} ({source})'.format(**interpreter)}")
    stays = _stays(plan)
    lines += [f"{len(stays)} tasks stay: outside of the plan's scope"] if plan.scope else []
    lines += ["complete: " + "; ".join(now.quiet)] if now.quiet else []
    lines += [f"unknown: {problem}" for problem in dict.fromkeys(now.problems)]
    data = {**_plain(now), "interpreter": interpreter, **({"stays": stays} if plan.scope else {})}
    code = ExitCode.UNREACHABLE if now.problems else ExitCode.CLEAN
    answer = Answer(exit_code=ExitCode.USAGE if unclear else code, lines=lines, data=data, next_steps=now.next_steps)
    finish(answer, output_format)


def _shown(process: ProcessState) -> str:
    who = process.problem or f"pid {process.pid or 'unknown'}"
    return f"{process.name} ({process.state}, {who})"


def _without_plan(file: Path, problem: UsageError, output_format: str) -> NoReturn:
    """Say what is missing: a plan, or what is still open in it."""
    from migrator.runner.preparation import Stage

    if output_format == "text":
        say_error(str(problem))
    if file.is_file():
        lines, stage, step = [f"{file}: drafted, and not complete: see the problems"], Stage.DRAFTED, f"edit {file}"
    else:
        lines, stage, step = [f"{file.parent}: there is no plan yet"], Stage.NO_PLAN, "migrator init"
    data = {"stage": stage, "error": str(problem)}
    finish(Answer(exit_code=problem.exit_code, lines=lines, data=data, next_steps=(step,)), output_format)


def _plain(now: MigrationStatus) -> dict[str, Any]:
    data = dataclasses.asdict(now)
    data.pop("next_steps")
    if now.moving is not None:
        data["moving"] |= {"rate": now.moving.rate, "left": now.moving.left, "left_s": now.moving.left_s}
    return data


def _interpreter(plan: Plan) -> tuple[dict[str, str], str]:
    """Return the project's interpreter and where it is from; or why it is not clear which it is."""
    from migrator.errors import UsageError
    from migrator.plan.interpreter import project_python

    try:
        found = project_python(plan, os.environ)
    except UsageError as problem:
        return {"command": "", "source": "", "problem": str(problem)}, str(problem)
    return {"command": str(found), "source": found.source}, ""


def _stays(plan: Plan) -> list[str]:
    from migrator.inventory.scan import scan
    from migrator.inventory.staying import staying

    return list(staying(plan, scan(plan.source_root)).names) if plan.scope else []


def _messages(now: MigrationStatus) -> list[str]:
    """Return where messages wait, inside and outside of the plan's queues."""
    from migrator.render.text import finding_lines

    waiting = "; ".join(f"{name} {count:,}" for name, count in now.waiting.items())
    shown = waiting or ("unknown" if now.problems else "none wait")
    return [f"messages: {shown}", *finding_lines(now.outside, most=5)]


def _current(now: MigrationStatus) -> list[str]:
    """Return the progress of messages, the current action, and what ends it."""
    lines = [f"moving: {now.moving.text}"] if now.moving is not None else []
    if now.current_action:
        lines.append(f"now: {now.current_action} (started {now.current_action_s:,.0f} s ago)")
        lines += [f"      {sentence}" for sentence in now.ends]
    return lines
