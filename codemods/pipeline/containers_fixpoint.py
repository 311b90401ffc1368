"""Find the containers of tasks that files share, every file that reads them, and which of them can't be rewritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from codemods.pipeline.prefilter import reading
from codemods.pipeline.process_pool import ProcessPool
from codemods.plan.plan_index import PlanIndex

_ROUNDS = 8


def follow_containers(
    workers: ProcessPool, index: PlanIndex, add: Callable[[Callable[[bytes], bool]], None]
) -> PlanIndex:
    """Return the index with the shared containers of a tree.

    A container is rewritten where it is written and where it is read, or nowhere: every file that reads one is
    rewritten tentatively, until no further container turns out to hold something that stays.

    Args:
        workers: They hold the files.
        index: The plan's.
        add: Hands them the other files whose bytes pass a test.
    """
    for _ in range(_ROUNDS):
        found = workers.containers(index)
        if found.keys() == index.containers.keys():
            break
        index = replace(index, containers=found)
        add(reading(list(found)))
    read = frozenset(workers.try_containers(index)[0]) if index.containers else frozenset()
    index = replace(index, read_containers=read)
    for _ in range(_ROUNDS if read else 0):
        kept = read & workers.try_containers(index)[1]
        if kept <= index.open_containers:
            break
        index = replace(index, open_containers=index.open_containers | kept)
    return index
