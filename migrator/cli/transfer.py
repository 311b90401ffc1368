"""``migrator transfer``: messages alone, outside of a cutover: look, bridge late producers, find one by id."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, confirm, finish, format_option, plan_option, renamed_option, yes_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan
    from migrator.state.snapshot_file import SnapshotFacts
    from migrator.transfer.locate import Sighting, Whereabouts
    from migrator.transfer.options import ShouldStop, TransferOptions, TransferReport


_MOST_KEPT = 3
_EXAMPLE_CHARACTERS = 300
_STALE_S = 3600.0


@click.command("transfer")
@click.option("--back", is_flag=True, help="From the unified queue to the legacy ones, instead of forward.")
@click.option("--dry-run", is_flag=True, help="Read and translate every message, take none.")
@click.option("--follow", is_flag=True, help="Go on with what arrives until Ctrl-C: a bridge for late producers.")
@click.option("--task", "tasks", multiple=True, help="Only this task, by its legacy or unified name; repeatable.")
@click.option("--queue", "queues", multiple=True, help="Only this queue of the side that is emptied; repeatable.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="At most so many messages a second.")
@click.option(
    "--retry-quarantined", is_flag=True, help="First put messages that were kept back into their queues again."
)
@click.option(
    "--take-claimed", is_flag=True, help="Also what workers had claimed that have ended; refused while one answers."
)
@click.option("--no-snapshot", is_flag=True, help="Don't write all messages to .migrator/snapshots first.")
@click.option("--find", metavar="ID", default="", help="Only say where the message, or the copy, with this id is.")
@renamed_option("--retry-kept", "--retry-quarantined")
@plan_option
@yes_option
@format_option
def command(plan: Plan, yes: bool, output_format: str, find: str, **chosen: object) -> None:
    """Carry waiting messages over, or back, without the rest of a cutover.

    Before the first one moves, all are written to a file that `migrator restore` puts back. What workers have claimed
    is left to them. Nothing is lost or doubled if it is interrupted at any moment: the same command finishes what the
    interrupted one had begun.

    Example: migrator transfer --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.state.progress import recorded_progress
    from migrator.transfer.selection import emptied_side
    from migrator.transfer.transfer import transfer
    from migrator.transfer.worker_check import refuse_living_workers

    if find:
        from migrator.transfer.locate import locate

        finish(_found(locate(plan, environ=os.environ, identity=find)), output_format)
    options = _options(chosen)
    written = None
    if not options.dry_run:
        confirm(f"Carry the waiting messages of {plan.name} {options.direction.value}?", yes=yes)
        if options.consumers_stopped:
            refuse_living_workers(plan, environ=os.environ, side=emptied_side(options.direction))
        written = None if chosen["no_snapshot"] else _written(plan)
    with (
        _until_interrupted() as should_stop,
        shown_progress() as shown,
        recorded_progress(plan, f"messages {options.direction.value}", shown) as listener,
    ):
        report = transfer(plan, environ=os.environ, options=options, listener=listener, should_stop=should_stop)
    answer = _answer(report, chosen, interrupted=should_stop() and not options.follow)
    finish(answer if written is None else _with_snapshot(answer, written), output_format)


def _with_snapshot(answer: Answer, written: SnapshotFacts) -> Answer:
    line = f"before that {written.messages:,} messages were written to {written.file}"
    return dataclasses.replace(answer, lines=[*answer.lines, line], data={**answer.data, "snapshot": str(written.file)})


def _options(chosen: Mapping[str, object]) -> TransferOptions:
    from migrator.transfer.options import Direction, TransferOptions

    return TransferOptions(
        direction=Direction.BACK if chosen["back"] else Direction.FORWARD,
        dry_run=bool(chosen["dry_run"]),
        follow=bool(chosen["follow"]),
        tasks=frozenset(chosen["tasks"]),  # type: ignore[call-overload]  # click gives a tuple of texts
        queues=frozenset(chosen["queues"]),  # type: ignore[call-overload]
        max_rate=chosen["rate"],  # type: ignore[arg-type]
        retry_quarantined=bool(chosen["retry_quarantined"]),
        consumers_stopped=bool(chosen["take_claimed"]),
    )


def _written(plan: Plan) -> SnapshotFacts | None:
    """Write all messages of the plan's queues to a file; None if there are none."""
    from datetime import UTC, datetime

    from migrator.snapshots.snapshot import write_snapshot

    folder = plan.state_folder / "snapshots"
    for partial in folder.glob(".transfer-*.partial"):
        # Of a run that was killed while it wrote; one that writes now is younger.
        if time.time() - partial.stat().st_mtime > _STALE_S:
            partial.unlink(missing_ok=True)
    name = f"transfer-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.snapshot"
    facts = write_snapshot(plan, environ=os.environ, file=folder / name)
    if facts.messages:
        return facts
    facts.file.unlink()
    return None


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


def _answer(report: TransferReport, chosen: Mapping[str, object], *, interrupted: bool) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines

    lines = [_headline(report), *_lines("from", report.by_queue), *_lines("tasks", report.by_task)]
    lines += _quarantined_lines(report)
    if not report.dry_run:
        lines += _lines("still there", report.left)
    lines += finding_lines(report.findings, most=3)
    data = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    for name in ("findings", "quarantined_messages"):
        data[name] = [dataclasses.asdict(value) for value in data[name]]
    data = {name: dict(value) if hasattr(value, "items") else value for name, value in data.items()}
    again = _command(chosen)
    next_steps = [again] if report.dry_run else ["migrator status"]
    code = ExitCode.DIFFERENCES if report.balance or (report.dry_run and report.quarantined) else ExitCode.CLEAN
    if interrupted:
        code, next_steps = ExitCode.INTERRUPTED, [again]
    return Answer(exit_code=code, lines=lines, data=data, next_steps=next_steps)


def _headline(report: TransferReport) -> str:
    rest = f", {report.filtered_out:,} left alone by the filter" if report.filtered_out else ""
    if report.dry_run:
        return (
            f"{report.direction.value}, dry run, nothing was taken: "
            f"{report.moved:,} would be moved, {report.quarantined:,} kept back{rest}"
        )
    extra = "".join(
        f", {number:,} {text}"
        for number, text in (
            (report.already_there, "had arrived before"),
            (report.without_body, "ids without a message"),
            (report.restored, "kept-back ones put into their queues again"),
            (report.released, "parked ones released"),
            (report.parked, "of them parked until they are due"),
        )
        if number
    )
    return (
        f"{report.direction.value}: moved {report.moved:,}, kept back {report.quarantined:,}{extra}{rest}; "
        f"balance {report.balance}, {report.elapsed_s:.1f} s"
    )


def _lines(title: str, counts: Mapping[str, int]) -> list[str]:
    return [title, *(f"  {name}: {number:,}" for name, number in counts.items())] if counts else []


def _quarantined_lines(report: TransferReport) -> list[str]:
    """Return for each reason the number, why the first messages stay, and the first one's bytes."""
    lines: list[str] = []
    for reason, number in report.reasons.items():
        lines.append(f"kept back, {reason}: {number:,}")
        records = [record for record in report.quarantined_messages if record.reason == reason]
        for record in records[:_MOST_KEPT]:
            name = record.task or "unreadable"
            lines.append(
                f"  {record.system.value}:{record.queue} {record.id or record.copy_id} {name}: {record.detail}"
            )
        if number > _MOST_KEPT:
            lines.append(f"  and {number - min(len(records), _MOST_KEPT):,} more")
        if example := report.examples.get(reason):
            lines.append(f"  the first one's bytes: {example[:_EXAMPLE_CHARACTERS]}")
    if report.quarantined and not report.dry_run:
        lines.append(
            "  (they stay on their server as they were; a way back returns them, --retry-quarantined tries again)"
        )
    return lines


def _command(chosen: Mapping[str, object]) -> str:
    """Return the command line that does it, without ``--dry-run``."""
    words = ["migrator", "transfer"]
    for name in ("back", "follow", "retry_quarantined", "take_claimed", "no_snapshot"):
        words += [f"--{name.replace('_', '-')}"] if chosen[name] else []
    for name, flag in (("tasks", "--task"), ("queues", "--queue")):
        for value in chosen[name]:  # type: ignore[attr-defined]  # click gives a tuple of texts
            words += [flag, value]
    words += ["--rate", f"{chosen['rate']:g}"] if chosen["rate"] else []
    return shlex.join(words)


def _found(whereabouts: Whereabouts) -> Answer:
    from datetime import UTC, datetime

    from migrator.errors import ExitCode

    lines = [_seen(seen) for seen in whereabouts.sightings]
    lines += [f"named in: {_seen(seen)}, id {seen.id or 'unreadable'}" for seen in whereabouts.named_by]
    for arrival in whereabouts.arrivals:
        moment = datetime.fromtimestamp(arrival.run_at_s, UTC).isoformat(timespec="seconds")
        lines.append(f"ledger of {arrival.where}: this copy of {arrival.address} arrived, in the run begun at {moment}")
    lines += [f"book, run {entry.run}: {entry.fate} {entry.detail}" for entry in whereabouts.entries]
    lines += [f"snapshot of {seen.created_at}: was in {seen.address} ({seen.file})" for seen in whereabouts.recorded]
    code = ExitCode.CLEAN if lines else ExitCode.DIFFERENCES
    if not whereabouts.sightings:
        lines.append(f"{whereabouts.id}: in no queue now; {_unseen(whereabouts)}")
    return Answer(exit_code=code, lines=lines, data=dataclasses.asdict(whereabouts))


def _seen(seen: Sighting) -> str:
    orphaned = "; no list and no worker names it, so nobody will run it (TRANSFER-ORPHANS)" if seen.orphaned else ""
    return (
        f"{seen.side.value} {seen.system.value} queue {seen.queue}: {seen.state.value}, {seen.task or 'unreadable'}, "
        f"{seen.attempts} retries, copy {seen.copy_id or 'without id'}{orphaned}"
    )


def _unseen(whereabouts: Whereabouts) -> str:
    """Return what it means that an id is in no queue."""
    if whereabouts.entries and whereabouts.entries[-1].fate == "without-body":
        return "there was nothing to carry"
    if whereabouts.named_by:
        return "it waits inside of the message above (a step or callback), or that is a child of it and it has run"
    if whereabouts.arrivals or whereabouts.entries or whereabouts.recorded:
        return "so a worker has finished it"
    return "so a worker has finished it, or it was never here: no ledger, book or recent snapshot knows the id"
