"""Call `systemctl` with an argument list and parse what it prints; every call bounded, never a shell or a prompt.

Source: systemctl(1); systemd.time(7) for the time spans that `show` prints (`1min 30s`, `infinity`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from migrator.errors import MigratorError, RefusedError, UnreachableError, UsageError
from migrator.plan.processes import Process

CALL_TIMEOUT_S = 10.0
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "MainPID",
    "Result",
    "ExecMainStatus",
    "KillMode",
    "KillSignal",
    "SendSIGKILL",
    "TimeoutStopUSec",
    "UnitFileState",
    "TriggeredBy",
    "NeedDaemonReload",
    "Type",
)

_SPAN = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[a-z]+)")
#: Seconds by unit, as systemd prints them.
_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "month": 2629800,
    "y": 31557600,
}
_DENIED = ("access denied", "authentication", "permission denied", "not permitted", "polkit")
_NO_BUS = ("failed to connect to bus", "not been booted with systemd", "connection reset", "timed out")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """What systemd says about a unit."""

    #: ``loaded``, ``not-found``, ``masked``, ``bad-setting`` or ``error``.
    load: str
    #: ``active``, ``activating``, ``deactivating``, ``reloading``, ``inactive`` or ``failed``.
    active: str
    #: Finer state, such as ``running``, ``auto-restart`` or ``stop-sigterm``.
    sub: str
    #: 0 if there is none.
    main_pid: int
    #: Why it last ended: ``success``, ``exit-code``, ``signal``, ``timeout``…
    result: str
    exit_status: int
    #: ``control-group``, ``mixed``, ``process`` or ``none``.
    kill_mode: str
    #: Number of the stop signal.
    kill_signal: int
    sends_sigkill: bool
    #: Seconds from the stop signal to SIGKILL; infinity if never.
    stop_timeout_s: float
    #: ``enabled``, ``disabled``, ``static``…
    unit_file: str
    #: Timers, sockets and paths that start it, separated by spaces.
    triggered_by: str
    needs_reload: bool
    #: ``simple``, ``exec``, ``notify``, ``forking``, ``oneshot``…; empty if it was not reported.
    kind: str = ""

    @property
    def text(self) -> str:
        """Its state as text."""
        ended = f", result {self.result}, exit status {self.exit_status}" if self.result not in ("", "success") else ""
        return f"{self.load}, {self.active} ({self.sub}){ended}"


def arguments(process: Process, verb: str, *options: str) -> list[str]:
    """Return the argument list of one call."""
    scope = ["--user"] if process.manager == "user" else ["--system"]
    unit = [] if verb.startswith("list-") else ["--", process.unit]
    return ["systemctl", *scope, "--no-pager", "--no-ask-password", "--full", verb, *options, *unit]


def run(process: Process, verb: str, *options: str, environ: Mapping[str, str]) -> str:
    """Call systemctl and return what it prints. ``start`` and ``stop`` don't wait for the job.

    Raises:
        UnreachableError: There is no systemctl, no systemd, or no answer.
        RefusedError: We lack the permission.
    """
    if verb in ("start", "stop"):
        options = ("--no-block", *options)
    command = arguments(process, verb, *options)
    # Messages are distinguished by their wording: ask for untranslated ones.
    own = {**environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        done = subprocess.run(
            command,
            env=own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        remedy = "run where systemd runs, or choose another driver"
        raise UnreachableError("systemctl", "is not installed here", remedy=remedy) from None
    except subprocess.TimeoutExpired:
        what = f"did not answer within {CALL_TIMEOUT_S:g} s"
        raise UnreachableError(" ".join(command), what, remedy="see `systemctl status`") from None
    if done.returncode != 0:
        raise failure(process, command, done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


def failure(process: Process, command: list[str], words: str) -> MigratorError:
    """Return the error for systemctl's error output."""
    where, found, lower = " ".join(command), " ".join(words.split()), words.lower()
    if any(sign in lower for sign in _DENIED):
        return RefusedError(
            where, "permission was denied", found=found, remedy="run as root, or allow it by a polkit rule"
        )
    if any(sign in lower for sign in _NO_BUS):
        remedy = "run where systemd runs, or choose another driver"
        if process.manager == "user":
            remedy = "log in as the unit's user, with XDG_RUNTIME_DIR set (`loginctl enable-linger` keeps it running)"
        return UnreachableError(where, "systemd does not answer", found=found, remedy=remedy)
    if "not found" in lower or "not loaded" in lower:
        return UsageError(where, "there is no such unit", found=found, remedy="correct `unit` in the plan")
    return UnreachableError(where, "failed", found=found, remedy=f"systemctl status {process.unit}")


def show(process: Process, *, environ: Mapping[str, str]) -> UnitFacts:
    """Ask systemd for the facts of a process's unit."""
    return parse_show(run(process, "show", "--property=" + ",".join(PROPERTIES), environ=environ))


def units(process: Process, *, environ: Mapping[str, str]) -> list[str]:
    """Return the names of all service units with a unit file."""
    listing = run(process, "list-unit-files", "--type=service", "--no-legend", "--plain", environ=environ)
    return [line.split()[0] for line in listing.splitlines() if line.split()]


def parse_show(text: str) -> UnitFacts:
    """Read the ``Name=value`` lines of ``systemctl show``."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return UnitFacts(
        load=values.get("LoadState", ""),
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        main_pid=int(values.get("MainPID") or 0),
        result=values.get("Result", ""),
        exit_status=int(values.get("ExecMainStatus") or 0),
        kill_mode=values.get("KillMode", ""),
        kill_signal=int(values.get("KillSignal") or 0),
        sends_sigkill=values.get("SendSIGKILL", "yes") == "yes",
        stop_timeout_s=parse_span(values.get("TimeoutStopUSec", "0")),
        unit_file=values.get("UnitFileState", ""),
        triggered_by=values.get("TriggeredBy", ""),
        needs_reload=values.get("NeedDaemonReload") == "yes",
        kind=values.get("Type", ""),
    )


def parse_span(text: str) -> float:
    """Return the seconds of a time span as systemd prints it."""
    if text == "infinity":
        return float("inf")
    return sum(float(found["number"]) * _UNITS[found["unit"]] for found in _SPAN.finditer(text))
