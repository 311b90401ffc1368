"""The sample under load, there and back, while tool, database and workers die: the short form of the campaign.

``make chaos`` runs the long one, with more faults, Redis among them, by chance; brokers that die are in test_chaos.py.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sample_chaos import Chaos, interrupt_tool, kill_process, kill_tool
from sample_databases import SQLite
from sample_scene import open_scene, prepare

from migrator.demo.scratch import git
from migrator.runner import cutover
from migrator.runner.state import MigrationState
from migrator.wire.message import Side

#: Of the load. Everything takes longer on a busy machine, and each message sent meanwhile makes it busier.
REQUESTS_A_SECOND = 4.0


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_the_sample_there_and_back_while_everything_dies(tmp_path: Path) -> None:
    database = SQLite(file=tmp_path / "database.sqlite3")
    faults = {
        "tool": kill_tool,
        "Ctrl-C": interrupt_tool,
        "process": kill_process,
        "database": database.fault,
    }
    told: list[str] = []
    with open_scene(tmp_path, DATABASE_URL=database.url) as scene:
        chaos = Chaos(scene=scene, chance=random.Random(20261123), faults=faults, tell=told.append)
        prepare(scene, 300)
        with scene.system.load() as load:
            load.rate = REQUESTS_A_SECOND
            chaos.leg("cutover", ["tool", "database"], once=True)
            assert cutover.status(scene.system.scratch.plan, environ=scene.environ).state is MigrationState.MIGRATED
            assert scene.running(Side.LEGACY) == set()
            scene.system.enqueue(60)
            there = chaos.settle("there")
            chaos.leg("rollback", ["process", "tool", "Ctrl-C"], once=True)
            back = chaos.settle("back")
        assert chaos.outcome.clean, [chaos.outcome.line, *chaos.outcome.wrong, *told]
        assert sum(chaos.outcome.faults.values()) >= 2
        assert chaos.outcome.resumed >= 1
        assert back.enqueued > there.enqueued > 360, "it was under load"
        assert scene.running(Side.LEGACY) == scene.all_of(Side.LEGACY)
        assert scene.running(Side.UNIFIED) == set()
        folder = scene.system.scratch.plan.folder
        assert git(folder, "status", "--porcelain") == ""
        first = git(folder, "rev-list", "--max-parents=0", "HEAD").strip()
        assert git(folder, "diff", "--stat", first) == "", "the source is as it was, what was changed by hand included"
