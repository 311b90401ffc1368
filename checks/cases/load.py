"""Parity cases: data only, one folder each, read and validated as a whole.

``<cases>/<name>/case.toml`` defines the legacy call and the initial state; the arguments of the unified task follow
from the plan. An initial state that several cases share is a *world*, ``<cases>/_worlds/<world>.toml``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from checks.cases.initial_state import (
    InitialState,
    initial_state_file,
    label,
    merge_initial_states,
    read_initial_state,
    read_table,
)
from migrator.errors import AdaptationError, MigratorError, UsageError, did_you_mean
from migrator.plan.arguments import adapt
from migrator.plan.model import Plan, TaskMapping
from migrator.plan.toml_table import Problems, TomlTable
from migrator.wire.message import System

CASE_FILE = "case.toml"
WORLDS = "_worlds"
DEFAULT_CLOCK = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class CaseKind(StrEnum):
    """What a case exercises; a mapped task should have each of these."""

    USUAL = "usual"
    EMPTY = "empty"
    PARTIAL = "partial"
    TOTAL = "total"
    MALFORMED = "malformed"
    BOUNDARY = "boundary"
    #: Captured from a message that waited in a broker.
    CAPTURED = "captured"


class Expected(StrEnum):
    """How a run must end, if the case defines it."""

    ANYTHING = "anything"
    VALUE = "value"
    EXCEPTION = "exception"
    RETRY = "retry"
    DEAD_LETTER = "dead-letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One legacy call and the unified call that the plan converts it to."""

    mapping: TaskMapping
    #: Import path of the unified task.
    unified_path: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    unified_args: tuple[Any, ...]
    unified_kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: the same call to each system."""

    name: str
    title: str
    kind: CaseKind
    #: Unified task name.
    task: str
    clock_at: datetime
    seed: int
    #: Retries of the message so far.
    attempts: int
    calls: tuple[Call, ...]
    initial_state: InitialState
    #: How the unified run must end.
    unified_ends: Expected = Expected.ANYTHING
    #: How the legacy runs must end; with ``exception``, an exception is the behaviour to compare, not a broken task.
    legacy_ends: Expected = Expected.ANYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSet:
    """Every case of a folder, in name order."""

    folder: Path
    cases: tuple[Case, ...]
    #: Comparisons that the set makes: one per case and legacy call.
    comparisons: int = field(default=0)


class CaseError(UsageError):
    """Cases have problems; every one is listed."""

    def __init__(self, where: str, problems: tuple[str, ...]) -> None:
        super().__init__(where, f"{len(problems)} problem(s) in the cases", remedy="correct them and run again")
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([MigratorError.__str__(self), *(f"  {problem}" for problem in self.problems)])


def load_cases(folder: Path, plan: Plan) -> CaseSet:
    """Read every case of ``folder``.

    Raises:
        CaseError: Something is wrong; all of it is listed, key path first.
        UsageError: There is no such folder.
    """
    if not folder.is_dir():
        remedy = "write some there, take them from waiting messages with --capture, or name a folder with --cases"
        raise UsageError(str(folder), "there is no such folder of cases", remedy=remedy)
    problems = Problems()
    initial_states = {
        file.stem: initial_state_file(file, problems) for file in sorted((folder / WORLDS).glob("*.toml"))
    }
    cases = [
        case
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(("_", "."))
        for case in [_case(child, plan, initial_states, problems)]
        if case is not None
    ]
    if problems.sentences:
        raise CaseError(str(folder), tuple(problems.sentences))
    return CaseSet(
        folder=folder.resolve(),
        cases=tuple(cases),
        comparisons=sum(len(case.calls) for case in cases),
    )


def _case(folder: Path, plan: Plan, initial_states: Mapping[str, InitialState], problems: Problems) -> Case | None:
    before = len(problems.sentences)
    table = TomlTable(read_table(folder / CASE_FILE, problems), label(folder / CASE_FILE), problems)
    if not table.data:
        return None
    calls = [call for child in table.tables("call") for call in [_call(child, folder, plan)] if call is not None]
    unified = sorted({call.mapping.unified for call in calls})
    if not calls and len(problems.sentences) == before:
        table.problem("call", "is missing", "a case needs at least one legacy call")
    if len(unified) > 1:
        table.problem("call", "all calls of a case belong to one unified task", f"found {', '.join(unified)}")
    initial_state = merge_initial_states(
        [_named_initial_state(table, name, initial_states) for name in table.texts("worlds", default=())]
    )
    case = Case(
        name=folder.name,
        title=table.text("title"),
        kind=table.choice("kind", CaseKind),
        task=unified[0] if unified else "",
        clock_at=_clock(table),
        seed=table.integer("seed", default=1) or 0,
        attempts=table.integer("attempts", default=0) or 0,
        calls=tuple(calls),
        initial_state=merge_initial_states([initial_state, read_initial_state(table, folder, problems)]),
        unified_ends=table.choice("unified_ends", Expected, default=Expected.ANYTHING),
        legacy_ends=table.choice("legacy_ends", Expected, default=Expected.ANYTHING),
    )
    table.close()
    return case if len(problems.sentences) == before else None


def _named_initial_state(table: TomlTable, name: str, initial_states: Mapping[str, InitialState]) -> InitialState:
    if name in initial_states:
        return initial_states[name]
    known = ", ".join(initial_states) or "none"
    table.problem("worlds", f"{name!r} is not a file in {WORLDS}", f"known: {known}")
    return InitialState()


def _clock(table: TomlTable) -> datetime:
    value = table.take("clock", DEFAULT_CLOCK)
    if not isinstance(value, datetime) or value.tzinfo is None:
        table.problem(
            "clock", "needs a date and time with a time zone, such as 2026-03-02T12:00:00Z", f"found {value!r}"
        )
        return DEFAULT_CLOCK
    return value.astimezone(UTC)


def _call(table: TomlTable, folder: Path, plan: Plan) -> Call | None:
    system, name = table.choice("system", System), table.text("task")
    args, kwargs = _arguments(table, folder)
    # A schedule entry may call the unified task with other arguments than the plan's adapter would give.
    own = table.table("unified") if "unified" in table.data else None
    table.close()
    mapping = plan.mapping(system, name)
    if mapping is None:
        table.problem("task", f"{name!r} is not a mapped {system.value} task", _nearest(plan, system, name))
        return None
    if own is None:
        try:
            unified = adapt(mapping, args, kwargs)
        except AdaptationError as error:
            table.problem("", f"{error.what}", error.found)
            return None
    else:
        unified = tuple(own.take("args", [])), dict(own.mapping("kwargs"))
        own.text("reason")
        own.close()
    task = plan.task(mapping.unified)
    return Call(
        mapping=mapping,
        unified_path=task.path if task else "",
        args=tuple(args),
        kwargs=kwargs,
        unified_args=unified[0],
        unified_kwargs=unified[1],
    )


def _arguments(table: TomlTable, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments written in the call, or those of a file where TOML has no value for them (null)."""
    args, kwargs = table.take("args", []), dict(table.mapping("kwargs"))
    name = table.text("arguments", default="")
    if name:
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            args, kwargs = document["args"], dict(document["kwargs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            table.problem("arguments", f"{name!r} needs a JSON object with args and kwargs", f"{error!r}")
    if not isinstance(args, list):
        table.problem("args", "needs a list", f"found {args!r}")
        args = []
    return args, kwargs


def _nearest(plan: Plan, system: System, name: str) -> str:
    if plan.retirement(system, name) is not None:
        return "the plan retires it; there is nothing to compare it with"
    known = [mapping.name for mapping in plan.mappings() if mapping.system is system]
    return did_you_mean(name, known)
