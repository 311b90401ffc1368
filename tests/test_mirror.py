"""Each plugin has a test file of its own name in the mirrored folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.registry import kinds
from codemods.pipeline.registry import rewrites
from migrator.plan.processes import Driver
from migrator.steps.order import STEPS
from migrator.wire.message import System

ROOT = Path(__file__).parents[1]
TESTS = Path(__file__).parent
GUARDS = ROOT / "migrator" / "steps" / "guards"

#: Test folder and name of every plugin.
PLUGINS = {
    "rewrite": [("codemods/rewrites", rewrite.name) for rewrite in rewrites()],
    "step": [("steps", step.name) for step in STEPS],
    "guard": [("steps/guards", file.stem) for file in GUARDS.glob("*.py") if file.stem != "__init__"],
    "kind": [("checks/kinds", name) for name in kinds()],
    "driver": [("workers/drivers", driver.value) for driver in Driver],
    "broker": [(f"brokers/{server}", system.value) for server in ("redis", "rabbitmq") for system in System],
}

#: Plugins that only a harness over all of their kind tests; nothing may be added here.
BY_HARNESS = {
    # There, back, there again, killed after each action: no step of these has more behaviour than that.
    "steps/test_steps.py": {
        f"steps/{name}"
        for name in (
            "start_workers",
            "source",
            "quiesce_schedulers",
            "stop_producers",
            "start_producers",
            "stop_workers",
            "snapshot",
            "transfer",
            "start_scheduler",
            "verify",
            "retire_files",
        )
    },
    # One contract for every broker on every kind of server.
    "brokers/test_broker_contract.py": {
        f"brokers/{server}/{system}" for server in ("redis", "rabbitmq") for system in ("dramatiq", "celery")
    },
    # Whole parity runs over a small project.
    "checks/test_parity_shop.py": {"checks/kinds/imports", "checks/kinds/signature", "checks/kinds/wire"},
}


def test_there_are_plugins_of_each_kind() -> None:
    for what, found in PLUGINS.items():
        assert found, f"no {what} was found"


@pytest.mark.parametrize("what", PLUGINS)
def test_every_plugin_has_a_test_file_of_its_name(what: str) -> None:
    excepted = set().union(*BY_HARNESS.values())
    absent = [
        f"tests/{folder}/test_{name}.py"
        for folder, name in PLUGINS[what]
        if f"{folder}/{name}" not in excepted and not (TESTS / folder / f"test_{name}.py").exists()
    ]
    assert not absent, "write " + ", ".join(absent)


def test_every_exception_is_still_one() -> None:
    plugins = {f"{folder}/{name}" for found in PLUGINS.values() for folder, name in found}
    for harness, excepted in BY_HARNESS.items():
        assert (TESTS / harness).exists(), f"there is no {harness}"
        assert excepted <= plugins, f"no plugins any more: {sorted(excepted - plugins)}"
        files = {name: TESTS / Path(name).parent / f"test_{Path(name).name}.py" for name in sorted(excepted)}
        tested = [name for name, file in files.items() if file.exists()]
        assert not tested, f"these have a test file now, take them out: {tested}"
