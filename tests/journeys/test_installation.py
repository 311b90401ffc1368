"""The README's ways to install, from the built wheel, each in an empty home; and what the wheel brings and lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from own_environment import interpreter
from small_projects import IN_PLACE, SRC_ROOT, make_project

from migrator.embedded_redis import EmbeddedServer

ROOT = Path(__file__).parents[2]
NAME = "taskqueue-migrator"
PACKAGES = ("migrator", "codemods", "checks")
COMMANDS = re.findall(r"(?s)```bash\n(.*?)```", (ROOT / "README.md").read_text())[0].splitlines()
# What the fixtures build takes long: once for all.
pytestmark = [pytest.mark.installation, pytest.mark.xdist_group("installation")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True, timeout=170
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def lowest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the lowest versions that are declared."""
    folder = tmp_path_factory.mktemp("lowest") / "venv"
    venv.create(folder)
    uv = [Path(sys.executable).with_name("uv"), "pip", "install", "-q", "--resolution", "lowest-direct"]
    subprocess.run([*uv, "-p", folder / "bin" / "python", wheel], check=True, capture_output=True, timeout=170)
    return folder / "bin"


def call(*command: str | Path, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command,
        cwd=folder,
        env={**own, "NO_COLOR": "1", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("command", COMMANDS, ids=["pipx", "uv", "venv"])
def test_each_way_of_the_readme_installs_the_command(command: str, version: str, wheel: Path, tmp_path: Path) -> None:
    home, programs, python = tmp_path / "home", tmp_path / "programs", interpreter(version)
    programs.mkdir()
    (programs / "python3").symlink_to(python)
    for name in ("pipx", "uv"):
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    caches = {"UV_CACHE_DIR": ".cache/uv", "PIP_CACHE_DIR": ".cache/pip"}
    environ = {
        "HOME": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
        "PIPX_DEFAULT_PYTHON": str(python),
        "UV_PYTHON": str(python),
        "PIP_NO_COMPILE": "1",  # of what is imported once, each module is compiled then
        **{name: os.environ.get(name) or str(Path.home() / path) for name, path in caches.items()},
    }
    home.mkdir()
    done = call("bash", "-c", command.replace(NAME, str(wheel)), folder=tmp_path, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    (migrator,) = {*home.glob(".local/bin/migrator"), *home.glob("migrator/bin/migrator")}
    project = make_project(tmp_path / "project", SRC_ROOT)
    assert call(migrator, "--version", folder=tmp_path, **environ).stdout.startswith("migrator, version ")
    drafted = make_project(tmp_path / "drafted", IN_PLACE)
    listed = call(migrator, "inspect", folder=drafted.folder, **environ)
    assert listed.returncode == 0 and "ping" in listed.stdout, listed.stderr
    rewritten = call(migrator, "rewrite-imports", folder=project.folder, **environ)
    assert "from orders.tasks import" in (project.folder / "src/orders/views.py").read_text(), rewritten.stderr
    same = call(migrator.resolve().with_name("python"), "-m", "migrator", "--version", folder=project.folder, **environ)
    assert same.stdout.startswith("migrator, version "), same.stderr


def test_the_lowest_versions_work(lowest: Path, redis_server: EmbeddedServer, tmp_path: Path) -> None:
    drafted = make_project(tmp_path / "drafted", IN_PLACE)
    init = call(lowest / "migrator", "init", folder=drafted.folder)
    assert init.returncode in (0, 1), init.stderr
    assert tomllib.loads((drafted.folder / "migration.toml").read_text())["task"][0]["name"] == "app.tasks.ping"
    files = {name: text.replace("127.0.0.1:6379", f"127.0.0.1:{redis_server.port}") for name, text in SRC_ROOT.items()}
    project = make_project(tmp_path / "written", files)
    listed = call(lowest / "migrator", "inspect", folder=project.folder)
    assert listed.returncode == 0 and "orders.old_tasks.report" in listed.stdout, listed.stderr
    rewritten = call(lowest / "migrator", "rewrite-imports", folder=project.folder)
    assert "from orders.tasks import" in (project.folder / "src/orders/views.py").read_text(), rewritten.stderr
    moved = call(lowest / "migrator", "transfer", "--dry-run", folder=project.folder)
    assert moved.returncode == 0, moved.stdout + moved.stderr


def test_every_module_of_the_tool_can_be_imported_with_the_lowest_versions(lowest: Path, tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        # The agent and the app are run with the project's packages; pytest brings itself.
        if not {"agent", "tasks"} & {*path.relative_to(ROOT).parts} and path.stem != "pytest_plugin"
    ]
    script = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    done = call(lowest / "python", "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*PACKAGES}
    missing = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(ROOT).as_posix() not in names
    ]
    assert not missing


def test_the_source_distribution_holds_what_belongs_to_it(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"LICENSE", "README.md", "RUNBOOK.md", "CHANGELOG.md", "docs/glossary.md", "pyproject.toml"}
    assert expected | {"fixtures/legacy_project/migration.toml", "migrator/__main__.py"} <= names
    assert not [
        name for name in names if name.startswith(("tests", "benchmarks", ".migrator")) or "__pycache__" in name
    ]


def test_the_demo_says_what_is_missing(lowest: Path, tmp_path: Path) -> None:
    alone = call(lowest / "migrator", "demo", folder=tmp_path)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert "the sample project is not here" in alone.stderr and "--fixtures" in alone.stderr
    with_sample = call(lowest / "migrator", "demo", "--fixtures", ROOT / "fixtures", folder=tmp_path)
    assert (with_sample.returncode, with_sample.stderr.count("\n")) == (2, 1)
    assert "django, dramatiq, httpx, talib" in with_sample.stderr
    assert f"{NAME}[sample]" in with_sample.stderr
