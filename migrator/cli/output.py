"""Shared by all commands: the plan option, the output format, errors and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from migrator.errors import ExitCode, MigratorError, RefusedError, UsageError

if TYPE_CHECKING:
    from migrator.plan.model import Plan

F = TypeVar("F", bound=Callable[..., Any])

#: Version of every JSON document that a command prints.
SCHEMA = "migrator/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The output of a command: lines for ``text``, data for ``json``, the next commands for both."""

    exit_code: ExitCode
    lines: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    next_steps: Sequence[str] = ()


def short_path(file: Path) -> Path:
    """Return a path as a person in the current folder would write it."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def plan_option(function: F) -> F:
    """Add ``--plan``; the command receives the loaded plan."""

    def load(ctx: click.Context, param: click.Parameter, value: Path | None) -> Plan:
        from migrator.plan.loader import load_plan

        return load_plan(value or find_plan(Path.cwd()))

    return click.option(
        "--plan",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=load,
        metavar="FILE",
        help="The plan. Default: migration.toml in the current folder or the nearest parent folder.",
    )(function)


def find_plan(folder: Path) -> Path:
    """Return the nearest ``migration.toml`` in ``folder`` or its parents, or the path expected in ``folder``."""
    for candidate in (folder, *folder.parents):
        if (candidate / "migration.toml").is_file():
            return candidate / "migration.toml"
    return folder / "migration.toml"


def format_option(function: F, choices: Sequence[str] = ("text", "json")) -> F:
    """Add ``--format``."""
    return click.option(
        "--format", "output_format", type=click.Choice(choices), default="text", help="Output format of the result."
    )(function)


def yes_option(function: F) -> F:
    """Add ``--yes``."""
    return click.option("--yes", is_flag=True, help="Don't ask for confirmation. Required without a terminal.")(
        function
    )


def renamed_option(old: str, new: str) -> Callable[[F], F]:
    """Add a hidden flag of an earlier version, which is refused with its new name."""

    def refuse(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            raise click.UsageError(f"{old} is called {new} in this version", ctx)

    return click.option(old, is_flag=True, hidden=True, expose_value=False, callback=refuse)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation on a terminal; without one, ``--yes`` is required.

    Raises:
        RefusedError: The answer was no, or there is no terminal.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError("confirmation", "there is no terminal to ask on", remedy="add --yes")
    if not click.confirm(question, err=True):
        raise RefusedError("confirmation", "not confirmed", remedy="nothing was changed")


def finish(answer: Answer, output_format: str) -> NoReturn:
    """Print an answer on stdout and exit with its code."""
    if output_format == "json":
        echo_json({"exit_code": int(answer.exit_code), **answer.data, "next_steps": list(answer.next_steps)})
    else:
        for line in answer.lines:
            click.echo(line)
        if answer.next_steps:
            click.echo("\nnext: " + answer.next_steps[0])
            for step in answer.next_steps[1:]:
                click.echo("      " + step)
    raise SystemExit(int(answer.exit_code))


def echo_json(data: Mapping[str, Any]) -> None:
    """Print one JSON document with its schema version first."""
    import orjson

    document = {"schema": SCHEMA, **data}
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())


def run(command: click.Command) -> int:
    """Run a command line and return the exit code."""
    json_wanted = any(
        word == "--format=json" or (word == "json" and before == "--format")
        for before, word in zip(["", *sys.argv], sys.argv, strict=False)
    )
    try:
        command.main(standalone_mode=False)
        return int(ExitCode.CLEAN)
    except SystemExit as error:
        return int(error.code or 0) if not isinstance(error.code, str) else int(ExitCode.USAGE)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _failed(
            "interrupted", "nothing is lost; run the same command again to resume", ExitCode.INTERRUPTED, json_wanted
        )
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except MigratorError as error:
        return _failed(str(error), "", error.exit_code, json_wanted)
    except PermissionError as error:
        where = error.filename or "the system"
        hint = "run the same command again as the user that owns it"
        return _failed(f"{where}: no permission ({error.strerror})", hint, ExitCode.REFUSED, json_wanted)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.INTERRUPTED)


def _failed(message: str, hint: str, code: ExitCode, json_wanted: bool) -> int:
    if json_wanted:
        echo_json({"exit_code": int(code), "error": message, "next_steps": [hint] if hint else []})
    else:
        click.secho("error: ", fg="red", bold=True, err=True, nl=False)
        click.echo(message + (f"; {hint}" if hint else ""), err=True)
    return int(code)


def existing_plan_folder(plan: Plan) -> Path:
    """Return the plan's source root; raise a UsageError if there is no such folder."""
    if not plan.source_root.is_dir():
        raise UsageError(str(plan.file), "project.root is not a folder", found=str(plan.source_root))
    return plan.source_root
