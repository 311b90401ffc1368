"""What a transfer would do: every message is read and translated, and none is taken."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from migrator.plan.model import Plan
from migrator.transfer.connections import Connections
from migrator.transfer.options import MOST_RECORDS, QuarantineRecord, Tally, TransferOptions, TransferReport
from migrator.transfer.report import build_report, note
from migrator.transfer.scope import goes_on_with, staying_task
from migrator.transfer.selection import emptied_side, is_selected, selection
from migrator.translation.result import Translated, Translation, Translator
from migrator.wire.message import Message, Side, State, System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

_EXAMPLE_CHARACTERS = 2000
#: Waiting messages, and those that a run in progress or an interrupted run has claimed.
_MOVABLE = (State.READY, State.DELAYED, State.PARKED, State.MOVING)


def preview(
    connections: Connections, options: TransferOptions, translations: Mapping[tuple[Side, System], Translator]
) -> TransferReport:
    """Return the report of a run that would begin now; claims of workers count if these are said to have stopped."""
    started_at = time.monotonic()
    tally, examples = Tally(), dict[str, str]()
    side = emptied_side(options.direction)
    selects = selection(connections.plan, options)
    movable = (*_MOVABLE, State.CLAIMED) if options.consumers_stopped else _MOVABLE
    beyond_ms = connections.now_ms() + connections.longest_eta_s * 1000
    park_ms = connections.park_after_ms if side is Side.LEGACY else None
    for (broker_side, system), broker in connections.brokers.items():
        for message in broker.scan() if broker_side is side else ():
            address = _address(side, message)
            if message.state not in movable or not is_selected(options, address):
                continue
            copy_id = message.copy_id if system is System.DRAMATIQ else ""
            translation = translations[side, system](address, copy_id, message.raw)
            tally.seen += 1
            if staying_task(translation) or not selects(translation):
                _leave(tally, connections.plan, message, translation)
            elif isinstance(translation, Translated):
                tally.moved += 1
                tally.by_task[translation.source_task] = tally.by_task.get(translation.source_task, 0) + 1
                where = f"{address} {message.state.value}"
                tally.by_queue[where] = tally.by_queue.get(where, 0) + 1
                parked = park_ms is not None and translation.eta_ms is not None and translation.eta_ms > park_ms
                tally.parked += parked
                note(tally, translation, beyond_ms=math.inf if parked else beyond_ms)
            else:
                _quarantine(tally, address, message, translation)
                example = message.raw[:_EXAMPLE_CHARACTERS].decode(errors="backslashreplace")
                examples.setdefault(translation.reason.value, example)
    return replace(build_report(connections, options, tally, started_at), examples=examples)


def _leave(tally: Tally, plan: Plan, message: Message, translation: Translation) -> None:
    tally.filtered_out += 1
    tally.stays.update(staying_task(translation))
    if staying_task(translation):
        tally.goes_on.update(goes_on_with(plan, message.system, message.raw))


def _quarantine(tally: Tally, address: QueueAddress, message: Message, quarantined: Quarantined) -> None:
    reason = quarantined.reason.value
    tally.quarantined += 1
    tally.beyond_visibility += quarantined.reason is QuarantineReason.DUE_LATE
    tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
    if len(tally.quarantined_messages) < MOST_RECORDS:
        tally.quarantined_messages.append(
            QuarantineRecord(
                id=quarantined.id or message.id,
                copy_id=message.copy_id,
                task=quarantined.task,
                queue=address.wire_queue,
                system=address.system,
                reason=reason,
                detail=quarantined.detail,
            )
        )


def _address(side: Side, message: Message) -> QueueAddress:
    delayed = message.system is System.DRAMATIQ and (message.state is State.DELAYED or _in_delay_queue(message))
    return QueueAddress(side, message.system, message.queue, delayed)


def _in_delay_queue(message: Message) -> bool:
    return f'"queue_name":"{message.queue}.DQ"'.encode() in message.raw
