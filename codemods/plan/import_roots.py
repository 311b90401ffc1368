"""What the plan's names mean in one file: a module belongs to the import root of the file that imports it.

A repository may hold several projects, each with modules of the same names. The nearest folder above a file that is no
package and really has a module is where it comes from; the plan's root otherwise.
Source: https://docs.python.org/3/reference/import.html#path-based-finder (the first entry that has a module wins).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from codemods.plan.plan_index import PlanIndex
from migrator.inventory.source_files import module_files

#: A folder that holds one of them is the root of a project of its own.
MARKERS = ("manage.py", "pyproject.toml", "setup.py", "setup.cfg")
#: Before what can't be imported by a dotted name: no path of the plan starts like that.
ELSEWHERE = "(elsewhere)"


def seen_from(index: PlanIndex, file: Path, folder: Path) -> PlanIndex:
    """Return the index without the modules that a file would import from another root than the plan's.

    Args:
        index: The whole plan's.
        file: The file.
        folder: The plan's folder: no root lies above it.
    """
    roots = [root for root in _above(index, file, folder) if not (root / "__init__.py").exists()]
    modules = _modules(index) if roots else frozenset()
    tops = {module.partition(".")[0] for module in modules}
    if any((root / "manage.py").exists() and is_other(index, root) for root in roots):
        index = replace(index, list_dramatiq=False)  # its tasks are named once for all of it
    roots = [root for root in roots if any(_may_have(root, top) for top in tops)]
    away: dict[str, str] = {}
    for module in modules if roots else ():
        root = next((root for root in roots if _has(root, module)), None)
        if root is None:
            continue
        if is_other(index, root):
            away[module] = ""
        elif _has(index.root, module):
            away[module] = str(root.relative_to(folder))
    return _without(index, away) if away else index


def _above(index: PlanIndex, file: Path, folder: Path) -> list[Path]:
    """Return the folders above a file, nearest first, as far as the plan's root or folder."""
    found = []
    for parent in file.parents:
        if parent == index.root or not parent.is_relative_to(folder):
            break
        found.append(parent)
    return found


def is_other(index: PlanIndex, root: Path) -> bool:
    """Tell whether a folder is the root of another project than the plan's."""
    return not index.root.is_relative_to(root) and any((root / name).exists() for name in MARKERS)


def _may_have(root: Path, top: str) -> bool:
    return (root / top).is_dir() or (root / f"{top}.py").exists()


def _has(root: Path, module: str) -> bool:
    return any(file.exists() for file in module_files(root, module))


def _modules(index: PlanIndex) -> frozenset[str]:
    """Return every module that the index has something to say about."""
    offering = {
        path.rpartition(".")[0] for path in (*index.exports, *index.containers, *index.stays, *index.applications)
    }
    return frozenset(module for module in index.modules | index.retired_modules | offering if module)


def _without(index: PlanIndex, away: dict[str, str]) -> PlanIndex:
    """Return the index without some modules; tasks whose name on the wire says nothing of a module keep that name."""

    def kept(paths: Iterable[str]) -> frozenset[str]:
        return frozenset(path for path in paths if path.rpartition(".")[0] not in away)

    exports, containers, stays = kept(index.exports), kept(index.containers), kept(index.stays)
    return replace(
        index,
        targets={
            path if path in kept((path,)) else f"{ELSEWHERE}.{path}": target
            for path, target in index.targets.items()
            if path in kept((path,)) or target.name != path
        },
        modules=index.modules - away.keys(),
        retired_modules=index.retired_modules - away.keys(),
        applications=kept(index.applications),
        exports={path: to for path, to in index.exports.items() if path in exports},
        renames={path: to for path, to in index.renames.items() if path in exports},
        containers={path: held for path, held in index.containers.items() if path in containers},
        offered={module: names for module, names in index.offered.items() if module not in away},
        stays={path: system for path, system in index.stays.items() if path in stays},
        doubtful={module: root for module, root in away.items() if root},
    )
