"""Which files the unified app puts into a project, and with what content.

The package is found without importing it. Left out: caches, and its own ``settings.py``, which a project with settings
never loads. One line changes: ``DEFAULT_SETTINGS_MODULE`` names the project's settings. A file that is there with other
content is never overwritten, unless an earlier run created it and nobody touched it since.

Under a label of its own a project gets :data:`REUSABLE` only: dead letters and what workers do with late messages, for
its own Celery app, without the fourteen tasks.
Source: https://docs.python.org/3/library/importlib.html#importlib.util.find_spec
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from codemods.install.app_label import label_taken_by
from codemods.install.celery_app import app_files, settings_file
from migrator.errors import UsageError
from migrator.inventory.source_files import module_name
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.wire.message import Side
from migrator.workers.probe import application

_LEFT_OUT = frozenset({"settings.py", "py.typed"})
#: What any project can use of the unified app, by first path part without ``.py``.
REUSABLE = frozenset({
    *("__init__", "admin", "apps", "base", "consumer", "dead_letter", "exact_json", "exports", "host_settings"),
    *("legacy_aliases", "management", "migrations", "models", "parked", "priority", "replay", "result_last"),
    *("retry_after", "spool", "worker"),
})  # fmt: skip
_INIT = b'"""Dead letters of the project, and what its workers do with late messages."""\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The files of the unified app as they belong into one project."""

    #: Absolute destination to content, for every file of the app.
    files: Mapping[Path, bytes] = field(default_factory=dict)
    #: Those that are missing, or are there unchanged from an older installation.
    to_write: tuple[Path, ...] = ()
    #: Those that are there with other content.
    conflicts: tuple[Path, ...] = ()
    #: The settings, where a Celery app is needed that has no place to stand in.
    app_wanted_by: Path | None = None
    #: ``file:line`` of another app of the project that has the label of the installed one.
    label_taken_by: str = ""


def plan_installation(plan: Plan, *, created: Mapping[str, str], app: bool = False) -> Installation:
    """Return what is to be installed.

    Args:
        plan: Names the package and the folder that receives it.
        created: SHA-256 by relative path of the files that earlier runs created.
        app: The project needs a Celery app of its own.

    Raises:
        UsageError: The package can't be found, or the folder lies outside the project.
    """
    if not plan.project.install_package or not plan.project.install_to:
        own = app_files(plan) if app else {}
        found = _installation(plan, own, created)
        return replace(found, app_wanted_by=settings_file(plan) if app and not own else None)
    destination = (plan.folder / plan.project.install_to).resolve()
    if not destination.is_relative_to(plan.folder):
        raise UsageError("project.install_to", "lies outside the plan's folder", found=plan.project.install_to)
    wanted = _package_files(plan, destination)
    init = destination / "__init__.py"
    if app:
        wanted |= app_files(plan)
    found = _installation(plan, {f: data for f, data in wanted.items() if f != init or not f.exists()}, created)
    wanted_by = settings_file(plan) if app and not app_files(plan) else None
    taken = label_taken_by(plan, installed_package(plan))
    return replace(found, app_wanted_by=wanted_by, label_taken_by=taken)


def _installation(plan: Plan, wanted: Mapping[Path, bytes], created: Mapping[str, str]) -> Installation:
    files: dict[Path, bytes] = {}
    to_write, conflicts = [], []
    for target, content in wanted.items():
        if target.is_symlink() or any(parent.is_symlink() for parent in _below(target, plan.folder)):
            conflicts.append(target)
            continue
        if not target.exists():
            files[target] = content
            to_write.append(target)
        else:
            files[target] = content
            present = target.read_bytes()
            ours = created.get(str(target.relative_to(plan.folder))) == hashlib.sha256(present).hexdigest()
            if present != content:
                (to_write if ours else conflicts).append(target)
    return Installation(files=files, to_write=tuple(to_write), conflicts=tuple(conflicts))


def _package_files(plan: Plan, destination: Path) -> dict[Path, bytes]:
    package = _find(plan.project.install_package)
    found = {}
    for source in sorted(package.rglob("*")):
        relative = source.relative_to(package)
        if plan.project.own_app and relative.parts[0].removesuffix(".py") not in REUSABLE:
            continue
        if source.is_file() and "__pycache__" not in relative.parts and str(relative) not in _LEFT_OUT:
            found[destination / relative] = _content(plan, relative, source.read_bytes())
    return found


def _below(target: Path, root: Path) -> list[Path]:
    return [parent for parent in target.parents if parent.is_relative_to(root) and parent != root]


def _find(package: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "project.install_package", "no such package", found=package, remedy="install it, or correct it"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _content(plan: Plan, relative: Path, content: bytes) -> bytes:
    """Return a file as it belongs into the project: single lines say what differs."""
    lines = {"celery.py": {"DEFAULT_SETTINGS_MODULE": repr(plan.project.settings)}}
    if plan.project.own_app:
        if str(relative) == "__init__.py":
            return _INIT
        workers = plan.select(side=Side.UNIFIED, role=Role.WORKER)
        app = next((name for worker in workers if (name := application(worker))), "")
        lines["apps.py"] = {"LABEL": repr(plan.project.app_label), "OWN_CELERY_APP": "True"}
        lines["host_settings.py"] = {"CELERY_APP": repr(app)}
    for name, value in lines.get(str(relative), {}).items():
        line = re.compile(rf"^{name} = .*$".encode(), re.MULTILINE)
        assert line.search(content), name
        content = line.sub(f"{name} = {value}".replace("'", '"').encode(), content, count=1)
    return content


def installed_package(plan: Plan) -> str:
    """Return the dotted name under which the project imports the installed app; empty if nothing is installed."""
    if not plan.project.install_to:
        return ""
    return module_name(plan.source_root, plan.folder / plan.project.install_to / "__init__.py")
