"""Measure the source rewrite on a large tree, beside LibCST's own rename and beside only reading the files.

The tree is built from the packages that are installed: 2,500 Python files, about 700,000 lines, 40 of which mention
the legacy names. Run: ``python benchmarks/rewrite.py [--without-libcst] [--files 2500]``.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PLAN = """
[migration]
name = "benchmark"
[project]
root = "src"
settings = "conf.settings"
retire = ["src/legacy/actors.py"]
[legacy.dramatiq]
broker = "redis://localhost/0"
queues = ["default"]
modules = ["legacy.actors"]
[unified]
broker = "redis://localhost/0"
queues = ["unified"]
[[task]]
name = "u.add"
path = "work.unified.add"
parameters = ["x", "y"]
  [[task.replaces]]
  system = "dramatiq"
  name = "add_actor"
  path = "legacy.actors.add_actor"
  parameters = ["x", "y"]
"""
MENTIONS = 40


def build_tree(folder: Path, files: int) -> tuple[int, int]:
    """Copy installed modules until there are enough; return the number of files and lines."""
    source = Path(sysconfig.get_path("purelib"))
    lines = count = mentioned = 0
    for file in sorted(source.rglob("*.py")):
        data = file.read_bytes()
        if count == files:
            break
        if b"dramatiq" in data or not 20 < data.count(b"\n") < 3000 or "migrations" in file.parts:
            continue
        due = mentioned < MENTIONS and count >= mentioned * (files // MENTIONS)
        if due and b"from __future__" not in data and data.isascii():
            mentioned += 1
            data = data.rstrip(b"\n") + b"\n\nfrom legacy.actors import add_actor\n\nadd_actor.send(1, 2)\n"
        target = folder / "src" / f"p{count // 50}" / f"m{count}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        lines += data.count(b"\n")
        count += 1
    (folder / "src/legacy").mkdir()
    (folder / "src/legacy/__init__.py").write_text("")
    (folder / "src/legacy/actors.py").write_text("import dramatiq\n@dramatiq.actor\ndef add_actor(x, y): ...\n")
    (folder / "migration.toml").write_text(PLAN)
    return count, lines


def timed(action: Callable[[], object], *, times: int = 1) -> tuple[float, float, object]:
    """Return the shortest of several runs in seconds, its processor time with children, and the last result."""
    best, used, result = float("inf"), 0.0, None
    for _ in range(times):
        before, started = processor_s(), time.perf_counter()
        result = action()
        elapsed = time.perf_counter() - started
        if elapsed < best:
            best, used = elapsed, processor_s() - before
    return best, used, result


def processor_s() -> float:
    """Return the processor time of this process and its ended children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def read_and_scan(folder: Path) -> int:
    """Read every file and search it for the names: the least that any tool must do."""
    words = [b"add_actor", b"legacy.actors", b"dramatiq", b"send_with_options", b"message_with_options"]
    found = 0
    for file in sorted(folder.rglob("*.py")):
        data = file.read_bytes()
        found += any(word in data for word in words)
    return found


def libcst_rename(folder: Path) -> int:
    """Rename one name with LibCST's own command."""
    (folder / ".libcst.codemod.yaml").write_text(
        "generated_code_marker: 'written-by-no-generator'\nformatter: ['cat']\nmodules: ['libcst.codemod.commands']\n"
    )
    command = [sys.executable, "-m", "libcst.tool", "codemod", "rename.RenameCommand", "--no-format"]
    command += ["--old_name", "legacy.actors.add_actor", "--new_name", "work.unified.add", "src"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600, check=False)
    print("    " + " / ".join(done.stderr.strip().splitlines()[-6:]))
    return done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2500)
    parser.add_argument("--without-libcst", action="store_true")
    options = parser.parse_args()
    from codemods.runner import Mode, rewrite
    from migrator.plan import load_plan

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tree"
        folder.mkdir()
        files, lines = build_tree(folder, options.files)
        plan = load_plan(folder / "migration.toml")
        print(f"{files} files, {lines} lines, {read_and_scan(folder)} mention the names")
        scanned, scanned_cpu, _ = timed(lambda: read_and_scan(folder), times=5)
        print(f"  read and scan      {scanned:8.2f} s  {scanned_cpu:8.2f} s of processor")
        ours, ours_cpu, report = timed(lambda: rewrite(plan, mode=Mode.CHECK), times=3)
        print(f"  migrator (check)   {ours:8.2f} s  {ours_cpu:8.2f} s of processor, {ours / scanned:.1f} x reading")
        print(f"    {report.counts}")
        copy = Path(name) / "copy"
        shutil.copytree(folder, copy)
        written, written_cpu, _ = timed(lambda: rewrite(load_plan(copy / "migration.toml")))
        print(f"  migrator (write)   {written:8.2f} s  {written_cpu:8.2f} s of processor")
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        print(f"  memory             {size:8.0f} MiB")
        if not options.without_libcst:
            theirs, theirs_cpu, _ = timed(lambda: libcst_rename(folder))
            print(f"  libcst rename      {theirs:8.2f} s  {theirs_cpu:8.2f} s of processor, {theirs / ours:.0f} x ours")


if __name__ == "__main__":
    main()
