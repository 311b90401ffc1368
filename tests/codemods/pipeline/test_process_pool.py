"""Several processes give what one gives, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from corpus_project import make_project
from in_place import make_in_place

from codemods.pipeline import process_pool, worker
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.errors import MigratorError

SEND = "from legacy.actors import add_actor\n\nadd_actor.send(1, 2)\n"
FILES = {
    **{f"src/m{number}.py": SEND + f"x = {number}\n" for number in range(12)},
    "src/shop/__init__.py": "from legacy.actors import quote_actor as ask\n",
    "src/user.py": "import shop\n\nshop.ask.send('A')\n",
    "src/bad.py": "from legacy.actors import (\n",
    "src/left.py": "from legacy.actors import old_actor\n\nold_actor.send()\n",
}


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "_WORTH_BYTES", 1)
    monkeypatch.setattr(process_pool, "_processors", lambda: 3)


def test_several_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_project(tmp_path, FILES)
    alone = rewrite(plan, mode=Mode.CHECK)
    monkeypatch.setattr(process_pool, "_WORTH_BYTES", 1)
    monkeypatch.setattr(process_pool, "_processors", lambda: 3)
    together = rewrite(plan, mode=Mode.CHECK)
    assert (together.changed, together.findings, together.unparsable) == (
        alone.changed,
        alone.findings,
        alone.unparsable,
    )
    assert {change.shown for change in together.changed} >= {"src/m11.py", "src/user.py"}


def test_a_module_of_actors_is_parsed_once_and_its_callers_know_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors = "import dramatiq\n\n\n@dramatiq.actor\ndef work(x): ...\n\n\n"
    actors += "@dramatiq.actor(**options())\ndef odd(x): ...\n"
    caller = "import jobs\n\njobs.work.send(1)\njobs.odd.send(1)\n"
    plan = make_in_place(tmp_path, {"work": ["x"], "odd": ["x"]}, {"jobs.py": actors, "caller.py": caller})
    parsed: list[str] = []
    parse = worker.parse
    monkeypatch.setattr(worker, "parse", lambda file, data: parsed.append(file.name) or parse(file, data))
    alone = rewrite(plan, mode=Mode.CHECK)
    assert sorted(parsed) == ["broker.py", "caller.py", "jobs.py"]
    after = {change.shown: change.after.decode() for change in alone.changed}
    assert after["caller.py"] == caller.replace("work.send(1)", "work.delay(1)")
    monkeypatch.setattr(process_pool, "_WORTH_BYTES", 1)
    monkeypatch.setattr(process_pool, "_processors", lambda: 3)
    together = rewrite(plan, mode=Mode.CHECK)
    assert (together.changed, together.findings) == (alone.changed, alone.findings)


@pytest.mark.usefixtures("several")
def test_no_process_is_left(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    rewrite(make_project(tmp_path, FILES), mode=Mode.CHECK)
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _gone, alive = psutil.wait_procs(left, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_dies_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    plan = make_project(tmp_path, FILES)
    original = process_pool.ProcessPool.survey

    def survey(self: process_pool.ProcessPool, index: object) -> object:
        first = self.process
        assert first is not None and first.pid is not None
        found = [psutil.Process(first.pid)]
        end = time.monotonic() + 60
        while len(found) < 3 and time.monotonic() < end:
            found = [psutil.Process(first.pid), *psutil.Process(first.pid).children()]
        os.kill(found[which].pid, signal.SIGKILL)
        return original(self, index)  # type: ignore[arg-type]

    monkeypatch.setattr(process_pool.ProcessPool, "survey", survey)
    with pytest.raises(MigratorError, match="nothing was written"):
        rewrite(plan)
    assert (tmp_path / "src/m1.py").read_text().startswith(SEND)


def test_killed_it_leaves_no_worker_waiting(tmp_path: Path) -> None:
    plan = make_project(tmp_path, FILES)
    child = f"""
import time
from pathlib import Path
from codemods.pipeline import process_pool
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
process_pool._WORTH_BYTES, process_pool._processors, process_pool._PARENT_POLL_S = 1, lambda: 3, 0.2
def survey(self, index):
    print("here", flush=True)
    time.sleep(120)
process_pool.ProcessPool.survey = survey
rewrite(load_plan(Path({str(plan.file)!r})), mode=Mode.CHECK)
"""
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"here\n"
        family = psutil.Process(running.pid).children(recursive=True)
        assert family
        running.kill()
        running.wait(timeout=30)
        _gone, alive = psutil.wait_procs(family, timeout=60)
    assert not [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
