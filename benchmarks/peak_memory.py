"""How much memory a benchmark's own process has held."""

from __future__ import annotations

from pathlib import Path


def peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB.

    Not ``ru_maxrss``: a process begins with that of the one which started it. Source: Linux, proc(5), VmHWM.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
