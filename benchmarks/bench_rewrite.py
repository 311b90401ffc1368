"""Measure `migrator rewrite-imports --check` on a large tree, beside two other things that run on the same tree.

The tree is built from the packages that are installed: 2,500 Python files, about 700,000 lines, 40 of which mention
the legacy names. Files that mention Dramatiq or Celery are left out: they are the libraries themselves, which no
project has among its own files. What is compared, each as a process of its own from start to end, interleaved:

- *scan*: a Python process that lists the same folder, reads every Python file and searches it for the names with one
  compiled regular expression; the least that a tool in Python must do;
- *migrator*: the whole command, with reading the plan, checking it against the source, and every rewrite;
- *libcst* (``--libcst``, many minutes): ``python -m libcst.tool codemod rename.RenameCommand`` renaming one name there,
  with its own number of jobs. It gets ``--libcst-timeout`` seconds for the whole tree, and is then ended with its
  children: the ratio that is printed is then the least that it can be.

``--in-place`` maps the actor to itself: then its module is converted too, and the broker's settings are read.

Measured on two busy cores: for a tenth of the files (79,854 lines) LibCST's command used 111 s of processor, and
migrator 1.7 s for all 2,500 of them; the scan used 0.3 s. The whole tree was not given to LibCST there.

Times are from start to end; processor times of all processes stand beside them, because on a busy machine only those
tell something.

Memory is the largest sum of the resident sizes of the command and its children, in a run of its own.

The last row is growth: one file with ``--uses`` sends beside one with a quarter of them, rewritten in this process and
its pool. The rewrites have to be about linear in the uses of a file: with a ratio over 5 the exit code is 1.

The smallest size is ``--files 40 --rounds 1 --uses 400``.
Run: ``python benchmarks/bench_rewrite.py [--files 2500] [--rounds 7] [--uses 3200] [--libcst] [--in-place]
[--keep FOLDER]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
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
ACTORS = """import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url="redis://localhost/0"))


@dramatiq.actor
def add_actor(x, y): ...
"""
MENTIONS = 40
LINES_PER_FILE = range(20, 1700)
LIMIT_MIB = 300
LIMIT_GROWTH = 5

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


def in_place(plan: str) -> str:
    """Return the plan with the actor mapped to itself."""
    for before, after in (
        ('retire = ["src/legacy/actors.py"]\n', ""),
        ('"u.add"', '"legacy.actors.add_actor"'),
        ('"work.unified.add"', '"legacy.actors.add_actor"'),
    ):
        assert before in plan
        plan = plan.replace(before, after)
    return plan


def write_project(folder: Path) -> None:
    """Write the plan, the module that it retires, and the one that it names instead."""
    for path, text in {"legacy/actors.py": ACTORS, "work/unified.py": "def add(x, y): ...\n"}.items():
        file = folder / "src" / path
        file.parent.mkdir(parents=True)
        file.with_name("__init__.py").write_text("")
        file.write_text(text)
    (folder / "migration.toml").write_text(PLAN)


def build_tree(folder: Path, files: int) -> tuple[int, int, int]:
    """Copy installed modules until there are enough; return the number of files, of lines, and of files with names."""
    source = Path(sysconfig.get_path("purelib"))
    lines = count = mentioned = 0
    for file in sorted(source.rglob("*.py")):
        data = file.read_bytes()
        if count == files:
            break
        foreign = b"dramatiq" in data or b"celery" in data.lower()
        if foreign or data.count(b"\n") not in LINES_PER_FILE or "migrations" in file.parts:
            continue
        due = mentioned < MENTIONS and count >= mentioned * (max(files // MENTIONS, 1))
        if due and b"from __future__" not in data and data.isascii():
            mentioned += 1
            data = data.rstrip(b"\n") + b"\n\nfrom legacy.actors import add_actor\n\nadd_actor.send(1, 2)\n"
        target = folder / "src" / f"p{count // 50}" / f"m{count}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        lines += data.count(b"\n")
        count += 1
    write_project(folder)
    return count, lines, mentioned


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


def libcst_rename(folder: Path, timeout_s: float) -> tuple[float, float, bool, str]:
    """Rename one name with LibCST's own command; return seconds, those of processor, whether it ended, what it said."""
    (folder / ".libcst.codemod.yaml").write_text(
        "generated_code_marker: 'written-by-no-generator'\nformatter: ['cat']\nmodules: ['libcst.codemod.commands']\n"
    )
    command = [sys.executable, "-m", "libcst.tool", "codemod", "rename.RenameCommand", "--no-format"]
    command += ["--old_name", "legacy.actors.add_actor", "--new_name", "work.unified.add", "src"]
    started, before, ended = time.perf_counter(), os.times(), True
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        elapsed, after = time.perf_counter() - started, os.times()
        said.seek(0)
        text = said.read().replace("\r", "\n").replace("\x1b[2K", "")
    lines = [line.strip() for line in text.splitlines() if line.strip() and (not ended or "% complete" not in line)]
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return elapsed, used, ended, " / ".join(lines[-6:] if ended else lines[-1:])


def compare_libcst(folder: Path, mine_s: float, mine_used_s: float, timeout_s: float) -> None:
    """Print LibCST's time for the tree beside ours; on a copy, because it writes."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "tree"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".migrator"))
        elapsed, used, ended, said = libcst_rename(copy, timeout_s)
        changed = sum(b"work.unified" in file.read_bytes() for file in (copy / "src").rglob("*.py"))
    more = "" if ended else "more than "
    print(f"  libcst    {more}{elapsed:.1f} s" + (f", of processor {used:.1f}" if ended else ", then it was ended"))
    print(f"            {more}{elapsed / mine_s:.0f} x   migrator, time ({elapsed:.1f} s / {mine_s:.3f} s)")
    if ended:
        print(f"            {used / mine_used_s:.0f} x   migrator, processor ({used:.1f} s / {mine_used_s:.3f} s)")
    print(f"            it changed {changed} files and says: {said}")


def measure(folder: Path, rounds: int, *, libcst_timeout_s: float | None) -> int:
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
    print(f"            {size:8.0f} MiB with children (limit {LIMIT_MIB})", flush=True)
    if libcst_timeout_s is not None:
        took, used = (statistics.median(mine[column] for _, mine in pairs) for column in (0, 1))
        compare_libcst(folder, took, used, libcst_timeout_s)
    return int(size > LIMIT_MIB)


def rewrite_uses(folder: Path, uses: int) -> tuple[float, float]:
    """Rewrite one file with that many sends, without writing it; return seconds, and those of processor."""
    from codemods.runner import Mode, rewrite
    from migrator.plan.loader import load_plan

    write_project(folder)
    sends = "".join(f"add_actor.send({number}, 2)\n" for number in range(uses))
    (folder / "src/sends.py").write_text(f"from legacy.actors import add_actor\n\n{sends}")
    plan = load_plan(folder / "migration.toml")
    started, before = time.perf_counter(), os.times()
    report = rewrite(plan, mode=Mode.CHECK)
    elapsed, after = time.perf_counter() - started, os.times()
    assert sum(change.edits.get("sends", 0) for change in report.changed) == uses
    return elapsed, sum(after[:4]) - sum(before[:4])


def measure_growth(uses: int, rounds: int) -> int:
    """Print how the time grows with the uses of a file; return 1 if it grows by more than its limit."""
    pairs = []
    for _ in range(rounds):
        runs = []
        for count in (uses // 4, uses):
            with tempfile.TemporaryDirectory() as name:
                runs.append(rewrite_uses(Path(name), count))
        pairs.append(runs)
    for column, what in enumerate(("time", "processor")):
        few, many = (statistics.median(pair[size][column] for pair in pairs) for size in (0, 1))
        ratio = statistics.median(pair[1][column] / pair[0][column] for pair in pairs)
        print(f"  growth    {ratio:8.2f} x   {what}: {uses} sends in a file {many:.3f} s, {uses // 4} {few:.3f} s")
    print(f"            limit of the processor's ratio: {LIMIT_GROWTH}", flush=True)
    return int(ratio > LIMIT_GROWTH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--uses", type=int, default=3200, help="sends in the file of the growth row")
    parser.add_argument("--libcst", action="store_true")
    parser.add_argument("--libcst-timeout", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("--in-place", action="store_true", help="map the actor to itself")
    parser.add_argument("--keep", type=Path, help="build the tree here, or use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        if not (folder / "migration.toml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            files, lines, mentioned = build_tree(folder, options.files)
            print(f"{files} files, {lines} lines, {mentioned} mention the names", flush=True)
        (folder / "migration.toml").write_text(in_place(PLAN) if options.in_place else PLAN)
        timeout_s = options.libcst_timeout if options.libcst else None
        failed = measure(folder, options.rounds, libcst_timeout_s=timeout_s)
        sys.exit(measure_growth(options.uses, options.rounds) or failed)


if __name__ == "__main__":
    main()
