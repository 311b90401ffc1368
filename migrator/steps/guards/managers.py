"""Do process managers stop the plan's processes as workers need it, and do they leave the legacy side stopped?

Each driver says what is dangerous; what we start ourselves has nothing to say. A manager that does not answer ends
the preflight: without it nothing is known about its processes.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.plan.processes import Driver, Process
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report
from migrator.workers import processes
from migrator.workers.node_names import is_celery_worker, with_node


def guard(context: Context) -> Report:
    """Return what stands in the configuration of supervisord and systemd, and workers that don't answer."""
    managed = [process for process in context.plan.processes if process.driver is not Driver.COMMAND]
    findings = [finding for process in managed for finding in _managed(context, process)]
    return findings_report("process managers", findings, checked=max(1, len(managed)))


def _managed(context: Context, process: Process) -> Iterator[Finding]:
    yield from processes.misconfigurations(context.plan, process, environ=context.environ)
    if not is_celery_worker(context.plan, process):
        return
    record = processes.current(context.plan, process, environ=context.environ)
    if record is None or with_node(context.plan, process, record, environ=context.environ).node:
        return
    yield error(
        "WORKER-SILENT",
        f"process {process.name}",
        "no Celery worker answers with its pid",
        found=f"pid {record.pid}",
        remedy="see its log; a silent worker can't be told to finish its tasks",
    )
