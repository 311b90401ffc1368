"""Shared by all commands: the plan option, the output format, errors and exit codes."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from migrator.errors import ExitCode, MigratorError, RefusedError, UsageError, sentence
from migrator.plain_text import Verbatim, json_document, one_line
from migrator.redaction import redact

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


def plan_option(function: F, *, runs_project: bool = False) -> F:
    """Add ``--plan``; the command receives the loaded plan.

    Args:
        function: The command.
        runs_project: It runs code of the project, so its packages must not be called like those of the tool.
    """

    def load(ctx: click.Context, param: click.Parameter, value: Path | None) -> Plan:
        from migrator.plan.loader import load_plan
        from migrator.project.shared_environment import refuse_namesakes

        plan = load_plan(value or find_plan(Path.cwd()))
        if runs_project:
            refuse_namesakes(plan, os.environ)
        return plan

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


def takeover_option(function: F) -> F:
    """Add ``--takeover``."""
    return click.option(
        "--takeover",
        is_flag=True,
        help="Go on with a run that another machine has not brought to its end, when its lease has ended.",
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
    if not click.confirm(one_line(question), err=True):
        raise RefusedError("confirmation", "not confirmed", remedy="nothing was changed")


def say(line: str, *, err: bool = False) -> None:
    """Print one line: nothing in it acts on the terminal, or forges another line."""
    text = redact(line if isinstance(line, Verbatim) else one_line(line))
    if "GITHUB_ACTIONS" in os.environ:  # its runner obeys lines of the log
        text = re.sub(r"##(?=\[)|^\s*:(?=:)", r"\g<0> ", text)
    click.echo(text, err=err)


def say_error(message: str) -> None:
    """Print an error, which may be of several lines, such as the problems of a plan."""
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    for line in message.split("\n"):
        say(line, err=True)


def finish(answer: Answer, output_format: str) -> NoReturn:
    """Print an answer on stdout and exit with its code."""
    if output_format == "json":
        echo_json({"exit_code": int(answer.exit_code), **answer.data, "next_steps": list(answer.next_steps)})
    else:
        for line in answer.lines:
            say(line)
        if answer.next_steps:
            say("")
            say("next: " + answer.next_steps[0])
            for step in answer.next_steps[1:]:
                say("      " + step)
    raise SystemExit(int(answer.exit_code))


def echo_json(data: Mapping[str, Any]) -> None:
    """Print one JSON document with its schema version first."""
    click.echo(redact(json_document({"schema": SCHEMA, **data})))


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
        text = sentence(where=str(error.filename or "the system"), what="no permission", found=error.strerror or "")
        return _failed(text, "run the same command again as the user that owns it", ExitCode.REFUSED, json_wanted)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # whatever it is: no traceback on a screen, nor its secrets
        return _unexpected(error, json_wanted)


def _failed(message: str, hint: str, code: ExitCode, json_wanted: bool) -> int:
    if json_wanted:
        echo_json({"exit_code": int(code), "error": message, "next_steps": [hint] if hint else []})
    else:
        say_error(message + (f"; {hint}" if hint else ""))
    return int(code)


def _unexpected(error: Exception, json_wanted: bool) -> int:
    """Say in one sentence that the disk is full, or that the tool has an error; that one is described in a file."""
    import tempfile
    import traceback

    from migrator import __version__

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = sentence(where=str(error.filename or ""), what="the disk is full")
        hint = "nothing is lost; free some space and run the same command again"
        return _failed(text, hint, ExitCode.INTERRUPTED, json_wanted)
    folder = find_plan(Path.cwd()).parent / ".migrator"
    where = folder if os.access(folder, os.W_OK) else None
    with tempfile.NamedTemporaryFile("wb", prefix="error-", suffix=".txt", delete=False, dir=where) as file:
        about = f"migrator {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
        file.write(redact(about).encode(errors="backslashreplace"))  # readable by its owner only
    text = sentence(where="migrator", what="an error of the tool", found=redact(f"{type(error).__name__}: {error}"))
    hint = f"{file.name} describes it; `migrator status` says where the migration stands"
    return _failed(text, hint, ExitCode.INTERNAL, json_wanted)


def existing_plan_folder(plan: Plan) -> Path:
    """Return the plan's source root; raise a UsageError if there is no such folder."""
    if not plan.source_root.is_dir():
        raise UsageError(str(plan.file), "project.root is not a folder", found=str(plan.source_root))
    return plan.source_root
