"""The command group: help without imports, mistyped names, errors as one sentence with the documented exit code."""

from __future__ import annotations

import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from migrator.cli.main import COMMANDS
from migrator.cli.output import run

MIGRATOR = Path(sys.executable).with_name("migrator")


def migrator(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MIGRATOR, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_its_summary_and_an_example(name: str, tmp_path: Path) -> None:
    module, line = COMMANDS[name]
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=200) == line
    assert "Example: migrator " + name in (command.help or "")


def test_help_imports_no_command_and_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.argv = ['migrator', '--help']\nfrom migrator.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code\n"
        "heavy = {'rich', 'celery', 'django', 'dramatiq', 'redis', 'libcst', 'migrator.plan'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in COMMANDS)


def test_a_mistyped_command_gets_a_suggestion(tmp_path: Path) -> None:
    result = migrator(tmp_path, "rolback")
    assert result.returncode == 2
    assert "did you mean 'rollback'?" in result.stderr


def test_an_error_is_one_sentence_on_stderr(tmp_path: Path) -> None:
    result = migrator(tmp_path, "workers", "list")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "there is no plan here" in result.stderr and "Traceback" not in result.stderr


def test_an_error_is_a_json_document_with_format_json(tmp_path: Path) -> None:
    result = migrator(tmp_path, "status", "--format", "json")
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == 2
    assert "there is no plan here" in document["error"]


def test_every_problem_of_a_plan_is_printed(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text('[migration]\nnam = "x"\n')
    result = migrator(tmp_path, "status")
    assert result.returncode == 2
    assert "migration.nam: is not a known key (did you mean 'name'?)" in result.stderr
    assert "project: is missing" in result.stderr


def test_the_plan_is_found_in_a_parent_folder(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text("[[[")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert str(tmp_path / "migration.toml") in migrator(inner, "status").stderr


def test_a_permission_error_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def command() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/.migrator/lock")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["migrator"])
        assert run(command) == 4
    assert capsys.readouterr().err == (
        "error: /srv/.migrator/lock: no permission (Permission denied); "
        "run the same command again as the user that owns it\n"
    )
