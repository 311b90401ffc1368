"""A message that stays on its own side, and why."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class QuarantineReason(StrEnum):
    """Why a message is quarantined. Documented in RUNBOOK.md."""

    #: The plan neither maps nor retires the task.
    UNKNOWN_TASK = "unknown-task"
    #: The plan retires the task.
    RETIRED_TASK = "retired-task"
    #: Older than its age limit, or past its expiry, or it would be before its ETA.
    EXPIRED = "expired"
    #: Its ETA is later than the visibility timeout, and no unified worker releases parked messages.
    DUE_LATE = "due-late"
    #: The arguments do not fit the parameters that the plan names.
    ARGUMENTS = "arguments"
    #: A pipeline whose next step takes a result and arguments of its own.
    PIPELINE = "pipeline"
    #: A group with callbacks: its counter is shared by messages that may already have run.
    GROUP = "group"
    #: An ``on_success``, ``on_failure`` or ``on_retry_exhausted`` callback; Celery's take other arguments.
    CALLBACK = "callback"
    #: A chain, chord or callback with a part that the plan can't rename.
    CANVAS = "canvas"
    #: The body does not declare itself as JSON; pickle is never loaded.
    CONTENT_TYPE = "content-type"
    #: The bytes can't be read as a message.
    UNREADABLE = "unreadable"
    #: Native to the unified side, and no legacy call is equivalent.
    NO_LEGACY_FORM = "no-legacy-form"
    #: Its task is outside of the plan's scope: nothing is wrong with it, and it is left in its queue.
    STAYS = "stays"


_AGAIN = "then `migrator transfer --retry-quarantined`"
#: What a person does about each.
ADVICE: Mapping[str, str] = {
    QuarantineReason.UNKNOWN_TASK: f"name it under [[task.replaces]] or [[retired]] in the plan, {_AGAIN}",
    QuarantineReason.RETIRED_TASK: "nothing: the plan says so; a rollback puts it back",
    QuarantineReason.EXPIRED: "nothing: the legacy worker would not have run it either",
    QuarantineReason.DUE_LATE: f"raise visibility_timeout above its delay, in the app and in the plan, {_AGAIN}",
    QuarantineReason.ARGUMENTS: f"correct `parameters` or `arguments` of the task in the plan, {_AGAIN}",
    QuarantineReason.PIPELINE: f"let the unified task take the result first, or write `result_last = true`, {_AGAIN}; "
    "or let the legacy workers run it before the cutover",
    QuarantineReason.GROUP: "let the legacy workers finish the group before the cutover; a rollback puts it back",
    QuarantineReason.CALLBACK: "let the legacy workers run it before the cutover, or send the call again by hand",
    QuarantineReason.CANVAS: f"put each task that it names into the plan, {_AGAIN}; or let the legacy workers run it "
    "before the cutover",
    QuarantineReason.CONTENT_TYPE: "let the legacy workers run it before the cutover, or send the call again as JSON",
    QuarantineReason.UNREADABLE: "see its bytes in the dry run; if a legacy worker runs such messages, let it do so "
    "before the cutover",
    QuarantineReason.NO_LEGACY_FORM: "let a unified worker run it before the rollback, or send the call again by hand",
    QuarantineReason.STAYS: "nothing: it is left in its queue",
}


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """A message that stays on its own side, with the reason."""

    reason: QuarantineReason
    #: One clause for a person.
    detail: str
    #: Name and id as far as they could be read.
    task: str = ""
    id: str = ""
