"""What `inspect` lists and `init` drafts on projects that nobody has seen, and what becomes of an unedited draft."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import SRC_ROOT, make_project

COMMANDS = (
    "status",
    "rewrite-imports --check",
    "rewrite-imports",
    "parity-check",
    "rehearse",
    "cutover --yes",
    "cutover --dry-run",
    "rollback --yes",
    "complete",
    "workers list",
    "transfer --dry-run",
    "dlq list",
)


def test_open_decisions_are_refused_by_every_command_with_their_lines(tmp_path: Path) -> None:
    plan = SRC_ROOT["migration.toml"]
    plan = plan.replace('broker = "redis://127.0.0.1:6379/1"', 'broker = "DECIDE: which server"')
    plan += '\n[[retired_schedule]]\nname = "shop.celery:weekly"\nreason = "DECIDE: why"\n'
    project = make_project(tmp_path, {**SRC_ROOT, "migration.toml": plan})
    lines = [index for index, line in enumerate(plan.splitlines(), 1) if "DECIDE" in line]
    for command in COMMANDS:
        done = project.migrator(*command.split())
        assert done.returncode == 2, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        for line in lines:
            assert f"line {line}: " in done.stderr, f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr
    assert project.changed() == ""


@pytest.mark.parametrize("command", ["cutover --dry-run", "cutover --yes", "rehearse --no-waiting"])
def test_a_plan_without_workers_is_refused_in_words(tmp_path: Path, command: str) -> None:
    done = make_project(tmp_path, SRC_ROOT).migrator(*command.split())
    assert done.returncode in (2, 3, 4), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for missing in ("no unified worker", "no legacy dramatiq worker", "no legacy celery worker"):
        assert missing in done.stdout + done.stderr


def test_all_that_can_not_hold_is_listed_in_one_go(tmp_path: Path) -> None:
    plan = SRC_ROOT["migration.toml"]
    plan = plan.replace("0 3 * * *", "0 25 * * *").replace('broker = "redis://127.0.0.1:6379/1"', 'broker = "http://x"')
    plan = plan.replace('settings = "shop.settings"', 'settings = "shop/settings.py"').replace(
        'root = "src"', 'root = "/"'
    )
    done = make_project(tmp_path, {**SRC_ROOT, "migration.toml": plan}).migrator("status")
    assert done.returncode == 2
    for where in ("project.root", "project.settings", "legacy.dramatiq.broker", "schedule[0].crontab"):
        (problem,) = (line for line in done.stderr.splitlines() if f": {where}: " in line)
        number = int(problem.strip().removeprefix("line ").partition(":")[0])
        assert plan.splitlines()[number - 1].startswith(where.rpartition(".")[2])
