"""Interrupt a rewrite, or its undo, before every single thing that it does to a file; a script of its own.

``python kill_loop.py FOLDER SIGNAL rewrite|undo`` forks one process for each place, and prints how many there were.
Source: https://docs.python.org/3/library/audit_events.html
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import libcst  # noqa: F401  # where it is imported already, no process is started for it: one that is killed is enough
from corpus_project import make_project

from codemods.files.locking import locked
from codemods.files.writer import pending, recover
from codemods.runner import rewrite
from codemods.undo import undo_rewrite
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

FILES = {
    "src/a.py": "from legacy.actors import add_actor\n\nadd_actor.send(1, 2)\n",
    "src/b/c.py": "",
    "src/d.py": "x=1\n",
}
FILES["src/b/c.py"] = FILES["src/a.py"]
CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"})
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST = 400


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file outside the state folder."""
    found = (file for file in folder.rglob("*") if file.is_file() and ".migrator" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def killed_at(place: int, number: signal.Signals, action: Callable[[Plan], object], plan: Plan) -> bool:
    """Run an action in a process that gets a signal before its n-th change; return whether it got there."""
    child = os.fork()
    if child == 0:
        count = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
                count += 1
                if count == place:
                    os.kill(os.getpid(), number)

        sys.addaudithook(watch)
        try:
            action(plan)
        except KeyboardInterrupt:
            os._exit(7)
        os._exit(7 if count >= place else 0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == number, status
        return True
    assert os.WEXITSTATUS(status) in {0, 7}, status
    return os.WEXITSTATUS(status) == 7


def main(folder: Path, number: signal.Signals, what: str) -> None:
    action: Callable[[Plan], object] = undo_rewrite if what == "undo" else rewrite
    start = folder / "start"
    plan = make_project(start, FILES)
    old = contents(start)
    done = folder / "done"
    shutil.copytree(start, done)
    rewrite(load_plan(done / "migration.toml"))
    new = contents(done)
    assert old != new and plan.folder == start
    for place in range(1, MOST):
        tree = folder / "tree"
        shutil.copytree(done if what == "undo" else start, tree)
        there = load_plan(tree / "migration.toml")
        reached = killed_at(place, number, action, there)
        if not pending(there):
            assert contents(tree) in (old, new), f"place {place}: neither old nor new, and nothing says so"
        assert number == signal.SIGKILL or not pending(there), f"place {place}: an interrupt left work to do"
        with locked(there):
            recover(there)
        assert contents(tree) in (old, new), f"place {place}: neither old nor new"
        action(there)
        assert contents(tree) == (old if what == "undo" else new), f"place {place}: can't be done again"
        shutil.rmtree(tree)
        if not reached:
            print(place - 1)
            return
    raise SystemExit("it never ended by itself")


if __name__ == "__main__":
    main(Path(sys.argv[1]), signal.Signals[sys.argv[2]], sys.argv[3])
