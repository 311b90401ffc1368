"""``migrator transfer``: move messages outside a cutover, bridge late producers, find a message by id."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, confirm, finish, format_option, plan_option, renamed_option, yes_option
from migrator.cli.questions import warn_of_volatile_servers

if TYPE_CHECKING:
    from migrator.plan.model import Plan
    from migrator.state.snapshot_file import SnapshotFacts
    from migrator.transfer.locate import Sighting, Whereabouts
    from migrator.transfer.options import ShouldStop, TransferOptions, TransferReport


_SHOWN_PER_REASON, _EXAMPLE_CHARACTERS = 3, 300


@click.command("transfer")
@click.option("--back", is_flag=True, help="Move messages from the unified queues to the legacy ones.")
@click.option("--dry-run", is_flag=True, help="Read and translate every message without moving any.")
@click.option("--follow", is_flag=True, help="Keep moving new messages until Ctrl-C, as a bridge for late producers.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="Only this task, by its legacy or unified name. Can be given more than once.",
)
@click.option(
    "--queue", "queues", multiple=True, metavar="NAME", help="Only this source queue. Can be given more than once."
)
@click.option("--rate", type=click.FloatRange(min=0.1), help="Maximum number of messages per second.")
@click.option(
    "--retry-quarantined",
    is_flag=True,
    help="First return quarantined messages to their queues, to translate them again.",
)
@click.option(
    "--take-claimed",
    is_flag=True,
    help="Also move messages claimed by workers that have stopped. Refused while a worker is alive.",
)
@click.option(
    "--accept-forgotten",
    is_flag=True,
    help="A server has forgotten messages, and none is missing. Continue with what it holds.",
)
@click.option("--no-snapshot", is_flag=True, help="Don't write a snapshot to .migrator/snapshots first.")
@click.option("--find", metavar="ID", default="", help="Only show where the message or copy with this id is.")
@renamed_option("--retry-kept", "--retry-quarantined")
@plan_option
@yes_option
@format_option
def command(plan: Plan, yes: bool, output_format: str, find: str, **chosen: object) -> None:
    """Move waiting messages without the other steps of a cutover.

    Moves legacy messages to the unified queues, or back with --back. Messages that can't be translated are quarantined
    with a reason. A snapshot that `migrator restore` can read is written first. Messages claimed by running workers are
    not touched. If the command is interrupted, no message is lost or duplicated; run it again to finish.

    Example: migrator transfer --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.state.progress import recorded_progress
    from migrator.transfer.selection import emptied_side
    from migrator.transfer.transfer import transfer
    from migrator.transfer.worker_check import refuse_living_workers

    if find:
        from migrator.transfer.locate import locate

        finish(_location(locate(plan, environ=os.environ, identity=find)), output_format)
    options = _options(plan, chosen)
    _refuse_outside(plan, options, output_format)
    snapshot = None
    if not options.dry_run:
        refuse_elsewhere(plan, os.environ)
        warn_of_volatile_servers(plan)
        confirm(f"Move the waiting messages of {plan.name} {options.direction.value}?", yes=yes)
        if options.consumers_stopped:
            refuse_living_workers(plan, environ=os.environ, side=emptied_side(options.direction))
        snapshot = None if chosen["no_snapshot"] else _snapshot(plan, options)
    with (
        _until_interrupted() as should_stop,
        shown_progress() as shown,
        recorded_progress(plan, f"messages {options.direction.value}", shown) as listener,
    ):
        report = transfer(plan, environ=os.environ, options=options, listener=listener, should_stop=should_stop)
    answer = _answer(report, chosen, interrupted=should_stop() and not options.follow)
    finish(answer if snapshot is None else _with_snapshot(answer, snapshot), output_format)


def _refuse_outside(plan: Plan, options: TransferOptions, output_format: str) -> None:
    """Refuse to move the plan's queues while its servers hold messages elsewhere, unless single ones are asked for."""
    from migrator.brokers.outside import outside_places, place_findings
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines
    from migrator.report import Severity
    from migrator.transfer.options import Direction

    if options.direction is Direction.BACK or options.queues:
        return
    unified = {mapping.unified for mapping in plan.mappings() if {mapping.name, mapping.unified} & options.tasks}
    places = outside_places(plan, os.environ, only=frozenset(unified))
    findings = list(place_findings(plan, places))
    if any(finding.severity is Severity.ERROR for finding in findings):
        lines, data = finding_lines(findings), {"findings": [dataclasses.asdict(finding) for finding in findings]}
        steps = [f"edit {plan.file}"]
        finish(Answer(exit_code=ExitCode.REFUSED, lines=lines, data=data, next_steps=steps), output_format)


def _with_snapshot(answer: Answer, snapshot: SnapshotFacts) -> Answer:
    line = f"snapshot of {snapshot.messages:,} messages before the transfer: {snapshot.file}"
    return dataclasses.replace(
        answer, lines=[*answer.lines, line], data={**answer.data, "snapshot": str(snapshot.file)}
    )


def _options(plan: Plan, chosen: Mapping[str, object]) -> TransferOptions:
    from migrator.transfer.options import Direction, TransferOptions
    from migrator.workers.probe import releases_parked

    direction = Direction.BACK if chosen["back"] else Direction.FORWARD
    return TransferOptions(
        direction=direction,
        park=direction is Direction.FORWARD and releases_parked(plan, environ=os.environ),
        dry_run=bool(chosen["dry_run"]),
        follow=bool(chosen["follow"]),
        tasks=frozenset(chosen["tasks"]),  # type: ignore[call-overload]  # click gives a tuple of texts
        queues=frozenset(chosen["queues"]),  # type: ignore[call-overload]
        max_rate=chosen["rate"],  # type: ignore[arg-type]
        retry_quarantined=bool(chosen["retry_quarantined"]),
        accept_forgotten=bool(chosen["accept_forgotten"]),
        consumers_stopped=bool(chosen["take_claimed"]),
    )


def _snapshot(plan: Plan, options: TransferOptions) -> SnapshotFacts | None:
    from migrator.snapshots.before_transfer import write_before_transfer

    return write_before_transfer(plan, environ=os.environ, accept_forgotten=options.accept_forgotten)


@contextmanager
def _until_interrupted() -> Iterator[ShouldStop]:
    """Yield a function that returns True after the first Ctrl-C or SIGTERM; a second Ctrl-C interrupts as usual."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answer(report: TransferReport, chosen: Mapping[str, object], *, interrupted: bool) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines

    lines = [_headline(report), *_lines("from", report.by_queue), *_lines("tasks", report.by_task)]
    lines += _lines("left in their queues, for tasks that stay", report.stays)
    lines += _quarantined_lines(report)
    if not report.dry_run:
        lines += _lines("left in their queues", report.left)
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
    rest = f", {report.filtered_out:,} filtered out" if report.filtered_out else ""
    if report.dry_run:
        return (
            f"{report.direction.value}, dry run, no message was moved: "
            f"{report.moved:,} would be moved, {report.quarantined:,} quarantined{rest}"
        )
    extra = "".join(
        f", {number:,} {text}"
        for number, text in (
            (report.already_there, "had already arrived"),
            (report.without_body, "ids without a message body"),
            (report.restored, "quarantined ones returned to their queues"),
            (report.released, "parked ones released"),
            (report.parked, "of them parked until they are due"),
        )
        if number
    )
    return (
        f"{report.direction.value}: moved {report.moved:,}, quarantined {report.quarantined:,}{extra}{rest}; "
        f"balance {report.balance}, {report.elapsed_s:.1f} s"
    )


def _lines(title: str, counts: Mapping[str, int]) -> list[str]:
    return [title, *(f"  {name}: {number:,}" for name, number in counts.items())] if counts else []


def _quarantined_lines(report: TransferReport) -> list[str]:
    """Return for each reason the number of messages, details of the first ones, and the bytes of one."""
    from migrator.wire.quarantined import ADVICE

    lines: list[str] = []
    for reason, number in report.reasons.items():
        lines.append(f"quarantined, {reason}: {number:,}")
        records = [record for record in report.quarantined_messages if record.reason == reason]
        for record in records[:_SHOWN_PER_REASON]:
            name = record.task or "unreadable"
            place = f"  {record.system.value}:{record.queue}"
            lines.append(f"{place} {record.id or record.copy_id} {name}: {record.detail}")
        if number > _SHOWN_PER_REASON:
            lines.append(f"  and {number - min(len(records), _SHOWN_PER_REASON):,} more")
        lines.append(f"  what to do: {ADVICE[reason]}")
        if example := report.examples.get(reason):
            lines.append(f"  bytes of the first one: {example[:_EXAMPLE_CHARACTERS]}")
    if report.quarantined and not report.dry_run:
        lines.append("  (they stay unchanged on their server; --back returns them)")
    return lines


def _command(chosen: Mapping[str, object]) -> str:
    """Return the command line of this transfer, without ``--dry-run``."""
    words = ["migrator", "transfer"]
    for name in ("back", "follow", "retry_quarantined", "take_claimed", "no_snapshot"):
        words += [f"--{name.replace('_', '-')}"] if chosen[name] else []
    for name, flag in (("tasks", "--task"), ("queues", "--queue")):
        for value in chosen[name]:  # type: ignore[attr-defined]  # click gives a tuple of texts
            words += [flag, value]
    words += ["--rate", f"{chosen['rate']:g}"] if chosen["rate"] else []
    return shlex.join(words)


def _location(whereabouts: Whereabouts) -> Answer:
    from datetime import UTC, datetime

    from migrator.errors import ExitCode

    lines = [_sighting(seen) for seen in whereabouts.sightings]
    lines += [f"part of: {_sighting(seen)}, id {seen.id or 'unreadable'}" for seen in whereabouts.named_by]
    for arrival in whereabouts.arrivals:
        moment = datetime.fromtimestamp(arrival.run_at_s, UTC).isoformat(timespec="seconds")
        lines.append(f"ledger of {arrival.where}: this copy of {arrival.address} arrived in the run of {moment}")
    lines += [f"local ledger, run {entry.run}: {entry.fate} {entry.detail}" for entry in whereabouts.entries]
    lines += [f"snapshot of {seen.created_at}: in {seen.address} ({seen.file})" for seen in whereabouts.recorded]
    code = ExitCode.CLEAN if lines else ExitCode.DIFFERENCES
    if not whereabouts.sightings:
        lines.append(f"{whereabouts.id}: not in a queue; {_not_found_reason(whereabouts)}")
    return Answer(exit_code=code, lines=lines, data=dataclasses.asdict(whereabouts))


def _sighting(seen: Sighting) -> str:
    orphaned = (
        "; it is in no list and claimed by no worker, so it will not be run (TRANSFER-ORPHANS)" if seen.orphaned else ""
    )
    return (
        f"{seen.side.value} {seen.system.value} queue {seen.queue}: {seen.state.value}, {seen.task or 'unreadable'}, "
        f"{seen.attempts} retries, copy {seen.copy_id or 'without id'}{orphaned}"
    )


def _not_found_reason(whereabouts: Whereabouts) -> str:
    """Return why an id is in no queue."""
    if whereabouts.entries and whereabouts.entries[-1].fate == "without-body":
        return "it had no message body to move"
    if whereabouts.named_by:
        return "it is a step or callback inside the message above, or the parent of that message and has run"
    if whereabouts.arrivals or whereabouts.entries or whereabouts.recorded:
        return "what became of it is unknown: a worker may have run it; look for its result, or in the workers' logs"
    return "unknown: no ledger or recent snapshot has the id"
