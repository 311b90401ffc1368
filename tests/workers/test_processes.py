"""Every caller uses the plan's driver: bypassing it would send raw signals to processes that a manager restarts."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from migrator.plan.processes import Driver
from migrator.workers.drivers import command
from migrator.workers.processes import DRIVERS, DriverModule

ROOT = Path(__file__).parents[2] / "migrator"
ACTS = {"current", "start", "stop", "signal_stop", "adopt"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "migrator.workers.drivers.command":
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "migrator.workers":
            names |= ACTS & {"start"} if any(alias.name == "command" for alias in node.names) else set()
    return names


def test_nobody_bypasses_the_dispatcher() -> None:
    callers = {
        path.relative_to(ROOT).as_posix(): sorted(names)
        for path in ROOT.rglob("*.py")
        if path.name != "drivers.py" and (names := imported(path) & ACTS)
    }
    assert callers == {}


def test_every_driver_of_the_plan_has_its_module_with_every_function() -> None:
    assert set(DRIVERS) == set(Driver)
    functions = [name for name in vars(DriverModule) if not name.startswith("_")]
    assert len(functions) == 5
    for driver in DRIVERS.values():
        for name in functions:
            given = inspect.signature(getattr(driver, name))
            assert list(given.parameters) == list(inspect.signature(getattr(command, name)).parameters)
