"""``migrator transfer``: messages alone, outside of a cutover: look, bridge late producers, find one by id."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, confirm, finish, format_option, plan_option, yes_option

if TYPE_CHECKING:
    from migrator.plan import Plan
    from migrator.transfer_locate import Whereabouts
    from migrator.transfer_options import ShouldStop, TransferReport


@click.command("transfer")
@click.option("--back", is_flag=True, help="From the unified queue to the legacy ones, instead of forward.")
@click.option("--dry-run", is_flag=True, help="Read and translate every message, take none.")
@click.option("--follow", is_flag=True, help="Go on with what arrives until Ctrl-C: a bridge for late producers.")
@click.option("--task", "tasks", multiple=True, help="Only this task, by its legacy or unified name; repeatable.")
@click.option("--queue", "queues", multiple=True, help="Only this queue of the side that is emptied; repeatable.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="At most so many messages a second.")
@click.option("--retry-kept", is_flag=True, help="First put messages that were kept back into their queues again.")
@click.option("--find", metavar="ID", default="", help="Only say where the message with this id is.")
@plan_option
@yes_option
@format_option
def command(plan: Plan, yes: bool, output_format: str, find: str, **chosen: object) -> None:
    """Carry waiting messages over, or back, without the rest of a cutover.

    What workers have claimed is left to them. Nothing is lost or doubled if it is interrupted at any moment: the same
    command finishes what the interrupted one had begun.

    Example: migrator transfer --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.progress import recorded_progress
    from migrator.transfer import transfer
    from migrator.transfer_options import Direction, TransferOptions

    if find:
        from migrator.transfer_locate import locate

        finish(_found(locate(plan, environ=os.environ, identity=find)), output_format)
    options = TransferOptions(
        direction=Direction.BACK if chosen["back"] else Direction.FORWARD,
        dry_run=bool(chosen["dry_run"]),
        follow=bool(chosen["follow"]),
        tasks=frozenset(chosen["tasks"]),  # type: ignore[call-overload]  # click gives a tuple of texts
        queues=frozenset(chosen["queues"]),  # type: ignore[call-overload]
        max_rate=chosen["rate"],  # type: ignore[arg-type]
        retry_kept=bool(chosen["retry_kept"]),
    )
    if not options.dry_run:
        confirm(f"Carry the waiting messages of {plan.name} {options.direction.value}?", yes=yes)
    with (
        _until_interrupted() as should_stop,
        shown_progress() as shown,
        recorded_progress(plan, f"messages {options.direction.value}", shown) as listener,
    ):
        report = transfer(plan, environ=os.environ, options=options, listener=listener, should_stop=should_stop)
    finish(_answer(report, interrupted=should_stop() and not options.follow), output_format)


@contextmanager
def _until_interrupted() -> Iterator[ShouldStop]:
    """Give a function that is true after the first Ctrl-C or SIGTERM; a second Ctrl-C interrupts as usual."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answer(report: TransferReport, *, interrupted: bool) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines

    verb = "would move" if report.dry_run else "moved"
    rate = "" if report.dry_run else f" in {report.elapsed_s:.1f} s"
    lines = [
        f"{report.direction.value}: {verb} {report.moved:,}, keep back {report.kept:,}, balance {report.balance}{rate}"
    ]
    lines += [f"  {place}: {number:,}" for place, number in report.by_queue.items()]
    lines += [f"  {task}: {number:,}" for task, number in report.by_task.items()]
    lines += [f"kept back, {reason}: {number:,}" for reason, number in report.reasons.items()]
    lines += [f"  for example: {text[:300]}" for text in report.examples.values()]
    lines += [f"still there, {place}: {number:,}" for place, number in report.left.items()]
    lines += finding_lines(report.findings, most=3)
    data = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    for name in ("findings", "kept_messages"):
        data[name] = [dataclasses.asdict(value) for value in data[name]]
    data = {name: dict(value) if hasattr(value, "items") else value for name, value in data.items()}
    next_steps = ["migrator transfer"] if report.dry_run else ["migrator status"]
    code = ExitCode.DIFFERENCES if report.balance or (report.dry_run and report.kept) else ExitCode.CLEAN
    if interrupted:
        code, next_steps = ExitCode.INTERRUPTED, [f"migrator transfer{' --back' * (report.direction.value == 'back')}"]
    return Answer(exit_code=code, lines=lines, data=data, next_steps=next_steps)


def _found(whereabouts: Whereabouts) -> Answer:
    from migrator.errors import ExitCode

    lines = [
        f"{seen.side.value} {seen.system.value} queue {seen.queue}: {seen.state.value}, {seen.task}, "
        f"{seen.attempts} retries, copy {seen.copy_id}"
        for seen in whereabouts.sightings
    ]
    lines += [f"book, run {entry.run}: {entry.fate} {entry.detail}" for entry in whereabouts.entries]
    nothing = f"{whereabouts.id}: in no queue, and nothing unusual in the book; it has run, or it was never here"
    code = ExitCode.CLEAN if lines else ExitCode.DIFFERENCES
    return Answer(exit_code=code, lines=lines or [nothing], data=dataclasses.asdict(whereabouts))
