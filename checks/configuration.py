"""Settings of the parity check beyond the plan: ``parity.toml`` next to the plan, data only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from migrator.errors import PlanError, UsageError
from migrator.plan.interpreter import ProjectPython
from migrator.plan.model import Plan
from migrator.plan.placeholders import filled, leading_to
from migrator.plan.toml_table import Problems, TomlTable
from migrator.wire.broker_url import read_broker_url

FILE_NAME = "parity.toml"
DEFAULT_CASE_TIMEOUT_S = 20.0


class RuleKind(StrEnum):
    """How values at a path are compared, where plain equality is not wanted."""

    UNORDERED = "unordered"
    TOLERANCE = "tolerance"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One path that is not compared by plain equality."""

    #: Path pattern, ``*`` for anything within.
    path: str
    kind: RuleKind
    #: Largest difference of two numbers, for TOLERANCE.
    tolerance: float
    reason: str
    #: Patterns of the cases for which it holds.
    cases: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How control and candidate processes are run."""

    #: The folder of ``parity.toml``, to which its paths are relative.
    folder: Path
    cases: Path
    waivers: Path
    case_timeout_s: float
    #: Environment of each process beside the plan's broker variables; ``{redis}``, ``{scratch}`` and ``{http}`` are
    #: filled in.
    environment: Mapping[str, str]
    #: Variables of the bare environment in which the modules are imported once; empty to skip that.
    bare_environment: Mapping[str, str]
    #: Argument list of the fixture server; ``{python}``, ``{port_file}`` and ``{folder}`` are filled in. Empty if none.
    upstream: tuple[str, ...]
    rules: tuple[Rule, ...]


def load_configuration(plan: Plan, *, file: Path | None = None) -> Configuration:
    """Read ``parity.toml``; without one, cases are expected in ``parity/cases`` next to the plan.

    Raises:
        UsageError: A named file is missing, or it can't be read.
        PlanError: It has problems; all of them are listed.
    """
    source = file or plan.folder / FILE_NAME
    document: dict[str, Any] = {}
    if source.is_file():
        try:
            document = tomllib.loads(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(str(source), "it can't be read", found=str(error), remedy="correct the file") from error
    elif file is not None:
        raise UsageError(str(file), "there is no such file", remedy="leave it out, or correct the path")
    problems = Problems()
    configuration = _configuration(TomlTable(document, "", problems), source.resolve().parent, plan)
    if problems.sentences:
        raise PlanError(str(source), tuple(problems.sentences))
    return configuration


def case_paths(plan: Plan, configuration: Configuration) -> tuple[Path, ...]:
    """Return the files and folders that say what is compared and what is waived."""
    lock = configuration.waivers.with_suffix(".lock.json")
    return configuration.cases, configuration.waivers, lock, plan.folder / FILE_NAME


def broker_environment(plan: Plan, server: str) -> dict[str, str]:
    """Return the variables of the plan's broker URLs, set so that they name a scratch server; database numbers stay.

    Args:
        plan: The plan.
        server: URL of the scratch server, without a database.
    """
    values: dict[str, str] = {}
    for endpoint in (*plan.legacy, plan.unified):
        database = read_broker_url(filled(endpoint.url, {}), endpoint.system).database
        # What is written literally is no variable; the agent connects the project's brokers as well.
        values |= leading_to(endpoint.url, {}, f"{server}/{database}") or {}
    return values


def fixture_command(configuration: Configuration, python: ProjectPython, *, port_file: Path) -> list[str]:
    """Return the argument list that starts the fixture server."""
    placeholders = {"{port_file}": str(port_file), "{folder}": str(configuration.folder)}
    command: list[str] = []
    for part in configuration.upstream:
        if part == "{python}":
            command += python.command
            continue
        for name, value in placeholders.items():
            part = part.replace(name, value)  # noqa: PLW2901 - each placeholder in turn
        command.append(part)
    return command


def _configuration(top: TomlTable, folder: Path, plan: Plan) -> Configuration:
    configuration = Configuration(
        folder=folder,
        cases=folder / top.text("cases", default="parity/cases"),
        waivers=folder / top.text("waivers", default="waivers.toml"),
        case_timeout_s=top.number("case_timeout_s", DEFAULT_CASE_TIMEOUT_S) or DEFAULT_CASE_TIMEOUT_S,
        environment={name: str(value) for name, value in top.mapping("environment").items()},
        bare_environment={name: str(value) for name, value in top.mapping("bare_environment").items()},
        upstream=top.texts("fixture_server", default=()),
        rules=tuple(_rule(child) for child in top.tables("rule")),
    )
    top.close()
    return configuration


def _rule(table: TomlTable) -> Rule:
    rule = Rule(
        path=table.text("path"),
        kind=table.choice("kind", RuleKind),
        tolerance=table.number("tolerance", None) or 0.0,
        reason=table.text("reason"),
        cases=table.texts("cases", default=("*",)),
    )
    if rule.kind is RuleKind.TOLERANCE and not rule.tolerance:
        table.problem("tolerance", "is missing", "a tolerance rule needs the largest difference that is accepted")
    table.close()
    return rule
