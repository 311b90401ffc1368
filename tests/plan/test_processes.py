"""Processes in the plan: which driver, and only the keys that mean something with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.errors import PlanError
from migrator.plan.command_line import ShellLine, split_line
from migrator.plan.loader import load_plan
from migrator.plan.processes import Driver

SHOP = Path(__file__).parents[1] / "steps/data/shop/migration.toml"


def plan_file(folder: Path, lines: str, *, process: str = "old-web") -> Path:
    text = SHOP.read_text()
    name = f'name = "{process}"\n'
    assert name in text
    file = folder / "migration.toml"
    file.write_text(text.replace(name, f"{name}{lines}\n"))
    return file


def problems(folder: Path, lines: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        load_plan(plan_file(folder, lines))
    return [problem.partition(": process[3].")[2] for problem in caught.value.problems]


def test_a_process_is_a_command_of_our_own_unless_it_says_otherwise() -> None:
    assert {process.driver for process in load_plan(SHOP).processes} == {Driver.COMMAND}
    assert {process.manager for process in load_plan(SHOP).processes} == {""}


def test_supervisor_and_systemd(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, 'driver = "supervisor"\nprogram = "shop:web"'))
    web = plan.processes[3]
    assert (web.driver, web.program) == (Driver.SUPERVISOR, "shop:web")
    assert web.manager == "${SUPERVISOR_URL:-unix:///var/run/supervisor.sock}"
    plan = load_plan(plan_file(tmp_path, 'driver = "systemd"\nunit = "shop-web.service"\nmanager = "user"'))
    assert (plan.processes[3].unit, plan.processes[3].manager) == ("shop-web.service", "user")


def test_a_command_may_only_be_missing_when_somebody_else_has_it(tmp_path: Path) -> None:
    text = SHOP.read_text()
    command = next(line for line in text.splitlines() if line.startswith("command") and '"legacy"' in line)
    file = tmp_path / "migration.toml"
    file.write_text(text.replace(command, ""))
    with pytest.raises(PlanError, match=r"process\[3\]\.command: is missing"):
        load_plan(file)
    file.write_text(text.replace(command, 'driver = "systemd"\nunit = "web.service"'))
    assert load_plan(file).processes[3].command == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('driver = "supervisord"', "driver: 'supervisord' is not known (did you mean 'supervisor'?)"),
        ('driver = "supervisor"', "program: is missing"),
        ('driver = "systemd"', "unit: is missing"),
        ('program = "web"', "program: needs `driver = 'supervisor'` (the driver is 'command')"),
        ('unit = "web.service"', "unit: needs `driver = 'systemd'` (the driver is 'command')"),
        ('manager = "user"', "manager: needs a driver that has one (`driver = 'supervisor'` or `'systemd'`)"),
        ('driver = "systemd"\nunit = "web@*"', "unit: names several processes (give each its own [[process]])"),
        ('driver = "supervisor"\nprogram = "shop:*"', "program: names several processes"),
        (
            'driver = "systemd"\nunit = "a.service"\nmanager = "root"',
            "manager: needs 'system' or 'user' (found 'root')",
        ),
        (
            'driver = "supervisor"\nprogram = "web"\npidfile = "web.pid"',
            "pidfile: is not used with driver 'supervisor' (it is in the configuration of supervisor)",
        ),
        (
            'driver = "supervisor"\nprogram = "web"\nenvironment = { A = "1" }',
            "environment: is not used with driver 'supervisor'",
        ),
    ],
)
def test_what_means_nothing_is_a_problem(tmp_path: Path, lines: str, expected: str) -> None:
    found = problems(tmp_path, lines)
    assert any(problem.startswith(expected) for problem in found), found


def test_a_line_is_split_and_never_run_by_a_shell(tmp_path: Path) -> None:
    text = SHOP.read_text()
    command = next(line for line in text.splitlines() if line.startswith("command") and '"legacy"' in line)
    line = """A=1 B='two words' exec {python} web.py "the legacy one" 127.0.0.1:${SHOP_PORT:-80 00} --x=\\\\'y"""
    file = tmp_path / "migration.toml"
    file.write_text(text.replace(command, f'shell = """{line}"""'))
    web = load_plan(file).processes[3]
    assert web.command == ("{python}", "web.py", "the legacy one", "127.0.0.1:${SHOP_PORT:-80 00}", "--x='y")
    assert web.environment == {"A": "1", "B": "two words"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("celery -A x worker -n w@%h", ("celery", "-A", "x", "worker", "-n", "w@%h")),
        ("run --url ${URL:-http://a?b=c&d='}/${B}", ("run", "--url", "${URL:-http://a?b=c&d='}/${B}")),
        ("run 'a; b' \"c && d\" e\\ f", ("run", "a; b", "c && d", "e f")),
        ("run --opt=a,b:c # d", ("run", "--opt=a,b:c", "#", "d")),
    ],
)
def test_lines_that_are_plain_commands(line: str, words: tuple[str, ...]) -> None:
    assert split_line(line) == ShellLine(words=words)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("cd src && celery worker", "changes the folder"),
        ("celery worker && celery beat", "uses '&&'"),
        ("celery worker > log 2>&1", "uses '>'"),
        ("celery worker &", "uses '&'"),
        ("cat x | celery worker", "uses '|'"),
        ("celery worker; celery beat", "uses ';'"),
        ("celery -A $APP worker", "uses $APP"),
        ("celery -n $(hostname)", "runs a command inside"),
        ("celery -n `hostname`", "runs a command inside"),
        ("celery -A *.py", "has '*.py'"),
        ("~/venv/bin/celery worker", "has '~/venv/bin/celery'"),
        ("celery 'worker", "can't be split"),
        ("A=1", "names no command"),
    ],
)
def test_lines_that_only_a_shell_understands(line: str, problem: str) -> None:
    found = split_line(line)
    assert problem in found.problem
    assert found.words == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('shell = "web.py"', "shell: is given beside `command`"),
        ('shell = "a | b"', "shell: uses '|', which only a shell understands"),
    ],
)
def test_a_shell_line_that_is_refused(tmp_path: Path, lines: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(tmp_path, lines))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('"celery -A x worker"', "command: needs a list of arguments (as a line it is `shell = 'celery -A x worker'`)"),
        ('["bash", "-c", "celery worker"]', "command: runs bash, which does not pass SIGTERM on"),
    ],
)
def test_a_command_that_is_a_line_in_disguise(tmp_path: Path, command: str, expected: str) -> None:
    text = SHOP.read_text()
    old = next(line for line in text.splitlines() if line.startswith("command") and '"legacy"' in line)
    file = tmp_path / "migration.toml"
    file.write_text(text.replace(old, f"command = {command}"))
    with pytest.raises(PlanError) as caught:
        load_plan(file)
    found = [problem.partition(": process[3].")[2] for problem in caught.value.problems]
    assert any(problem.startswith(expected) for problem in found), found
