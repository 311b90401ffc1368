"""Options of a run together with what only the upper layers know: source, proof and plan.

The steps may not import the codemods or the parity checks; they are handed these functions instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from codemods.files.record import read_record, record_file
from codemods.undo import in_the_tree
from migrator.inventory.plan_check import check_complete
from migrator.inventory.scan import scan
from migrator.plan.model import Plan
from migrator.report import Finding, Report, Severity

if TYPE_CHECKING:
    from migrator.inventory.source_files import SourceFiles
    from migrator.steps.protocol import RunOptions


def check_plan(plan: Plan, sources: SourceFiles | None = None) -> Report:
    """Compare the plan with the source; what a recorded rewrite took out of it is no longer expected.

    Args:
        plan: Its source is read.
        sources: What was read of it in this run already.
    """
    report = check_complete(plan, scan(plan.source_root, sources))
    # Retired entries can be gone without a trace in the source; then the record of the rewrite knows.
    rewritten = bool(in_the_tree(plan, read_record(plan)))
    gone = {"PLAN-UNKNOWN-SCHEDULE"} if rewritten else set()
    return replace(report, findings=tuple(f for f in report.findings if f.code not in gone))


def check_source(plan: Plan) -> Report:
    """Return whether the source is converted, and whether a rollback could undo that from here."""
    from codemods.runner import check_rewritten

    report = check_rewritten(plan)
    if report.errors or in_the_tree(plan, read_record(plan)):
        return report
    unrecorded = Finding(
        code="REWRITE-NOT-RECORDED",
        severity=Severity.WARNING,
        where=str(record_file(plan)),
        what="no rewrite of this source is recorded here: a rollback would leave the source converted",
        remedy="copy rewrite.json and the folder undo from the .migrator where it was rewritten, or `git revert` the "
        "commit of the rewrite before `migrator rollback`; nothing if there was nothing to rewrite",
    )
    return replace(report, findings=(*report.findings, unrecorded))


def check_way_back(plan: Plan) -> Report:
    """Name the files that were changed since the rewrite: a rollback restores them too, git keeps the changes."""
    from codemods.undo import check_undo

    report = check_undo(plan)
    remedy = "nothing has to be done: the changes stay in the history"
    findings = tuple(replace(f, severity=Severity.WARNING, remedy=remedy) for f in report.findings)
    return replace(report, findings=findings)


def guarded(plan: Plan, options: RunOptions) -> RunOptions:
    """Return ``options`` with the guards of a real run: every one has to be green before anything is changed."""
    from codemods.undo import undo_rewrite
    from migrator.state.proof import read_proof, verify_proof

    return replace(
        options,
        check_proof=lambda: verify_proof(plan, read_proof(plan)),
        check_source=lambda: check_source(plan),
        check_inventory=lambda: check_plan(plan),
        check_undo_source=lambda: check_way_back(plan),
        undo_source=lambda: undo_rewrite(plan, overwrite=True),
    )
