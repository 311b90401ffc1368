"""Create cases from messages that wait in the brokers, so that real arguments are compared. Only reads the brokers.

For each legacy task a few messages of different shape are selected; two calls whose arguments have the same names and
types have the same shape. A value that looks like a secret is replaced by one of the same length before it is written.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrator.agent.canonical import digest
from migrator.brokers.connect import connect
from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt
from migrator.plan.model import Plan
from migrator.report import Finding, Severity
from migrator.wire.message import Message

#: Cases created for one legacy task.
PER_TASK = 5
#: Names whose values are never written.
_SECRET_NAME = re.compile(
    r"pass(word|wd)?|secret|token|api_?key|authorization|cookie|session|credential|email|iban", re.I
)
#: Values that look like a secret, whatever their name: JSON web tokens, keys, addresses, URLs with a password.
_SECRET_VALUE = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}|\b[A-Fa-f0-9]{32,}\b|\b(?:sk|pk|ghp|xox[bp])[-_][\w-]{10,}|[\w.+-]+@[\w-]+\.\w+"
    r"|://[^/\s:@]+:[^/\s@]+@"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureReport:
    """What ``--capture`` has read and written."""

    #: Messages that were read.
    seen: int
    #: Names of the new cases.
    written: tuple[str, ...] = ()
    #: Messages by legacy task.
    by_task: Mapping[str, int] = field(default_factory=dict)
    #: Values that were replaced.
    masked: int = 0
    #: Messages that don't fit the plan: they could not be moved either.
    findings: tuple[Finding, ...] = ()


def capture(plan: Plan, *, environ: Mapping[str, str], folder: Path, per_task: int = PER_TASK) -> CaptureReport:
    """Write cases from the messages that wait in the legacy queues.

    Args:
        plan: Names brokers, queues and tasks.
        environ: Where broker URLs are filled in from.
        folder: The folder of cases; an existing case is not changed.
        per_task: Maximum number of cases for one legacy task.

    Raises:
        UnreachableError: A broker doesn't answer.
    """
    by_task: Counter[str] = Counter()
    findings: list[Finding] = []
    selected: dict[str, dict[str, Message]] = {}
    for message in _waiting(plan, environ):
        label = f"{message.system.value}:{message.task}"
        by_task[label] += 1
        finding = _unfitting(plan, message)
        if finding is not None:
            findings.append(finding)
        elif plan.mapping(message.system, message.task) is not None:
            shapes = selected.setdefault(label, {})
            if len(shapes) < per_task:
                shapes.setdefault(_shape(message), message)
    masked = _Masked()
    written = [
        name
        for shapes in selected.values()
        for message in shapes.values()
        for name in [_write(message, folder, masked)]
        if name
    ]
    return CaptureReport(
        seen=sum(by_task.values()),
        written=tuple(written),
        by_task=dict(sorted(by_task.items())),
        masked=masked.count,
        findings=tuple(findings[:100]),
    )


@dataclass(slots=True)
class _Masked:
    """Replace values that look like secrets, and count them."""

    count: int = 0

    def value(self, value: Any, name: str = "") -> Any:
        """Return ``value`` without secrets; ``name`` is its parameter or key."""
        if isinstance(value, Mapping):
            return {key: self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if not isinstance(value, str) or not value:
            return value
        if _SECRET_NAME.search(name) or _SECRET_VALUE.search(value):
            self.count += 1
            return "x" * len(value)
        return value


def _waiting(plan: Plan, environ: Mapping[str, str]) -> Iterable[Message]:
    for endpoint in plan.legacy:
        broker = connect(endpoint, environ)
        try:
            yield from broker.scan()
        finally:
            broker.close()


def _shape(message: Message) -> str:
    def shape(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: shape(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            # No item, one, or several: these are the shapes that matter to a loop.
            return [shape(item) for item in value[:2]]
        return type(value).__name__

    return digest([shape(list(message.args)), shape(dict(message.kwargs)), min(message.attempts, 5)])


def _write(message: Message, folder: Path, masked: _Masked) -> str:
    call = {
        "args": masked.value(list(message.args)),
        "kwargs": {name: masked.value(value, name) for name, value in message.kwargs.items()},
    }
    task = re.sub(r"[^A-Za-z0-9]+", "-", message.task.rpartition(".")[2])
    name = f"captured-{message.system.value}-{task}-{digest([call, message.attempts])[:8]}"
    target = folder / name
    if target.exists():
        return ""
    target.mkdir(parents=True)
    (target / "call.json").write_text(json.dumps(call, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        "# Captured from a waiting message. Add the rows and HTTP answers that this call needs.",
        f'title = "Captured from queue {json.dumps(message.queue)[1:-1]}"',
        'kind = "captured"',
        f"attempts = {message.attempts}",
        "",
        "[[call]]",
        f'system = "{message.system.value}"',
        f"task = {json.dumps(message.task)}",
        'arguments = "call.json"',
    ]
    (target / "case.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def _unfitting(plan: Plan, message: Message) -> Finding | None:
    """Return why a message of a mapped task can't be converted to the unified call, or None."""
    mapping = plan.mapping(message.system, message.task)
    if mapping is None:
        return None
    try:
        adapt(mapping, message.args, message.kwargs)
    except AdaptationError as error:
        return Finding(
            code="PARITY-MESSAGE-UNFIT",
            severity=Severity.WARNING,
            where=f"{message.system.value}:{message.task} {message.id}",
            what=error.what,
            found=error.found,
            remedy="correct the plan's parameters or arguments: this message could not be moved",
        )
    return None
