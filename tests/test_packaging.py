"""The wheel: what is in it, and that it works in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the fixtures prepare takes long: once for all.
pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder)
    # The environment stays empty but for the wheel: our pip installs into it, and compiles nothing that is never run.
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", wheel], check=True, capture_output=True, timeout=170)
    return folder / "bin"


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"migrator", "codemods", "checks"}
    for expected in ("migrator/py.typed", "migrator/cli/main.py", "migrator/tasks/migrations/0001_initial.py"):
        assert expected in names
    missing = [
        path.relative_to(ROOT).as_posix()
        for package in ("migrator", "codemods", "checks")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(ROOT).as_posix() not in names
    ]
    assert not missing


def test_the_installed_command_works_outside_the_checkout(environment: Path, tmp_path: Path) -> None:
    version = subprocess.run(
        [environment / "migrator", "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert version.stdout.startswith("migrator, version ")
    status = subprocess.run(
        [environment / "migrator", "status"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert status.returncode == 2
    assert "there is no plan here" in status.stderr


def test_the_installed_demo_says_that_it_needs_the_sample(environment: Path, tmp_path: Path) -> None:
    demo = subprocess.run(
        [environment / "migrator", "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert demo.returncode == 2
    assert "--fixtures" in demo.stderr


def test_every_shipped_module_can_be_imported(environment: Path, tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("migrator", "codemods", "checks")
        for path in sorted((ROOT / package).rglob("*.py"))
        # The app needs Django's settings; the plugin is imported by pytest, which brings itself.
        if "tasks" not in path.parts and path.stem not in ("__main__", "pytest_plugin")
    ]
    script = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    result = subprocess.run(
        [environment / "python", "-c", script], cwd=tmp_path, timeout=60, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
