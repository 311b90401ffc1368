"""`manage.py taskfailures list|show|retry|resolve|import`: dead letters on the command line.

With `--format json` each answer is one JSON document on standard output. Exit code 1: something could not be done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...dead_letter import import_spooled
from ...exports import import_exported
from ...models import TaskFailure
from ...replay import CannotReplayError, find_failure, list_failures, resolve_failure, retry_failure


class Command(BaseCommand):
    """Shows, retries, resolves and imports dead letters."""

    help = "Dead letters: list, show, retry, resolve, import."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare one subcommand an action."""
        parser.add_argument("--format", choices=("text", "json"), default="text", help="how to answer")
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="newest first")
        listing.add_argument("--status", choices=(*TaskFailure.Status.values, "all"), default="open")
        listing.add_argument("--task", default="", help="only this task")
        listing.add_argument("--limit", type=int, default=100)
        for name, text in (
            ("show", "everything about one"),
            ("retry", "send again"),
            ("resolve", "mark as resolved"),
        ):
            action = actions.add_parser(name, help=text)
            action.add_argument("id", nargs="+", help="number or key")
            if name == "resolve":
                action.add_argument("--note", default="")
        taking = actions.add_parser("import", help="import what was spooled while the database was down, or exported")
        taking.add_argument("file", nargs="*", type=Path, help="rows that a rollback exported, instead of the spool")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action, answer, and exit with 1 if something could not be done."""
        action = getattr(self, f"_{options['action']}")
        answer = action(options)
        if options["format"] == "json":
            self.stdout.write(json.dumps(answer, indent=2))
        else:
            self._write_text(answer)
        if answer.get("errors"):
            sys.exit(1)

    def _list(self, options: dict[str, Any]) -> dict[str, Any]:
        status = "" if options["status"] == "all" else options["status"]
        rows = list_failures(status=status, task_name=options["task"], limit=options["limit"])
        return {"failures": [_brief(row) for row in rows]}

    def _show(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._each(options["id"], lambda reference: _whole(find_failure(reference)))

    def _retry(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._each(options["id"], lambda reference: {"id": reference, "task_id": retry_failure(reference)})

    def _resolve(self, options: dict[str, Any]) -> dict[str, Any]:
        def resolve(reference: str) -> dict[str, Any]:
            resolve_failure(reference, options["note"])
            return _brief(find_failure(reference))

        return self._each(options["id"], resolve)

    def _import(self, options: dict[str, Any]) -> dict[str, Any]:
        report = import_exported(options["file"]) if options["file"] else import_spooled()
        errors = [f"{file}: unreadable; check it and move it away" for file in report.unreadable]
        if report.left:
            errors.append(f"{report.left} not imported: the database does not answer; run the command again")
        return {
            "imported": report.imported,
            "already_known": report.already_known,
            "left": report.left,
            "errors": errors,
        }

    @staticmethod
    def _each(references: list[str], act: Any) -> dict[str, Any]:
        done: list[Any] = []
        errors: list[str] = []
        for reference in references:
            try:
                done.append(act(reference))
            except CannotReplayError as error:
                errors.append(str(error))
            except Exception as error:  # noqa: BLE001  # one that the broker refuses must not hide the others
                errors.append(f"{reference}: {type(error).__name__}: {error}")
        return {"failures": done, "errors": errors}

    def _write_text(self, answer: dict[str, Any]) -> None:
        for row in answer.get("failures", ()):
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items() if value not in ("", None)))
        for name in ("imported", "already_known", "left"):
            if name in answer:
                self.stdout.write(f"{name}: {answer[name]}")
        if answer.get("failures") == [] and not answer.get("errors"):
            self.stdout.write("no dead letters")
        for error in answer.get("errors", ()):
            self.stderr.write(error)


def _brief(row: TaskFailure) -> dict[str, Any]:
    return {
        "id": row.pk,
        "task_name": row.task_name,
        "task_id": row.task_id,
        "queue": row.queue,
        "attempts": row.attempts,
        "status": row.status,
        "failed_at": row.failed_at.isoformat(),
        "exception": row.exception.partition("\n")[0][:300],
    }


def _whole(row: TaskFailure) -> dict[str, Any]:
    moments = ("failed_at", "created_at", "resolved_at")
    plain = {field.name: getattr(row, field.name) for field in row._meta.fields if field.name not in moments}
    times = {name: value.isoformat() if (value := getattr(row, name)) else None for name in moments}
    return {**plain, "key": str(row.key), **times}
