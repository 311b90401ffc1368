"""Who may import whom: the contracts of pyproject.toml hold, and a forbidden import is noticed wherever it is put."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("migrator", "codemods", "checks")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS: list[list[str]] = [layer.split(" | ") for layer in CONTRACTS[0]["layers"]]
GRAPH = grimp.build_graph(*PACKAGES, cache_dir=None)


def lint(folder: Path) -> tuple[int, str]:
    """Run import-linter on the packages of a folder."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", folder / "pyproject.toml"]
    environ = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def file_of(folder: Path, module: str) -> Path:
    file = folder.joinpath(*module.split("."))
    return file / "__init__.py" if file.is_dir() else file.with_suffix(".py")


def scratch_copy(folder: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def add_import(folder: Path, importer: str, imported: str) -> None:
    file = file_of(folder, importer)
    file.write_text(f"{file.read_text()}\nimport {imported}\n")


def siblings_that_import() -> dict[str, tuple[str, str]]:
    """Return two children of each package that has such, of which the first imports the second."""
    found = {}
    for package in sorted(module for module in GRAPH.modules if GRAPH.find_children(module)):
        children = sorted(GRAPH.find_children(package))
        own = {module: child for child in children for module in (child, *GRAPH.find_descendants(child))}
        pairs = (
            (own[importer], own[imported])
            for importer in sorted(own)
            for imported in sorted(GRAPH.find_modules_directly_imported_by(importer))
            if imported in own and own[imported] != own[importer]
        )
        if pair := next(pairs, None):
            found[package] = pair
    return found


def test_the_contracts_hold() -> None:
    status, output = lint(ROOT)
    assert status == 0, output
    assert "0 broken" in output


def test_every_module_of_migrator_is_in_a_layer() -> None:
    layered = {module for layer in LAYERS for module in layer}
    assert {*GRAPH.find_children("migrator"), "checks", "codemods"} == layered


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {module: GRAPH.find_modules_directly_imported_by(module) for module in GRAPH.modules}
    TopologicalSorter(imports).prepare()


@pytest.mark.parametrize("package", siblings_that_import())
def test_a_circle_is_noticed_in_every_package(package: str, tmp_path: Path) -> None:
    importer, imported = siblings_that_import()[package]
    add_import(scratch_copy(tmp_path), imported, importer)
    status, output = lint(tmp_path)
    assert status != 0
    assert "no circles BROKEN" in output


@pytest.mark.parametrize("number", range(1, len(LAYERS)), ids=lambda number: LAYERS[number][0])
def test_an_import_of_the_layer_above_is_noticed(number: int, tmp_path: Path) -> None:
    scratch_copy(tmp_path)
    for module in LAYERS[number]:
        add_import(tmp_path, module, LAYERS[number - 1][0])
    status, output = lint(tmp_path)
    assert status != 0
    assert "imports go one way BROKEN" in output
    for module in LAYERS[number]:
        assert f"{module} is not allowed to import {LAYERS[number - 1][0]}" in output


def test_nothing_that_ships_imports_the_fixtures_or_the_tests() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for line in path.read_text().splitlines():
                assert not line.lstrip().startswith(("import fixtures", "from fixtures", "import tests", "from tests"))


def test_the_agent_and_the_production_app_need_no_more_than_python_3_9() -> None:
    command = [Path(sys.executable).with_name("vermin"), "-t=3.9-", "--no-tips", "--violations"]
    folders = [ROOT / "migrator" / name for name in ("agent", "tasks")]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "Minimum required versions: 3.9" in done.stdout
