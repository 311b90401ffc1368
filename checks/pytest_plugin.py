"""Parity cases as the test items of ``pytest --parity`` (:mod:`migrator.pytest_plugin`).

The check itself runs once, for the selected items, when the first of them runs; with several pytest-xdist workers, one
of them runs it and the others wait for its report.
Source: https://docs.pytest.org/en/stable/how-to/writing_plugins.html and xdist's ``workerinput["testrunuid"]``.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

#: The item for everything that is not a case: policy, wire, signature, schedule and import parity, waivers.
WHOLE = "plan-and-waivers"
_DOCUMENT: pytest.StashKey[Mapping[str, Any]] = pytest.StashKey()


class ParityError(Exception):
    """The unified task behaves differently from the legacy one."""


def collect(session: pytest.Session, plan_file: Path) -> list[pytest.Item]:
    """Return the items of a plan."""
    return _Cases.from_parent(session, name="parity", path=plan_file).collect()


class _Cases(pytest.Collector):
    """The collector of a plan's cases."""

    def collect(self) -> list[pytest.Item]:
        """Return one item for each comparison, and one for everything else."""
        from checks.cases.load import load_cases
        from checks.configuration import load_configuration
        from migrator.plan.loader import load_plan

        plan = load_plan(self.path)
        cases = load_cases(load_configuration(plan).cases, plan).cases
        items: list[pytest.Item] = [
            CaseItem.from_parent(self, name=f"{case.name}[{call.mapping.system.value}]", keywords=[case.task])
            for case in cases
            for call in case.calls
        ]
        return [*items, CaseItem.from_parent(self, name=WHOLE)]


class CaseItem(pytest.Item):
    """One comparison."""

    def __init__(self, *, keywords: Sequence[str] = (), **more: Any) -> None:
        super().__init__(**more)
        self.add_marker("parity")
        for word in keywords:
            self.extra_keyword_matches.add(word)

    def runtest(self) -> None:
        """Fail if the report has a difference for this item."""
        document = _document(self.session, self.path)
        if self.name == WHOLE:
            self._whole(document)
            return
        case, _, system = self.name.removesuffix("]").partition("[")
        found = [item for item in document["comparisons"] if (item["case"], item["system"]) == (case, system)]
        if not found:
            raise ParityError(f"{self.name} was not compared")
        self._judge(found)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the differences instead of a traceback."""
        if isinstance(excinfo.value, ParityError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the plan as the location of this item."""
        return self.path, 0, f"parity: {self.name}"

    def _whole(self, document: Mapping[str, Any]) -> None:
        kinds = [item for item in document["comparisons"] if ":" in item["case"]]
        findings = [f"{item['where']}: {item['what']}" for item in document["findings"] if item["severity"] == "error"]
        if findings:
            raise ParityError("\n".join(findings))
        self._judge(kinds)

    def _judge(self, comparisons: Sequence[Mapping[str, Any]]) -> None:
        lines = []
        for comparison in comparisons:
            for item in comparison["differences"]:
                self.user_properties.append((item["outcome"], f"{item['path']}: {item['reason']}"))
                if item["outcome"] != "waived":
                    lines.append(f"{comparison['case']} {item['path']}: {item['reason'] or item['outcome']}")
                    lines.append(f"  legacy:  {item['legacy']!r:.500}")
                    lines.append(f"  unified: {item['unified']!r:.500}")
        if lines:
            raise ParityError("\n".join(lines))


def _document(session: pytest.Session, plan_file: Path) -> Mapping[str, Any]:
    if _DOCUMENT not in session.stash:
        session.stash[_DOCUMENT] = _run_once(session, plan_file)
    return session.stash[_DOCUMENT]


def _run_once(session: pytest.Session, plan_file: Path) -> Mapping[str, Any]:
    from migrator.plan.loader import load_plan
    from migrator.state.state_folder import ensure_state_folder

    plan = load_plan(plan_file)
    selected = {item.name for item in session.items if isinstance(item, CaseItem)}
    names = () if WHOLE in selected else tuple(sorted({name.partition("[")[0] for name in selected}))
    run = getattr(session.config, "workerinput", {}).get("testrunuid", f"pid-{os.getpid()}")
    folder = ensure_state_folder(plan) / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "pytest-run"
    with (folder / "pytest-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text().partition("\n")[0] != run:
            from checks.runner import ParityOptions, parity_check

            report = parity_check(plan, environ=os.environ, options=ParityOptions(names=names))
            stamp.write_text(f"{run}\n{report.facts['files']['json']}")
        document: Mapping[str, Any] = json.loads(Path(stamp.read_text().partition("\n")[2]).read_bytes())
    return document
