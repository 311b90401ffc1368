"""Measure `migrator rewrite-imports --check` on a large tree, beside two other things that run on the same tree.

The tree is built from the packages that are installed: 2,500 Python files, about 700,000 lines, 40 of which mention
the legacy names. Files that mention Dramatiq or Celery are left out: they are the libraries themselves, which no
project has among its own files. What is compared, each as a process of its own from start to end, interleaved:

- *scan*: a Python process that lists the same folder, reads every Python file and searches it for the names with one
  compiled regular expression; the least that a tool in Python must do;
- *migrator*: the whole command, with reading the plan, checking it against the source, and every rewrite;
- *libcst* (``--libcst``, many minutes): ``python -m libcst.tool codemod rename.RenameCommand`` renaming one name there.

Measured on two busy cores: for a tenth of the files (79,854 lines) LibCST's command used 111 s of processor, and
migrator 1.7 s for all 2,500 of them; the scan used 0.3 s. The whole tree was not given to LibCST there.

Times are from start to end; processor times of all processes stand beside them, because on a busy machine only those
tell something.

Memory is the largest sum of the resident sizes of the command and its children, in a run of its own.
Run: ``python benchmarks/bench_rewrite.py [--libcst] [--files 2500] [--rounds 7] [--keep FOLDER]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
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
LINES_PER_FILE = range(20, 1700)
LIMIT_MIB = 300

SCAN = r"""
import os, re, sys
names = re.compile(rb"\b(?:add_actor|legacy\.actors|dramatiq|send_with_options|message_with_options)\b")
found = seen = 0
for folder, folders, files in os.walk(sys.argv[1]):
    for name in files:
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as stream:
                found += names.search(stream.read()) is not None
            seen += 1
print(seen, found)
"""


def build_tree(folder: Path, files: int) -> tuple[int, int]:
    """Copy installed modules until there are enough; return the number of files and lines."""
    source = Path(sysconfig.get_path("purelib"))
    lines = count = mentioned = 0
    for file in sorted(source.rglob("*.py")):
        data = file.read_bytes()
        if count == files:
            break
        foreign = b"dramatiq" in data or b"celery" in data.lower()
        if foreign or data.count(b"\n") not in LINES_PER_FILE or "migrations" in file.parts:
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


def timed(command: list[str], folder: Path, *, timeout_s: float = 600) -> tuple[float, float]:
    """Return how long a process takes from its start to its end, and the processor time of it and its children."""
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    elapsed, after = time.perf_counter() - started, os.times()
    if done.returncode not in {0, 1} or "Traceback" in done.stderr:
        sys.exit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return elapsed, used


def memory_mib(command: list[str], folder: Path) -> float:
    """Return the largest sum of resident sizes of a process and its children."""
    import psutil

    largest = 0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                family = [seen, *seen.children(recursive=True)]
                largest = max(largest, sum(member.memory_info().rss for member in family))
            time.sleep(0.002)
    return largest / (1 << 20)


def libcst_rename(folder: Path) -> tuple[float, str]:
    """Rename one name with LibCST's own command; return seconds and the last lines that it says."""
    (folder / ".libcst.codemod.yaml").write_text(
        "generated_code_marker: 'written-by-no-generator'\nformatter: ['cat']\nmodules: ['libcst.codemod.commands']\n"
    )
    command = [sys.executable, "-m", "libcst.tool", "codemod", "rename.RenameCommand", "--no-format"]
    command += ["--old_name", "legacy.actors.add_actor", "--new_name", "work.unified.add", "src"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=7200, check=False)
    return time.perf_counter() - started, " / ".join(done.stderr.strip().splitlines()[-6:])


def measure(folder: Path, rounds: int, *, with_libcst: bool) -> int:
    """Print the table; return 1 if the memory is over its limit."""
    scan = [sys.executable, "-c", SCAN, "src"]
    ours = [str(Path(sys.executable).parent / "migrator"), "rewrite-imports", "--check"]
    timed(scan, folder)
    timed(ours, folder)
    pairs = [(timed(scan, folder), timed(ours, folder)) for _ in range(rounds)]
    for name, runs in zip(("scan", "migrator"), zip(*pairs, strict=True), strict=True):
        took, used = (statistics.median(column) for column in zip(*runs, strict=True))
        best = min(elapsed for elapsed, _ in runs)
        print(f"  {name:9} {took:8.3f} s   best {best:.3f}, of processor {used:.3f} (medians of {rounds})")
    size = memory_mib(ours, folder)
    for column, what in enumerate(("time", "processor")):
        ratio = statistics.median(mine[column] / base[column] for base, mine in pairs)
        print(f"            {ratio:8.2f} x   the scan, {what} (median of the interleaved pairs)")
    print(f"            {size:8.0f} MiB with children (limit {LIMIT_MIB})")
    if with_libcst:
        took = statistics.median(mine[0] for _, mine in pairs)
        theirs, said = libcst_rename(folder)
        print(f"  libcst    {theirs:8.1f} s   {theirs / took:.0f} x migrator; it says: {said}")
    return int(size > LIMIT_MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--libcst", action="store_true")
    parser.add_argument("--keep", type=Path, help="build the tree here, or use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        if not (folder / "migration.toml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            files, lines = build_tree(folder, options.files)
            print(f"{files} files, {lines} lines, {MENTIONS} mention the names")
        sys.exit(measure(folder, options.rounds, with_libcst=options.libcst))


if __name__ == "__main__":
    main()
