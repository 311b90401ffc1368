"""``migrator status``: the state of the migration; changes nothing."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, finish, format_option, plan_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan
    from migrator.runner.status import MigrationStatus


@click.command("status")
@plan_option
@format_option
def command(plan: Plan, output_format: str) -> None:
    """Show the state of the migration and the next command.

    Shows the steps done and left, waiting messages, running processes and the current action. Changes nothing.

    Example: migrator status --format json
    """
    from migrator.errors import ExitCode
    from migrator.render.text import table
    from migrator.runner.cutover import status

    now = status(plan, environ=os.environ)
    running = [
        (p.name, p.side.value, p.role.value, p.state, p.pid or "") for p in now.processes if p.state != "stopped"
    ]
    lines = [f"{plan.name}: {now.text}", *_current(now)]
    if now.done:
        lines.append("done: " + ", ".join(now.done))
    if now.left:
        lines.append("left: " + ", ".join(now.left))
    if now.waiting:
        lines += table("", ["where", "#messages"], [(name, f"{count:,}") for name, count in now.waiting.items()])
    elif not now.problems:
        lines.append("no waiting messages")
    if running:
        lines += table("", ["process", "side", "role", "state", "#pid"], running)
    else:
        lines.append("no process of the plan is running")
    stays = _stays(plan)
    lines += [f"{len(stays)} tasks stay: outside of the plan's scope"] if plan.scope else []
    lines += ["complete: " + "; ".join(now.quiet)] if now.quiet else []
    lines += [f"unknown: {problem}" for problem in dict.fromkeys(now.problems)]
    data = dataclasses.asdict(now)
    data.pop("next_steps")
    data |= {"stays": stays} if plan.scope else {}
    if now.moving is not None:
        data["moving"] |= {"rate": now.moving.rate, "left": now.moving.left, "left_s": now.moving.left_s}
    code = ExitCode.UNREACHABLE if now.problems else ExitCode.CLEAN
    finish(Answer(exit_code=code, lines=lines, data=data, next_steps=now.next_steps), output_format)


def _stays(plan: Plan) -> list[str]:
    from migrator.inventory.scan import scan
    from migrator.inventory.staying import staying

    return list(staying(plan, scan(plan.source_root)).names) if plan.scope else []


def _current(now: MigrationStatus) -> list[str]:
    """Return the progress of messages, the current action, and what ends it."""
    lines = [f"moving: {now.moving.text}"] if now.moving is not None else []
    if now.current_action:
        lines.append(f"now: {now.current_action} (started {now.current_action_s:,.0f} s ago)")
        lines += [f"      {sentence}" for sentence in now.ends]
    return lines
