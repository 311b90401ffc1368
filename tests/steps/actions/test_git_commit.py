"""Commits of the tool and the operator's own hooks: one may stop a cutover, none may stop a way back."""

from __future__ import annotations

import pytest
from shop import Shop, options

from migrator.errors import RefusedError
from migrator.state.journal import open_journal
from migrator.steps.actions.git_commit import commit_paths
from migrator.steps.protocol import Context


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
