"""The documents name what there is, and what they name is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.cli.main import COMMANDS
from migrator.errors import ExitCode
from migrator.steps.order import STEPS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
CODE = re.compile(r"[A-Z]{2,}(?:-[A-Z]+)*")


def reason_codes() -> set[str]:
    """Every reason code in the shipped source: ``code=``, the first argument of a finding, a key of a table."""
    return {code for path in sorted(ROOT.glob("migrator/**/*.py")) for code in codes_of(path)} | {
        code for package in ("codemods", "checks") for path in (ROOT / package).rglob("*.py") for code in codes_of(path)
    }


def codes_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        candidates: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            candidates = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name.strip("_") in {"error", "warning", "info", "finding", "note"}:
                candidates += node.args[:1]
        elif isinstance(node, ast.Dict) and path.name == "reason_codes.py":
            candidates = list(node.keys)
        for candidate in candidates:
            value = candidate.value if isinstance(candidate, ast.Constant) else None
            if isinstance(value, str) and CODE.fullmatch(value):
                yield value


def test_every_command_stands_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"| `migrator {name}` |" in README


def test_the_readme_names_no_command_that_is_not_there() -> None:
    named = set(re.findall(r"migrator ([a-z][a-z-]+)", README + RUNBOOK))
    assert named - set(COMMANDS) <= {"demo"}


def test_every_exit_code_stands_in_the_readme() -> None:
    for code in ExitCode:
        assert f"| {int(code)} | " in README


def test_every_step_has_its_section_in_the_runbook() -> None:
    for step in STEPS:
        assert re.search(rf"^### .*\b{step.name}\b", RUNBOOK, re.MULTILINE), step.name


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_the_section_of_a_step_says_what_one_needs_at_night(step: str) -> None:
    found = re.search(rf"^### {step}\n.*?(?=^##)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, step
    for part in ("Before", "Do", "See", "Undo", "What if"):
        assert f"- **{part}**" in found[0], f"{step}: {part}"
    assert "[cutover] legacy_aliases" in found[0] or re.search(rf"printed: {step} -->\n```text\n\$ migrator", found[0])


def test_every_reason_code_is_explained_and_every_explained_one_exists() -> None:
    codes = reason_codes()
    assert len(codes) > 50
    explained = set(re.findall(r"^\| `([A-Z-]+)` \|", RUNBOOK, re.MULTILINE))
    assert codes - explained == set(), "not in RUNBOOK.md"
    assert explained - codes == set(), "in RUNBOOK.md only"


def test_every_rewrite_and_every_check_stands_in_the_runbook() -> None:
    from codemods.pipeline.registry import rewrites

    for rewrite in rewrites():
        assert f"`{rewrite.name}`" in RUNBOOK, rewrite.name
    for path in (ROOT / "checks" / "kinds").glob("*.py"):
        if path.stem != "__init__":
            assert f"`{path.stem}`" in RUNBOOK, path.stem


def test_the_two_commands_are_make_targets_and_ci_runs_the_tests() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}: .*## ", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_can_be_read(name: str, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("migrator"), name, "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "Usage: migrator" in result.stdout
