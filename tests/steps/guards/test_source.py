"""Guard of the source: proof, version control and who commits."""

from __future__ import annotations

from dataclasses import replace

from guard_context import codes, context
from shop import Shop, options

from migrator.report import Severity
from migrator.steps.guards import source


def test_without_a_proof_it_is_refused(shop: Shop) -> None:
    given = context(shop, options=replace(options(), check_proof=None))
    assert "PROOF-MISSING" in codes(source.guard(given))


def test_a_dirty_tree_is_refused_and_an_unknown_file_is_mentioned(shop: Shop) -> None:
    (shop.folder / "src/web.py").write_text("# changed by somebody\n")
    (shop.folder / "notes.txt").write_text("not under version control\n")
    report = source.guard(context(shop))
    assert codes(report) == {"GIT-DIRTY"}
    assert "GIT-UNTRACKED" in codes(report, Severity.WARNING)


def test_a_half_done_merge_and_a_nameless_operator_are_refused(shop: Shop) -> None:
    (shop.folder / ".git/MERGE_HEAD").write_text(shop.git("rev-parse", "HEAD") + "\n")
    shop.git("config", "user.useConfigOnly", "true")
    shop.git("config", "--unset", "user.email")
    environ = {key: value for key, value in shop.environ.items() if not key.startswith("GIT_") and key != "EMAIL"}
    environ |= {"HOME": str(shop.folder), "XDG_CONFIG_HOME": str(shop.folder)}
    assert codes(source.guard(context(shop, environ=environ))) == {"GIT-BUSY", "GIT-IDENTITY"}


def test_a_project_without_git_is_refused(shop: Shop) -> None:
    (shop.folder / ".git").rename(shop.folder / "no-git")
    environ = {**shop.environ, "GIT_CEILING_DIRECTORIES": str(shop.folder.parent)}
    assert codes(source.guard(context(shop, environ=environ))) == {"GIT-MISSING"}
