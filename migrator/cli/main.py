"""The ``migrator`` command: its subcommands are imported only when they are called, so that help is fast."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from migrator import __version__

#: Command -> module and one line of help. The line is checked against the command's own by a test.
COMMANDS: dict[str, tuple[str, str]] = {
    "inspect": ("migrator.cli.inspect", "List the tasks, schedules and waiting messages of both legacy systems."),
    "init": ("migrator.cli.init", "Draft a migration.toml from what the project has."),
    "rewrite-imports": ("migrator.cli.rewrite", "Rewrite source from the legacy tasks to the unified ones."),
    "parity-check": ("migrator.cli.parity", "Run legacy and unified tasks on the same cases and compare."),
    "rehearse": ("migrator.cli.rehearse", "Go there, back and there again on scratch copies."),
    "cutover": ("migrator.cli.cutover", "Move the running system to the unified tasks, messages included."),
    "rollback": ("migrator.cli.rollback", "Take the cutover back, messages included."),
    "complete": ("migrator.cli.complete", "Close the migration for good: afterwards there is no rollback."),
    "status": ("migrator.cli.status", "Say where the migration stands and which command is next."),
    "workers": ("migrator.cli.workers", "List, start or stop the plan's processes."),
    "transfer": ("migrator.cli.transfer", "Carry waiting messages over, or back, without the rest of a cutover."),
    "restore": ("migrator.cli.restore", "Put the messages of a snapshot back."),
    "dlq": ("migrator.cli.dlq", "List, show, retry, resolve or import dead letters."),
    "demo": ("migrator.cli.demo", "Run the whole migration on the sample project with embedded servers."),
}

EPILOG = (
    "Exit codes: 0 clean, 1 differences found, 2 usage or plan, 3 broker, database or worker unreachable, "
    "4 refused by a guard, 5 interrupted and resumable."
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is used."""

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
        """Find the command; a mistyped one is answered with the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="migrator")
def group() -> None:
    """Move a live Django project from Dramatiq and an old Celery layout to one Celery task module.

    Example: migrator demo
    """


def main() -> NoReturn:
    """Run the command line; errors become one sentence on stderr and the documented exit code."""
    from migrator.cli.output import run

    sys.exit(run(group))
