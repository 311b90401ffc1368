"""Do process managers stop the plan's processes as workers need it, and do they leave the legacy side stopped?

Each driver says what is dangerous; what we start ourselves has nothing to say. A manager that does not answer ends
the preflight: without it nothing is known about its processes.
"""

from __future__ import annotations

from migrator.plan.processes import Driver, Process
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, findings_report
from migrator.workers import processes
from migrator.workers.drivers.likeness import StrangerError


def guard(context: Context) -> Report:
    """Return what stands in the configuration of supervisord and systemd."""
    managed = [process for process in context.plan.processes if process.driver is not Driver.COMMAND]
    findings = [finding for process in managed for finding in _managed(context, process)]
    return findings_report("process managers", findings, checked=max(1, len(managed)))


def _managed(context: Context, process: Process) -> tuple[Finding, ...]:
    try:
        return processes.misconfigurations(context.plan, process, environ=context.environ)
    except StrangerError:
        # The guard of the workers reports it.
        return ()
