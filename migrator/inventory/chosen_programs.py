"""Which of the processes in deployment files go into a draft: each once, though several files may describe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrator.inventory.deployment.program import Manager, Program
from migrator.plan.processes import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A process that goes into the draft."""

    program: Program
    #: Where the same process is described once more.
    also: tuple[Program, ...] = ()


def choose(programs: Sequence[Program]) -> tuple[tuple[Chosen, ...], tuple[tuple[Program, str], ...]]:
    """Return each process once, and those that stay out of the draft with the reason."""
    drafted: list[Program] = []
    also: dict[int, list[Program]] = {}
    left: list[tuple[Program, str]] = []
    for manager in Manager:
        before = list(drafted)
        for program in (item for item in programs if item.manager is manager):
            same = [item for item in drafted if item.manager is manager and _named_alike(item, program)]
            same = same or [item for item in before if _alike(item, program)]
            if same:
                also.setdefault(id(same[0]), []).append(program)
            elif program.doubt:
                left.append((program, program.doubt))
            elif before and (program.role is Role.PRODUCER or any(_one_kind(item, program) for item in before)):
                others = before[0].manager.value
                left.append((program, f"{others} has none that is its equal; if it runs, write it as a [[process]]"))
            else:
                drafted.append(program)
    for program, _ in left:
        for item in [item for item in drafted if item.manager is not program.manager and _alike(item, program)][:1]:
            also.setdefault(id(item), []).append(program)
    return tuple(Chosen(program=item, also=tuple(also.get(id(item), ()))) for item in drafted), tuple(left)


def _one_kind(one: Program, other: Program) -> bool:
    return (one.role, one.system) == (other.role, other.system)


def _named_alike(one: Program, other: Program) -> bool:
    return one.name == other.name and _one_kind(one, other) and one.file != other.file


def _alike(one: Program, other: Program) -> bool:
    """Tell whether two managers describe the same process."""
    read = set(one.started.queues), set(other.started.queues)
    return _one_kind(one, other) and (read[0] == read[1] or not all(read))
