"""All files or none, nothing outside, everything can be taken back, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from corpus_project import PLAN, make_project

from codemods.files import writer
from codemods.report import Mode
from codemods.runner import rewrite
from codemods.undo import check_undo, undo_rewrite
from migrator.errors import ExitCode, InterruptedRunError, RefusedError, UsageError

SEND = "from legacy.actors import add_actor\n\nadd_actor.send(1, 2)\n"
PLAN_WITH_APP = PLAN.replace('settings = "conf.settings"', 'settings = "conf.settings"\ninstall_to = "src/tasks"')
SENT = "from work.unified import add\n\nadd.delay(1, 2)\n"


def snapshot(folder: Path) -> Mapping[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".migrator" not in file.parts
    }


def test_check_and_diff_write_nothing(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND})
    before = snapshot(tmp_path)
    for mode in (Mode.CHECK, Mode.DIFF):
        report = rewrite(plan, mode=mode)
        assert report.exit_code is ExitCode.DIFFERENCES
        assert "+add.delay(1, 2)" in report.diff
    assert snapshot(tmp_path) == before
    assert not plan.state_folder.exists()


def test_a_clean_run_exits_zero_and_undo_restores_every_byte(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND, "src/b.py": SEND})
    before = snapshot(tmp_path)
    report = rewrite(plan)
    assert report.exit_code is ExitCode.CLEAN
    assert (tmp_path / "src/app.py").read_text() == SENT
    assert check_undo(plan).ok
    assert undo_rewrite(plan) == ("src/app.py", "src/b.py")
    assert snapshot(tmp_path) == before
    assert undo_rewrite(plan) == ("src/app.py", "src/b.py")
    assert rewrite(plan).counts["files"] == 2


def test_undo_spans_several_runs(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND})
    before = snapshot(tmp_path)
    rewrite(plan)
    (tmp_path / "src/later.py").write_text(SEND)
    rewrite(plan)
    undo_rewrite(plan)
    assert snapshot(tmp_path) == {**before, "src/later.py": SEND.encode()}


def test_undo_refuses_what_was_changed_since_and_restores_nothing(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND, "src/b.py": SEND})
    rewrite(plan)
    (tmp_path / "src/b.py").write_text("x = 1\n")
    after = snapshot(tmp_path)
    assert [finding.where for finding in check_undo(plan).errors] == ["src/b.py"]
    with pytest.raises(RefusedError, match=r"src/b\.py"):
        undo_rewrite(plan)
    assert snapshot(tmp_path) == after


def test_the_undo_patch_is_one_that_git_applies(tmp_path: Path) -> None:
    files = {"src/app.py": SEND, "src/no_end.py": SEND.rstrip("\n"), "src/a b\u00e9.py": SEND}
    run = "echo lone\rreturn\r\n\ncelery -A legacy.jobs worker\n# caf\u00e9"
    plan = make_project(tmp_path, {**files, "run.sh": run, "src/tasks/celery.py": ""}, plan=PLAN_WITH_APP)
    before = snapshot(tmp_path)
    report = rewrite(plan, text=True)
    assert {change.shown for change in report.changed} == {*files, "run.sh"}
    assert report.patch is not None
    subprocess.run(["git", "apply", str(report.patch)], cwd=tmp_path, check=True, timeout=30)
    assert snapshot(tmp_path) == before


def test_a_file_that_changes_during_the_run_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND, "src/b.py": SEND})
    original = writer._prepare

    def prepare(temporary: Path, file: Path, data: bytes | None) -> None:
        original(temporary, file, data)
        (tmp_path / "src/b.py").write_text("x = 2\n")

    monkeypatch.setattr(writer, "_prepare", prepare)
    with pytest.raises(RefusedError):
        rewrite(plan)
    assert (tmp_path / "src/app.py").read_text() == SEND
    assert not list(tmp_path.rglob(".*.migrator"))


@pytest.mark.parametrize("point", ["prepare", "commit"])
def test_killed_at_any_moment_the_next_run_recovers(tmp_path: Path, point: str) -> None:
    files = {f"src/m{number}.py": SEND for number in range(5)}
    plan = make_project(tmp_path, files)
    before = snapshot(tmp_path)
    child = f"""
import os, signal, sys
from pathlib import Path
from codemods.files import writer
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
count = 0
original = {"writer._prepare" if point == "prepare" else "Path.replace"}
def dying(*args, **kwargs):
    global count
    count += 1
    if {"count > 2" if point == "prepare" else "args[0].name.endswith('.migrator') and count > 9"}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
{"writer._prepare = dying" if point == "prepare" else "Path.replace = dying"}
rewrite(load_plan(Path({str(plan.file)!r})))
"""
    done = subprocess.run([sys.executable, "-c", child], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(InterruptedRunError):
        rewrite(plan, mode=Mode.CHECK)
    rewrite(plan)
    assert all((tmp_path / name).read_text() == SENT for name in files)
    assert not list(tmp_path.rglob(".*.migrator"))
    undo_rewrite(plan)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("number", "what"), [("SIGKILL", "rewrite"), ("SIGINT", "rewrite"), ("SIGKILL", "undo")])
def test_interrupted_before_each_change_the_tree_is_old_or_new(tmp_path: Path, number: str, what: str) -> None:
    script = Path(__file__).parents[1].joinpath("kill_loop.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), number, what],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_interrupted_while_files_are_put_in_place_it_still_finishes(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {f"src/m{number}.py": SEND for number in range(5)})
    child = f"""
import os, signal
from pathlib import Path
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
original = Path.replace
def slow(self, target):
    if self.name.endswith(".migrator"):
        os.kill(os.getpid(), signal.SIGINT)
    return original(self, target)
Path.replace = slow
try:
    rewrite(load_plan(Path({str(plan.file)!r})))
except KeyboardInterrupt:
    raise SystemExit(5)
"""
    done = subprocess.run([sys.executable, "-c", child], timeout=60, check=False)
    assert done.returncode == 5
    assert rewrite(plan, mode=Mode.CHECK).changed == ()


def test_two_rewrites_at_once_are_refused(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND})
    held = f"""
import sys, time
from pathlib import Path
from codemods.files.locking import locked
from migrator.plan.loader import load_plan
with locked(load_plan(Path({str(plan.file)!r}))):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        with pytest.raises(RefusedError, match="another rewrite"):
            rewrite(plan)
        other.stdin.close()
        other.wait(timeout=20)
    assert rewrite(plan).counts["files"] == 1


def test_never_outside_the_root_nor_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "app.py").write_text(SEND)
    root = tmp_path / "project"
    plan = make_project(root, {"src/venv/lib/app.py": SEND, "src/venv/pyvenv.cfg": "", "src/app/migrations/m.py": SEND})
    (root / "src/linked").symlink_to(outside, target_is_directory=True)
    (root / "src/link.py").symlink_to(outside / "app.py")
    assert rewrite(plan).changed == ()
    assert (outside / "app.py").read_text() == SEND
    with pytest.raises(UsageError, match="outside"):
        rewrite(plan, paths=[outside])


def test_paths_restrict_what_changes(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/a/x.py": SEND, "src/b/x.py": SEND})
    report = rewrite(plan, paths=[tmp_path / "src/a"])
    assert [change.shown for change in report.changed] == ["src/a/x.py"]


def test_a_file_that_does_not_parse_is_listed_and_the_rest_is_done(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND, "src/bad.py": "from legacy.actors import (\n"})
    report = rewrite(plan)
    assert [path for path, _ in report.unparsable] == ["src/bad.py"]
    assert report.exit_code is ExitCode.DIFFERENCES
    assert (tmp_path / "src/app.py").read_text() == SENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SEND.replace("\n", "\r\n").encode(), SENT.replace("\n", "\r\n").encode()),
        (b"\xef\xbb\xbf" + SEND.encode(), b"\xef\xbb\xbf" + SENT.encode()),
        (
            f"# coding: latin-1\n# caf\xe9\n{SEND}".encode("latin-1"),
            f"# coding: latin-1\n# caf\xe9\n{SENT}".encode("latin-1"),
        ),
        (f"# café ☕\n{SEND}x = '☕'; y = 1\n".encode(), f"# café ☕\n{SENT}x = '☕'; y = 1\n".encode()),
        (f"\x0c{SEND}\n\x0c\nx = 1\n".encode(), f"\x0c{SENT}\n\x0c\nx = 1\n".encode()),
        (f"if 1:\n\tx = 1\n{SEND}".encode(), f"if 1:\n\tx = 1\n{SENT}".encode()),
        (SEND.rstrip("\n").encode(), SENT.rstrip("\n").encode()),
        (f"type X[T] = list[T]\n{SEND}".encode(), f"type X[T] = list[T]\n{SENT}".encode()),
        (f"def f[T](x: T) -> T: ...\n{SEND}".encode(), f"def f[T](x: T) -> T: ...\n{SENT}".encode()),
        (f'x = f"{{a["b"]}}"\n{SEND}'.encode(), f'x = f"{{a["b"]}}"\n{SENT}'.encode()),
        (f"try: ...\nexcept* ValueError: ...\n{SEND}".encode(), f"try: ...\nexcept* ValueError: ...\n{SENT}".encode()),
        (f"x = 1 + \\\n  2   # odd   \n{SEND}   \n\n".encode(), f"x = 1 + \\\n  2   # odd   \n{SENT}   \n\n".encode()),
    ],
)
def test_encodings_line_ends_and_new_syntax_survive(tmp_path: Path, before: bytes, after: bytes) -> None:
    plan = make_project(tmp_path, {})
    (tmp_path / "src/app.py").write_bytes(before)
    report = rewrite(plan)
    assert not report.unparsable
    assert (tmp_path / "src/app.py").read_bytes() == after


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND})
    (tmp_path / "src/app.py").chmod(0o755)
    rewrite(plan)
    assert (tmp_path / "src/app.py").stat().st_mode & 0o777 == 0o755


INSTALL = PLAN.replace(
    'settings = "conf.settings"',
    'settings = "conf.settings"\ninstall_package = "migrator.tasks"\ninstall_to = "src/tasks"',
)


def test_the_unified_app_is_installed_with_the_rewrite_and_taken_back_with_it(tmp_path: Path) -> None:
    files = {
        "src/tasks/__init__.py": "# the host's\n",
        "src/app.py": SEND,
        "src/conf/settings.py": "INSTALLED_APPS = []\n",
    }
    plan = make_project(tmp_path, files, plan=INSTALL)
    before = snapshot(tmp_path)
    report = rewrite(plan)
    assert "src/tasks/unified_tasks.py" in report.created
    assert "src/tasks/migrations/0001_initial.py" in report.created
    assert not [name for name in report.created if name.endswith("/settings.py") or "__pycache__" in name]
    assert (tmp_path / "src/tasks/__init__.py").read_text() == "# the host's\n"
    celery = (tmp_path / "src/tasks/celery.py").read_text()
    assert 'DEFAULT_SETTINGS_MODULE = "conf.settings"\n' in celery
    assert "migrator" not in celery
    again = rewrite(plan)
    assert not again.changed and not again.created
    undo_rewrite(plan)
    assert snapshot(tmp_path) == before


def test_a_file_of_the_host_is_never_overwritten(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/tasks/models.py": "# the host's own\n"}, plan=INSTALL)
    report = rewrite(plan)
    assert "EXISTS" in {finding.code for finding in report.leftovers}
    assert (tmp_path / "src/tasks/models.py").read_text() == "# the host's own\n"


def test_signals_are_delivered_again_after_writing(tmp_path: Path) -> None:
    plan = make_project(tmp_path, {"src/app.py": SEND})
    rewrite(plan)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_a_tree_that_names_nothing_is_decided_without_the_parser(tmp_path: Path) -> None:
    names = ("legacy/actors.py", "legacy/jobs.py", "conf/settings.py")
    files = {**{f"src/{name}": "" for name in names}, "src/app.py": "x = 1\n"}
    plan = make_project(tmp_path, files, plan=PLAN.replace("conf.settings", "conf.missing"))
    child = f"""
import sys
from pathlib import Path
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
assert rewrite(load_plan(Path({str(plan.file)!r})), mode=Mode.CHECK).files_seen == 4
raise SystemExit("libcst" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", child], timeout=60, check=True)
