"""The tool beside a project in one environment, and that neither gets the other's modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from own_environment import project_python
from small_projects import MIGRATOR, NAMESAKES, SRC_ROOT, Project, make_project

ROOT = Path(__file__).parents[2]
#: A module that would break the tool if it were imported in place of the library or the package of this name.
BROKEN = 'raise RuntimeError("the tool has imported a module of the project")\n'


def pytest_in(folder: Path, *words: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest"] if module else [str(Path(sys.executable).with_name("pytest"))]
    return Project(folder=folder).run(*command, "-p", "no:cacheprovider", "-q", *words)


@pytest.mark.parametrize("command", ["parity-check", "rehearse", "cutover --yes", "cutover --dry-run"])
def test_a_namesake_in_a_shared_environment_is_refused_in_one_sentence(command: str, tmp_path: Path) -> None:
    project = make_project(tmp_path, NAMESAKES)
    done = project.migrator(*command.split())
    assert (done.returncode, done.stdout) == (4, "")
    (sentence,) = done.stderr.splitlines()
    assert str(tmp_path / "src" / "migrator") in sentence and "pipx install taskqueue-migrator" in sentence


@pytest.mark.parametrize("name", ["checks/__init__.py", "checks/limits.py", "codemods.py"])
def test_each_kind_of_namesake_is_noticed(name: str, tmp_path: Path) -> None:
    done = make_project(tmp_path, {**SRC_ROOT, f"src/{name}": ""}).migrator("parity-check")
    assert done.returncode == 4
    assert f"src/{name.partition('/')[0].removesuffix('.py')}: the project has a package" in done.stderr


@pytest.mark.parametrize(
    "name", ["checks/list.md", "src/orders/checks.py", "src/checks_of_orders.py", "src/check/a.py"]
)
def test_what_is_no_namesake_is_left_alone(name: str, tmp_path: Path) -> None:
    done = make_project(tmp_path, {**SRC_ROOT, name: ""}).migrator("parity-check")
    assert "the project has a package" not in done.stderr


def test_commands_that_run_nothing_of_the_project_work_beside_a_namesake(tmp_path: Path) -> None:
    project = make_project(tmp_path, NAMESAKES)
    assert project.migrator("rewrite-imports", "--check").returncode in (0, 1)
    assert project.migrator("status").stdout.startswith("namesakes: legacy")


def test_a_project_with_an_environment_of_its_own_may_have_namesakes(tmp_path: Path) -> None:
    environ = {"MIGRATOR_PYTHON": str(project_python(tmp_path / "venv"))}
    project = make_project(tmp_path / "project", NAMESAKES, environ)
    done = project.migrator("parity-check", "--format", "json")
    outcomes = {item["case"]: item["outcome"] for item in json.loads(done.stdout)["parity"]["comparisons"]}
    assert (outcomes["quote"], outcomes["discount"]) == ("matched", "matched"), done.stderr


@pytest.mark.parametrize("way", ["PYTHONPATH", "module", "both"])
def test_no_module_of_the_project_takes_the_place_of_the_tools(way: str, tmp_path: Path) -> None:
    names = ["checks.py", "codemods.py", "click.py", "msgspec.py", "libcst.py", "orjson.py", "rich.py", "tomlkit.py"]
    project = make_project(tmp_path, {**SRC_ROOT, **dict.fromkeys(names, BROKEN)})
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if way != "module":
        environ["PYTHONPATH"] = str(tmp_path)
    command = [str(MIGRATOR)] if way == "PYTHONPATH" else [sys.executable, "-m", "migrator"]
    for words, codes in ((["rewrite-imports", "--diff"], (0, 1)), (["init", "--force"], (0, 1))):
        done = subprocess.run(
            [*command, *words], cwd=project.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in codes, done.stderr
        assert "Traceback" not in done.stderr and done.stdout


@pytest.mark.parametrize("module", [False, True], ids=["pytest", "python -m pytest"])
def test_a_projects_own_tests_run_beside_the_plugin(module: bool, tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "__init__.py").write_text("")
    (tmp_path / "checks" / "limits.py").write_text("LARGEST = 5\n")
    (tmp_path / "conftest.py").write_text("")
    (tmp_path / "test_limits.py").write_text(
        "import sys\nfrom checks.limits import LARGEST\n\n\ndef test_limits():\n    assert LARGEST == 5\n"
        "    assert not [name for name in sys.modules if name.startswith(('codemods', 'migrator.plan'))]\n"
    )
    done = pytest_in(tmp_path, module=module)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pytest_is_refused_where_two_packages_are_called_migrator(tmp_path: Path) -> None:
    (tmp_path / "migrator").mkdir()
    (tmp_path / "migrator" / "plan.py").write_text("OFFSET = 1\n")
    (tmp_path / "test_plan.py").write_text(
        "from migrator.plan import OFFSET\n\n\ndef test_plan():\n    assert OFFSET\n"
    )
    done = pytest_in(tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stderr.strip().startswith(f"ERROR: {tmp_path / 'migrator'}: the project has a package")


def test_pytest_with_parity_is_refused_beside_a_namesake(tmp_path: Path) -> None:
    project = make_project(tmp_path, NAMESAKES)
    done = pytest_in(project.folder, "--parity")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "the project has a package" in done.stderr


def test_another_system_is_told_in_one_sentence(tmp_path: Path) -> None:
    script = "import sys\nsys.platform = 'win32'\nfrom migrator.__main__ import main\nmain()\n"
    done = Project(folder=tmp_path).run(sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: this system: migrator runs on Linux and macOS (found win32); on Windows, run it in WSL\n"
    )
