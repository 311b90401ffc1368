"""What a project with its own Celery app gets: it needs nothing that is left out; single lines say what differs."""

from __future__ import annotations

import ast
from pathlib import Path

import migrator.tasks
from codemods.install.files import REUSABLE, plan_installation
from migrator.plan.loader import load_plan

PACKAGE = Path(migrator.tasks.__file__).parent
PLAN = """
[migration]
name = "t"
[project]
root = "src"
settings = "conf.settings"
install_package = "migrator.tasks"
install_to = "src/ops/failures"
app_label = "{label}"
[legacy.celery]
broker = "redis://localhost/0"
queues = ["celery"]
[unified]
broker = "redis://localhost/0"
queues = ["unified"]
[[task]]
name = "a"
path = "jobs.a"
[[task.replaces]]
system = "celery"
name = "old.a"
[[process]]
name = "w"
side = "unified"
role = "worker"
system = "celery"
command = ["celery", "-A", "conf", "worker"]
"""


def installed(folder: Path, label: str) -> dict[str, str]:
    (folder / "migration.toml").write_text(PLAN.format(label=label))
    (folder / "src").mkdir(exist_ok=True)
    found = plan_installation(load_plan(folder / "migration.toml"), created={})
    return {str(file.relative_to(folder / "src/ops/failures")): data.decode() for file, data in found.files.items()}


def imported(tree: ast.Module, depth: int) -> set[str]:
    """Return the modules of the package that a file imports, however deep it stands in there."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth + 1:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_what_is_reusable_imports_nothing_else_of_the_package(tmp_path: Path) -> None:
    for name, text in installed(tmp_path, "failures").items():
        if name.endswith(".py"):
            assert imported(ast.parse(text), name.count("/")) <= REUSABLE, name
    assert {name.split("/")[0].removesuffix(".py") for name in installed(tmp_path, "failures")} == REUSABLE


def test_the_label_and_the_celery_app_are_written_in(tmp_path: Path) -> None:
    files = installed(tmp_path, "failures")
    assert 'LABEL = "failures"\n' in files["apps.py"] and "OWN_CELERY_APP = True\n" in files["apps.py"]
    assert 'CELERY_APP = "conf"\n' in files["host_settings.py"]
    assert "import" not in files["__init__.py"]


def test_the_guides_app_is_whole_and_its_own(tmp_path: Path) -> None:
    files = installed(tmp_path, "tasks")
    assert {"unified_tasks.py", "market_defaults.py", "celery.py"} <= set(files)
    assert files["apps.py"] == (PACKAGE / "apps.py").read_text()
    assert 'DEFAULT_SETTINGS_MODULE = "conf.settings"' in files["celery.py"]
