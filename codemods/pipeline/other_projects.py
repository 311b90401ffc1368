"""Tasks that lie outside of the plan's project: another project in the repository, a folder beside the import root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from codemods.outcome import FileOutcome, Leftover
from codemods.plan.import_roots import MARKERS, is_other
from codemods.plan.plan_index import PlanIndex
from migrator.inventory.scan import scan
from migrator.inventory.source_files import SourceFiles
from migrator.plan.model import Plan


def other_tasks(plan: Plan, index: PlanIndex, sources: SourceFiles) -> Iterator[FileOutcome]:
    """Yield one finding for each folder outside of the plan's project that declares tasks."""
    done: list[Path] = []
    for folder in sorted(_folders(plan, index, sources)):
        if any(folder.is_relative_to(above) for above in done):
            continue
        done.append(folder)
        tasks = scan(folder, sources).tasks
        if tasks:
            first = tasks[0]
            shown = str(folder.relative_to(plan.folder))
            left = Leftover(
                code="OTHER-PROJECT",
                line=first.line,
                found=", ".join(sorted(task.name or "(computed)" for task in tasks))[:200],
                detail=f"{len(tasks)} in {shown}",
            )
            yield FileOutcome(file=first.file, shown=str(first.file.relative_to(plan.folder)), leftovers=(left,))


def _folders(plan: Plan, index: PlanIndex, sources: SourceFiles) -> set[Path]:
    """Return the roots of other projects, and the folders of the repository beside the import root."""
    found = {file.parent for file in sources.files() if file.name in MARKERS}
    others = {folder for folder in found if is_other(index, folder)}
    inside = f"{index.root}{os.sep}"
    outside = [file for file in sources.python_files() if not str(file).startswith(inside)]
    depth = len(plan.folder.parts)
    beside = {Path(*file.parts[: depth + 1]) for file in outside if len(file.parts) > depth + 1}
    return others | {folder for folder in beside if not index.root.is_relative_to(folder)}
