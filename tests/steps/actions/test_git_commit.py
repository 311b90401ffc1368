"""Commits of the tool and the operator's own hooks: one may stop a cutover, none may stop a way back."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from shop import Shop, options
from step_runs import begin

from migrator.errors import RefusedError
from migrator.runner.execute import run_back, run_forward
from migrator.state.journal import open_journal
from migrator.steps.actions.git_commit import commit_paths
from migrator.steps.protocol import Context
from migrator.steps.retire_files import STEP


def test_a_hook_that_refuses_stops_a_commit_but_none_on_the_way_back(shop: Shop) -> None:
    hook = shop.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no commits after nine >&2\nexit 1\n")
    hook.chmod(0o755)
    told: list[str] = []
    context = Context(
        plan=shop.plan,
        environ=shop.environ,
        journal=open_journal(shop.plan),
        run=1,
        options=options(),
        listener=lambda event: told.append(event.text),
    )
    (shop.folder / "src/web.py").write_text("# as it was\n")
    with pytest.raises(RefusedError, match="no commits after nine"):
        commit_paths(context, "retire", subject="Retire", paths=("src/web.py",))
    commit = commit_paths(context, "restore", subject="Restore", paths=("src/web.py",), way_back=True)
    assert shop.git("log", "-1", "--format=%H %s") == f"{commit} Restore"
    assert told == ["no commits after nine; committed without hooks and signature"]
    assert shop.git("status", "--porcelain") == ""
    assert commit_paths(context, "restore", subject="Restore", paths=("src/web.py",), way_back=True) == commit


def with_hook(shop: Shop, name: str, *lines: str) -> Context:
    """Give the shop a hook of git, and begin a run."""
    hook = shop.folder / ".git" / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    hook.chmod(0o755)
    return begin(
        Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=0, options=options())
    )


@pytest.mark.parametrize("stages", [True, False])
def test_what_a_hook_changes_besides_is_in_the_same_commit(shop: Shop, stages: bool) -> None:
    adding = "git add src/web.py" if stages else ""
    context = with_hook(shop, "pre-commit", "echo '# formatted' >> src/web.py", adding)
    run_forward(context, STEP)
    assert shop.git("status", "--porcelain") == "", "a rollback would be refused"
    assert "src/web.py" in shop.git("show", "--name-only", "--format=", "HEAD")
    run_back(context, STEP)
    assert shop.git("status", "--porcelain") == ""
    assert all((shop.folder / file).exists() for file in shop.plan.project.retire)


@pytest.mark.parametrize("committed", ["not", "as told", "in other words"])
def test_a_refused_commit_undoes_nothing_and_is_made_by_hand(shop: Shop, committed: str) -> None:
    context = with_hook(shop, "commit-msg", "grep -q TICKET $1 || { echo no ticket >&2; exit 1; }")
    before = shop.git("ls-files", "--stage")
    result = run_forward(context, STEP)
    facts = result.actions[-1].facts
    assert "no ticket" in facts["notes"][0] and not any((shop.folder / f).exists() for f in facts["files"])
    command = shlex.split(facts["by_hand"])
    if committed != "not":
        command = [*command[:1], "commit", "-qm", "TICKET-1"] if committed == "in other words" else command
        (shop.folder / ".git/hooks/commit-msg").unlink()
        subprocess.run(command, cwd=shop.folder, check=True, timeout=20)
        assert shop.git("status", "--porcelain") == ""
    run_back(context, STEP)
    assert shop.git("ls-files", "--stage") == before
    assert shop.git("status", "--porcelain") == ""
