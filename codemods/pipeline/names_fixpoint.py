"""Find the constants by which files name Celery tasks of each other, and which of them can't get the new name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from codemods.pipeline.prefilter import reading
from codemods.pipeline.process_pool import ProcessPool
from codemods.plan.plan_index import PlanIndex

_ROUNDS = 8


def follow_names(
    workers: ProcessPool,
    index: PlanIndex,
    names: Mapping[str, tuple[str, ...]],
    add: Callable[[Callable[[bytes], bool]], None],
) -> PlanIndex:
    """Return the index with the constants that are read in other files than their own.

    A constant gets the new name with everything that reads it, or keeps the old one.

    Args:
        workers: They hold the files.
        index: The plan's.
        names: Constants with the names that they hold.
        add: Hands the workers the other files whose bytes pass a test.
    """
    if not names:
        return index
    add(reading(names))
    index = replace(index, name_constants=names)
    used: set[str] = set()
    for _ in range(_ROUNDS):
        used, kept = workers.try_names(index)
        if kept <= index.open_constants:
            break
        index = replace(index, open_constants=index.open_constants | kept)
    known = used | index.open_constants
    return replace(index, name_constants={path: held for path, held in names.items() if path in known})
