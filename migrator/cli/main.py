"""The ``migrator`` command. Subcommands are imported only when they are called, so that ``--help`` is fast."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import NoReturn

import click

from migrator import __version__

#: Command -> module and one line of help. A test checks that the line is the summary of the command's own help.
COMMANDS: dict[str, tuple[str, str]] = {
    "inspect": ("migrator.cli.inspect", "List the tasks, schedules and waiting messages of both legacy systems."),
    "init": ("migrator.cli.init", "Draft a migration.toml for an existing project."),
    "rewrite-imports": ("migrator.cli.rewrite", "Rewrite the source from the legacy tasks to the unified ones."),
    "parity-check": (
        "migrator.cli.parity",
        "Run legacy and unified tasks on the same cases and compare their effects.",
    ),
    "rehearse": ("migrator.cli.rehearse", "Rehearse cutover, rollback and cutover again on scratch copies."),
    "cutover": ("migrator.cli.cutover", "Move the running system to the unified tasks, messages included."),
    "rollback": ("migrator.cli.rollback", "Roll the last cutover back, messages included."),
    "complete": ("migrator.cli.complete", "Complete the migration; it can't be rolled back afterwards."),
    "status": ("migrator.cli.status", "Show where in its life the migration is, and the one next command."),
    "workers": ("migrator.cli.workers", "List, start or stop the plan's processes."),
    "transfer": ("migrator.cli.transfer", "Move waiting messages without the other steps of a cutover."),
    "restore": ("migrator.cli.restore", "Restore the messages of a snapshot."),
    "dlq": ("migrator.cli.dlq", "List, show, retry, resolve or import dead letters."),
    "demo": ("migrator.cli.demo", "Run the whole migration on the sample project with embedded servers."),
}

EPILOG = (
    "Exit codes: 0 success, 1 differences found, 2 error in the command line or the plan, 3 broker, database or worker "
    "unreachable, 4 refused by a guard, 5 interrupted (the same command resumes)."
)


class LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of a migration."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a mistyped name, suggest the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"unknown command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="migrator")
def group() -> None:
    """Migrate a live Django project from Dramatiq and an old Celery layout to one unified Celery task module.

    The commands are listed in the order of a migration. Most of them read the plan, migration.toml; `migrator COMMAND
    --help` describes the options of a command.

    Example: migrator demo
    """


def main() -> NoReturn:
    """Run the command line; an error is printed as one sentence on stderr, with the documented exit code."""
    from migrator.cli.output import run
    from migrator.redaction import know_environment

    know_environment(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    sys.exit(run(group))
