"""``migrator dlq``: dead letters, through the ``manage.py`` of the project with its unified app."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, existing_plan_folder, finish, format_option, plan_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan

VERBS = ("list", "show", "retry", "resolve", "import", "import-legacy")


@click.command("dlq")
@click.argument("verb", type=click.Choice(VERBS), default="list")
@click.argument("references", nargs=-1, metavar="[ID|FILE]...")
@click.option("--task", default="", help="For list: only this task.")
@click.option("--status", default="open", help="For list: open, retried, resolved or all.", show_default=True)
@click.option("--note", default="", help="For resolve: the reason why no retry is needed.")
@plan_option
@format_option
def command(
    verb: str, references: tuple[str, ...], task: str, status: str, note: str, plan: Plan, output_format: str
) -> None:
    """List, show, retry, resolve or import dead letters.

    A dead letter is a TaskFailure row: a call whose retries are exhausted or that could not be run at all. `retry`
    sends it again with the same arguments. `import` imports what was spooled while the database was down, or the given
    files, such as those that a rollback exports to .migrator/failures. `import-legacy` moves messages from Dramatiq's
    dead letter queues to TaskFailure. Both imports are idempotent.

    Example: migrator dlq list
    """
    existing_plan_folder(plan)
    _require_table(plan)
    if verb == "import":
        references = tuple(str(Path(name).resolve()) for name in references)
    arguments = [verb, *references]
    if verb == "list":
        arguments += ["--status", status, *(["--task", task] if task else [])]
    if verb == "resolve" and note:
        arguments += ["--note", note]
    document, failed = _import_legacy(plan) if verb == "import-legacy" else _manage(plan, arguments)
    from migrator.errors import ExitCode

    code = ExitCode.DIFFERENCES if failed else ExitCode.CLEAN
    next_steps = ["migrator dlq show ID", "migrator dlq retry ID"] if verb == "list" and document["failures"] else []
    finish(Answer(exit_code=code, lines=_lines(document), data=document, next_steps=next_steps), output_format)


def _require_table(plan: Plan) -> None:
    from migrator.errors import UsageError

    if not plan.project.app_label:
        what = "no app of the project has a table of dead letters"
        remedy = "install the unified app (`install_package`, `install_to`), or name its label"
        raise UsageError(f"{plan.file}: project.app_label", what, remedy=remedy)


def _import_legacy(plan: Plan) -> tuple[dict[str, Any], bool]:
    """Import the legacy dead letters, and delete them from their broker if all were imported."""
    from migrator.transfer.dead_letters import delete_dead_letters, export_dead_letters

    file = plan.state_folder / "failures" / "legacy-dead-letters.json"
    exported = export_dead_letters(plan, environ=os.environ, file=file)
    document, failed = _manage(plan, ["import", str(exported.file.resolve())])
    deleted = 0 if failed else delete_dead_letters(plan, exported.messages, environ=os.environ)
    return {**document, "exported": len(exported.messages), "deleted": deleted}, failed


def _manage(plan: Plan, arguments: list[str]) -> tuple[dict[str, Any], bool]:
    """Run the management command; return its document, and True if part of it failed."""
    import orjson

    from migrator.errors import UnreachableError
    from migrator.project.commands import last_lines, run_manage

    code, output, errors = run_manage(plan, "taskfailures", "--format", "json", *arguments, environ=os.environ)
    try:
        document = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        raise UnreachableError(
            "manage.py taskfailures",
            "did not answer",
            found=last_lines(errors or output),
            remedy="the unified app must be installed and its migrations applied; see `migrator status`",
        ) from error
    return document, code != 0


def _lines(document: dict[str, Any]) -> list[str]:
    from migrator.render.text import table

    failures = document.get("failures")
    if failures is not None:
        if not failures:
            return ["no dead letters"]
        columns = list(failures[0])
        return table("", columns, [[failure[name] for name in columns] for failure in failures])
    return [line for name, value in document.items() for line in _value(name, value)]


def _value(name: str, value: object) -> list[str]:
    """Return a value as lines; those of a text of several, such as a traceback, and of a list are indented."""
    parts = value if isinstance(value, list) else str(value).splitlines()
    several = isinstance(value, list) or len(parts) > 1
    return [f"{name}:", *(f"  {part}" for part in parts)] if several else [f"{name}: {value}"]
