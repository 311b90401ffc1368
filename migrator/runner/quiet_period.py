"""From when on a migration may be completed, and what that time is made of.

As long as something of before the cutover waits, runs or is retried (:mod:`migrator.runner.carried`), a rollback is
worth having. Where the legacy aliases are on, they must also have caught nothing for a while: who sent under a legacy
name yesterday may do so today. Legacy messages that a sweep found after the cutover are the same evidence without
legacy aliases: of a second scheduler, or of a producer that nobody redeployed. On RabbitMQ nobody sees what workers
hold until its ETA, so there the last ETA of the cutover counts.

A clock that was set in between does not shorten that: what has passed since the cutover is asked from the clock since
boot, as long as the machine has not been rebooted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from migrator.brokers.connect import is_on_rabbitmq
from migrator.plan.model import Plan
from migrator.state.journal import EntryKind, JournalEntry
from migrator.steps.actions.downtime import between, moment
from migrator.workers import legacy_aliases
from migrator.workers.legacy_aliases import AliasHit

#: The journal's line about the legacy aliases.
ALIASES_ENABLED = ("legacy_aliases", "enable", EntryKind.DONE)
#: What a time server corrects now and then is no jump.
SET_MENTIONED_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietPeriod:
    """From when on the last run may be closed, and why not sooner; moments in seconds since the epoch."""

    #: When the cutover had ended.
    done_at: float
    #: When the last delayed message is due; 0 if there is none.
    eta_at: float
    #: What workers hold can't be seen, so that the last ETA has to pass.
    held_unseen: bool
    #: When legacy aliases were enabled; 0 if they are off.
    aliases_enabled_at: float
    legacy_aliases_quiet_s: float
    #: What the legacy aliases have caught, the latest first.
    hits: tuple[AliasHit, ...]
    #: What came into the legacy queues after their messages had moved, by legacy task.
    late: Mapping[str, int] = field(default_factory=dict)
    #: When a sweep last found some after the cutover had ended; 0 if none did.
    late_at: float = 0.0
    #: By how much our clock was set forward since the cutover, negative for back; contained in the moments above.
    set_s: float = 0.0

    @property
    def messages_at(self) -> float:
        """When nothing that was transferred can still be held until its ETA without being seen."""
        return max(self.done_at, self.eta_at) if self.held_unseen else self.done_at

    @property
    def names_at(self) -> float:
        """When nobody is expected to send a legacy name any more; 0 without legacy aliases and late messages."""
        last = max((self.aliases_enabled_at, self.late_at, *(hit.last_at for hit in self.hits)))
        return last + self.legacy_aliases_quiet_s if self.aliases_enabled_at or self.late_at else 0.0

    @property
    def until(self) -> float:
        """When all of it is over."""
        return max(self.messages_at, self.names_at)


def quiet_period(plan: Plan, environ: Mapping[str, str], entries: tuple[JournalEntry, ...]) -> QuietPeriod:
    """Compute the quiet period from the journal and from what the legacy aliases have counted."""
    due = [line.data.get("longest_eta_at") for line in entries if line.step == "verify" and line.mark is EntryKind.DONE]
    enabled = [line.at.timestamp() for line in entries if (line.step, line.action, line.mark) == ALIASES_ENABLED]
    ends = [line for line in entries if line.mark is EntryKind.RUN_DONE]
    set_s = _set_since(ends[-1]) if ends else 0.0
    late, late_at = _late(entries)
    eta_at = max((float(eta) for eta in due if eta), default=0.0)
    return QuietPeriod(
        done_at=ends[-1].at.timestamp() + set_s if ends else time.time(),
        # Whoever set the ETA had his own clock: the later of both.
        eta_at=eta_at + max(0.0, set_s) if eta_at else 0.0,
        held_unseen=is_on_rabbitmq(plan.unified, environ),
        aliases_enabled_at=max(enabled) + set_s if enabled else 0.0,
        late=late,
        late_at=late_at + set_s if late_at else 0.0,
        legacy_aliases_quiet_s=plan.cutover.legacy_aliases_quiet_s,
        hits=legacy_aliases.hits(plan, environ) if enabled else (),
        set_s=set_s,
    )


def _set_since(end: JournalEntry) -> float:
    """Return by how much the wall clock was set since a cutover ended; 0 if nobody knows, or not worth mentioning."""
    then, now = end.data.get("moment"), moment()
    if then is None or then["boot_id"] != now["boot_id"]:
        return 0.0
    set_s = float(now["wall_s"] - then["wall_s"]) - between(then, now)
    return set_s if abs(set_s) >= SET_MENTIONED_S else 0.0


def by_task(counts: Mapping[str, int]) -> str:
    """Return counts by task for a person, the largest first."""
    return ", ".join(f"{task} ({count})" for task, count in sorted(counts.items(), key=lambda item: -item[1]))


def _late(entries: tuple[JournalEntry, ...]) -> tuple[dict[str, int], float]:
    """Return what sweeps have found since the messages had moved, and when one last did after the cutover."""
    found: Counter[str] = Counter()
    ended, last = False, 0.0
    for line in entries:
        ended = ended or line.mark is EntryKind.RUN_DONE
        sweep = (line.step, line.action) == ("verify", "sweep") and line.mark is EntryKind.DONE
        if sweep or (line.step == "transfer" and line.mark is EntryKind.NOTE):
            found.update(line.data.get("by_task", {}))
            if ended and line.data.get("moved"):
                last = line.at.timestamp()
    return dict(found), last


def reasons(quiet: QuietPeriod) -> tuple[str, ...]:
    """Say what the quiet period is made of."""
    found = [f"the cutover ended {utc(quiet.done_at)}"]
    found.append(f"the last delayed message is due {utc(quiet.eta_at)}" if quiet.eta_at else "no message is delayed")
    if quiet.aliases_enabled_at:
        caught = "; ".join(f"{hit.name}: {hit.count}, last {utc(hit.last_at)}" for hit in quiet.hits)
        found.append(f"legacy names that came since {utc(quiet.aliases_enabled_at)}: {caught or 'none'}")
    if quiet.late:
        found.append(f"came into legacy queues after they had been moved: {by_task(quiet.late)}")
    if quiet.aliases_enabled_at or quiet.late_at:
        found.append(f"none may come for {quiet.legacy_aliases_quiet_s:g} s")
    if quiet.set_s:
        way = "forward" if quiet.set_s > 0 else "back"
        found.append(f"this machine's clock was set {way} by {abs(quiet.set_s):,.0f} s since; that time has not passed")
    return (*found, f"quiet until {utc(quiet.until)}")


def utc(moment: float) -> str:
    """Return a moment for a person."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def iso(moment: float) -> str:
    """Return a moment for a machine."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
