"""Integrations of the parity check: the GitHub action, the GitLab include, the pre-commit hook, the pytest plugin.

Each test runs the commands of the integration's file, on a small project.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from shop_project import RESTOCK, add_case, complete, copy_shop, restock_case

from migrator.plan.model import Plan

ROOT = Path(__file__).parents[2]
#: The package's commands are installed next to the interpreter.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
TIMEOUT_S = 300


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = copy_shop(tmp_path)
    restock_case(plan, "same", "same")
    restock_case(plan, "ttl", "twist-ttl")
    return plan


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": PATH, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_github_action_annotates_and_summarizes(plan: Plan, tmp_path: Path) -> None:
    action = yaml.safe_load((ROOT / "integrations/github/action.yml").read_text())
    (step,) = action["runs"]["steps"]
    summary = tmp_path / "summary.md"
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    given = {"PLAN": "shop/migration.toml", "OPTIONS": "jobs.restock --no-noise", "GITHUB_STEP_SUMMARY": str(summary)}
    done = run(script, tmp_path, **given)
    assert done.returncode == 1, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert any(line.startswith("::error title=jobs.restock%3A ttl (celery)::effects.cache") for line in commands)
    assert "| jobs.restock |" in summary.read_text()


def test_the_gitlab_script_gives_its_artifacts(plan: Plan, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "integrations/gitlab/parity.yml").read_text())[".task-parity"]
    done = run(["bash", "-c", "\n".join(job["script"])], plan.folder, **job["variables"])
    assert done.returncode == 1, done.stderr
    (pattern,) = job["artifacts"]["paths"]
    assert {file.name for file in tmp_path.glob(pattern)} >= {"parity.json", "parity.html", "parity.junit.xml"}
    assert [file.name for file in tmp_path.glob(job["artifacts"]["reports"]["junit"])] == ["parity.junit.xml"]


def test_the_pre_commit_hook_runs_where_the_plan_is(plan: Plan) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    done = run([*hook["entry"].split(), "--case", "same"], plan.folder)
    assert done.returncode == 0, done.stdout + done.stderr


def pytest_run(plan: Plan, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "migrator.pytest_plugin", "-p", "no:cacheprovider", "--parity"]
    return run([*command, "--rootdir", str(plan.folder), "-c", os.devnull, *options], plan.folder)


def test_each_case_is_a_test_item(plan: Plan, tmp_path: Path) -> None:
    (plan.folder / "test_other.py").write_text("def test_other(): pass\n")
    junit = tmp_path / "junit.xml"
    done = pytest_run(plan, "-k", "same or ttl or other", f"--junitxml={junit}", "test_other.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed, 1 deselected" in done.stdout
    assert "effects.cache.stock:twist-ttl" in done.stdout
    assert "effects.cache.stock:twist-ttl" in junit.read_text()


def test_items_are_selected_as_usual(plan: Plan) -> None:
    done = pytest_run(plan, "-k", "same", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 deselected" in done.stdout


def test_workers_share_one_run(plan: Plan) -> None:
    complete(plan)
    call = {"system": "celery", "task": RESTOCK, "args": ["failing"]}
    add_case(plan, "retry", call)
    done = pytest_run(plan, "-n", "2")
    # The retry and the TTL differ, and so do policy and wire, which are not waived here.
    assert "FAILED" in done.stdout and "ttl[celery]" in done.stdout and "plan-and-waivers" in done.stdout
    logs = list((plan.state_folder / "reports" / "parity-logs").glob("*.log"))
    assert len(logs) == 6, "one run of three systems, each twice"


def test_without_the_option_nothing_is_collected(plan: Plan) -> None:
    done = run(
        [sys.executable, "-m", "pytest", "-p", "migrator.pytest_plugin", "-c", os.devnull, "--collect-only", "-q"],
        plan.folder,
    )
    assert "no tests collected" in done.stdout
