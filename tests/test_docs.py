"""The documents name what there is, and what they name is there."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.cli.main import COMMANDS
from migrator.errors import ExitCode
from migrator.steps.order import STEPS
from migrator.wire.message import Side, System

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "RUNBOOK.md", "docs/glossary.md")
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


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[tuple[int, str]]:
    """Return the level and title of each heading below the document's own."""
    found = re.findall(r"^(##+) (.+)$", without_code_blocks(text), re.MULTILINE)
    return [(len(marks), title) for marks, title in found]


def anchor(title: str) -> str:
    """Return the fragment that GitHub and GitLab give a heading: no punctuation, lower case, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def options() -> set[str]:
    """Return every option of every command."""
    commands = [importlib.import_module(module).command for module, _ in COMMANDS.values()]
    found = {option for command in commands for parameter in command.params for option in parameter.opts}
    return {*found, "--help"}


def glossary() -> list[tuple[str, str]]:
    """Return each term with its explanation."""
    return re.findall(r"^- \*\*(.+?)\*\*: (.*(?:\n  .*)*)$", GLOSSARY, re.MULTILINE)


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"| `migrator {name}` |" in README


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_a_document_names_no_command_that_does_not_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    assert set(re.findall(r"migrator ([a-z][a-z-]+)", text)) <= set(COMMANDS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_links_of_a_document_lead_somewhere(name: str) -> None:
    file = ROOT / name
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", without_code_blocks(file.read_text())):
        path, _, fragment = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        assert there.exists(), f"{name}: {target}"
        if fragment:
            assert fragment in {anchor(title) for _, title in headings(there.read_text())}, f"{name}: {target}"


def test_the_contents_of_the_runbook_are_its_headings() -> None:
    contents = RUNBOOK.partition("## Contents\n")[2].partition("\n## ")[0].strip()
    expected = [
        f"{'  ' * (level - 2)}- [{title}](#{anchor(title)})"
        for level, title in headings(RUNBOOK)
        if title != "Contents"
    ]
    assert contents.splitlines() == expected
    assert len(set(expected)) == len(expected)


def test_the_glossary_is_in_alphabetical_order_and_short() -> None:
    terms = [term.lower() for term, _ in glossary()]
    assert len(terms) > 40
    assert terms == sorted(set(terms))
    for term, explanation in glossary():
        assert len(explanation.split()) <= 50, term


def test_what_the_glossary_names_exists() -> None:
    from migrator.workers.processes import DRIVERS

    names = {*COMMANDS, *(f"migrator {name}" for name in COMMANDS), *options(), *DRIVERS, *Side, *System}
    for term, explanation in glossary():
        for name in re.findall(r"`([^`]+)`", explanation):
            assert name in names or name in RUNBOOK or (ROOT / name).exists(), f"{term}: {name}"
            assert "/" not in name or (ROOT / name).exists(), f"{term}: {name}"


def test_readme_and_contributing_link_to_the_glossary() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "RUNBOOK.md"):
        assert "(docs/glossary.md)" in (ROOT / name).read_text()


def test_the_tree_in_contributing_is_the_tree() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("```text\n")[2].partition("```")[0]
    for package in ("migrator", "codemods", "checks"):
        shown = tree.partition(f"{package}/\n")[2]
        shown = re.split(r"^\w+/$", shown, maxsplit=1, flags=re.MULTILINE)[0]
        for path in (ROOT / package).iterdir():
            if path.is_dir() and path.name != "__pycache__":
                assert f"{path.name}/" in shown, f"{package}/{path.name}"
            elif path.suffix == ".py" and path.stem != "__init__":
                assert path.name in shown, f"{package}/{path.name}"


def test_every_exit_code_is_in_the_readme() -> None:
    for code in ExitCode:
        assert f"| {int(code)} | " in README


def test_every_step_has_its_section_in_the_runbook() -> None:
    for step in STEPS:
        assert re.search(rf"^### .*\b{step.name}\b", RUNBOOK, re.MULTILINE), step.name


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_the_section_of_a_step_has_every_part(step: str) -> None:
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


def first_column(title: str) -> list[str]:
    """Return the names in the first column of the table in a section of the runbook."""
    section = re.split(r"^##", RUNBOOK.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)]


def test_every_rewrite_check_kind_and_quarantine_reason_is_in_the_runbook_and_the_reverse() -> None:
    from checks.registry import kinds
    from codemods.pipeline.registry import rewrites
    from migrator.wire.quarantined import QuarantineReason

    assert sorted(first_column("Rewrites")) == [rewrite.name for rewrite in rewrites()]
    assert first_column("Check kinds") == list(kinds())
    assert sorted(first_column("Why a message is quarantined")) == sorted(QuarantineReason)


@pytest.mark.parametrize("name", ["README.md", "RUNBOOK.md", "CHANGELOG.md", "docs/glossary.md"])
def test_a_document_names_no_option_that_does_not_exist(name: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", without_code_blocks((ROOT / name).read_text())))
    assert named - options() <= {"--parity"}, "no option of a command, nor of the pytest plugin"


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
