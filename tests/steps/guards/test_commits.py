"""The last commit of a run, tried before its first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guard_context import codes, context
from shop import Shop

from migrator.report import Severity
from migrator.steps.guards import commits


def hook(shop: Shop, name: str, *lines: str) -> None:
    file = shop.folder / ".git" / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    file.chmod(0o755)


def unsigned(shop: Shop) -> None:
    shop.git("config", "commit.gpgsign", "true")
    shop.git("config", "gpg.program", "false")


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda shop: hook(shop, "pre-commit", "echo lint fails >&2; exit 1"), "hook pre-commit"),
        (lambda shop: hook(shop, "prepare-commit-msg", "exit 1"), "hook prepare-commit-msg"),
        (lambda shop: hook(shop, "commit-msg", "grep -q TICKET $1"), "hook commit-msg"),
        (lambda shop: hook(shop, "pre-commit", "test $(git symbolic-ref --short HEAD) != work"), "hook pre-commit"),
        (unsigned, "git"),
    ],
    ids=["pre-commit", "prepare-commit-msg", "commit-msg", "protected branch", "signature"],
)
def test_what_would_refuse_the_commit_is_an_error(shop: Shop, make: Callable[[Shop], None], where: str) -> None:
    make(shop)
    before = shop.git("log", "--all", "--format=%H")
    report = commits.guard(context(shop))
    assert [(found.code, found.where) for found in report.errors] == [("COMMIT-REFUSED", where)]
    assert shop.git("status", "--porcelain") == "" and shop.git("log", "--all", "--format=%H") == before
    assert len(shop.git("worktree", "list").splitlines()) == 1


def test_a_hook_that_changes_other_files_is_named(shop: Shop) -> None:
    hook(shop, "pre-commit", "echo '# formatted' >> src/web.py", "git add src/web.py")
    report = commits.guard(context(shop))
    assert not report.errors and codes(report, Severity.WARNING) == {"COMMIT-HOOK-CHANGES"}
    assert "src/web.py" in report.findings[0].found
    assert shop.git("status", "--porcelain") == ""


def test_hooks_that_agree_are_no_finding(shop: Shop) -> None:
    hook(shop, "pre-commit", 'test -z "$(git diff --cached --name-only --diff-filter=AM)"')
    hook(shop, "commit-msg", "grep -q Retire $1")
    assert commits.guard(context(shop)).findings == ()


def test_on_a_detached_head_it_is_tried_as_well(shop: Shop) -> None:
    shop.git("checkout", "-q", "--detach")
    hook(shop, "pre-commit", "exit 1")
    assert codes(commits.guard(context(shop))) == {"COMMIT-REFUSED"}
