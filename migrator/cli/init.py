"""``migrator init``: draft a plan; writes one file and nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.cli.output import Answer, finish, format_option


@click.command("init")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option(
    "--in-place",
    is_flag=True,
    help="Convert tasks where they are: each legacy task's own function becomes the unified task.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing migration.toml.")
@format_option
def command(path: Path, in_place: bool, force: bool, output_format: str) -> None:
    """Draft a migration.toml for an existing project.

    PATH is the folder for the plan, usually the root of the repository. The draft is a valid plan; each decision that
    is left to you is marked DECIDE. By default each legacy task is mapped to a new task in tasks/unified_tasks.py, with
    --in-place to its own function.

    Example: migrator init --in-place .
    """
    from codemods.calls.scheduler_jobs import read_scheduler_jobs
    from migrator.errors import ExitCode, RefusedError, UsageError
    from migrator.inventory.deployment_files import find_programs
    from migrator.inventory.draft_plan import Subject, draft_plan, drafted_programs, import_root
    from migrator.inventory.scan import scan
    from migrator.plan.loader import load_plan

    folder = path.resolve()
    file = folder / "migration.toml"
    if file.exists() and not force:
        raise RefusedError(str(file), "there is a plan already", remedy="edit it, or overwrite it with --force")
    root = import_root(folder)
    inventory = scan(folder / root)
    if not inventory.tasks:
        raise UsageError(str(folder), "no Dramatiq actor and no Celery task was found", remedy="give another folder")
    settings = _settings(folder / root / "manage.py")
    programs = find_programs(folder)
    scheduler_jobs = read_scheduler_jobs(folder / root, {entry.file for entry in inventory.schedule})
    subject = Subject(name=folder.name, root=root, settings=settings)
    text = draft_plan(subject, inventory, programs=programs, scheduler_jobs=scheduler_jobs, in_place=in_place)
    file.write_text(text, encoding="utf-8")
    load_plan(file)
    lines = [
        f"wrote {file}: {len(inventory.tasks)} legacy tasks, {len(inventory.schedule)} schedule entries",
        f"{len(drafted_programs(programs))} of {len(programs)} processes in deployment files are in the plan",
        f"{text.count('DECIDE')} decisions are left to you: search the file for DECIDE",
    ]
    data = {"file": str(file), "tasks": len(inventory.tasks), "schedule": len(inventory.schedule)}
    next_steps = [f"edit {file}", "migrator rewrite-imports --diff"]
    finish(Answer(exit_code=ExitCode.CLEAN, lines=lines, data=data, next_steps=next_steps), output_format)


def _settings(manage: Path) -> str:
    """Return the settings module that `manage.py` sets; a DECIDE mark if it sets none or there is no such file."""
    from migrator.inventory.draft_plan import guess_settings

    return (guess_settings(manage.read_text(encoding="utf-8")) if manage.is_file() else "") or "DECIDE.settings"
