"""Fill RUNBOOK.md with what the commands really print: the sample is migrated and taken back for it.

Run: ``python benchmarks/runbook.py [--check]``. Between ``<!-- printed: NAME -->`` and ``<!-- end -->`` stands the
output of a step, of both ways, with numbers, pids, seconds and paths replaced. With ``--check`` nothing is written; the
exit status says whether something differs. A test does the same.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))

from sample_scene import Scene, open_scene, prepare

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.demo.scratch import commit
from migrator.demo.suppressions import suppress_leftovers
from migrator.state.proof import write_proof
from migrator.steps.order import STEPS

RUNBOOK = Path(__file__).resolve().parents[1] / "RUNBOOK.md"
#: What may be printed or not, as it happens: how far a transfer is, and what the preflight has found in the messages.
PASSING = re.compile(
    r"^(?:      \S+: \d.* a second|      workers: |  quarantined: |warning |error |info |note: fell due|         )"
)
BLOCK = re.compile(r"(<!-- printed: (?P<name>[\w ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
COMMAND_TIMEOUT_S = 300


def main() -> int:
    """Write or check the runbook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        blocks = printed(Path(folder))
    before = RUNBOOK.read_text(encoding="utf-8")
    after = filled(before, blocks)
    if before == after:
        print("RUNBOOK.md says what the commands print")
        return 0
    print(
        "".join(
            difflib.unified_diff(
                before.splitlines(keepends=True), after.splitlines(keepends=True), "RUNBOOK.md", "printed", n=1
            )
        )
    )
    if not options.check:
        RUNBOOK.write_text(after, encoding="utf-8")
    return int(options.check)


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Return the runbook with these blocks; one that nobody printed is empty."""
    return BLOCK.sub(lambda found: f"{found[1]}```text\n{blocks.get(found['name'], '')}```\n{found[3]}", text)


def printed(folder: Path) -> dict[str, str]:
    """Migrate the sample and take it back with the command line; return what was printed, by step and by command."""
    with open_scene(folder) as scene:
        plan = scene.system.scratch.plan
        prepare(scene, 60)
        suppress_leftovers(plan.folder, rewrite(plan, mode=Mode.CHECK).leftovers)
        commit(plan.folder, "Decide about the places that the rewrite leaves alone")
        rewrite(plan)
        commit(plan.folder, "Convert to the unified tasks")
        # What parity-check would have written; it needs no chapter of this length.
        write_proof(plan, case_paths=(), counts={"compared": 1}, versions={})
        blocks: dict[str, str] = {}
        for command in ("cutover", "rollback"):
            progress, answer = _run(scene, command)
            blocks[command] = f"$ migrator {command}\n{answer}"
            for step in STEPS:
                mine = [line for line in progress if line[6:].startswith(f"{step.name}: ")]
                if mine:
                    said = "".join(f"{line}\n" for line in (f"$ migrator {command}", *mine))
                    blocks[step.name] = blocks.get(step.name, "") + said
    return blocks


def _run(scene: Scene, command: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("migrator")), command, "--yes"],
        cwd=scene.system.scratch.plan.folder,
        env=dict(scene.environ),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        sys.exit(f"migrator {command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    folder = str(scene.system.scratch.plan.folder)
    return _lines(done.stderr, folder), "".join(f"{line}\n" for line in _lines(done.stdout, folder))


def _lines(text: str, folder: str) -> list[str]:
    """Return what does not differ from run to run."""
    lines = [line.rstrip().replace(f"{folder}/", "") for line in text.splitlines() if not PASSING.match(line)]
    return [_plain(line) for line in lines]


def _plain(line: str) -> str:
    """Replace what is measured or counted; a column keeps its width."""
    line = re.sub(r"pid \d+", "pid N", line)
    line = re.sub(
        r" [ \d,]*\d\.\d(?= |$)", lambda found: "N.N".rjust(len(found[0])) if "  " in found[0] else " N.N", line
    )
    line = re.sub(r"\(\d+\.\d s\)", "(N.N s)", line)
    return re.sub(r"(moved: |quarantined: )[\d,]+", r"\1N", line)


if __name__ == "__main__":
    sys.exit(main())
