"""Runs replicas of a command and forgets about them, as an orchestrator does for whoever calls it. Started as a script.

Usage: fleet.py FOLDER up|down|count NAME [NUMBER RELEASE DIRECTORY COMMAND…]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def living(file: Path) -> list[int]:
    """Return the pids of a name that are the same processes still."""
    known = json.loads(file.read_text()) if file.exists() else []
    return [pid for pid, ticks in known if start_ticks(pid) == ticks]


def start_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def main(folder: str, verb: str, name: str, *rest: str) -> None:
    file = Path(folder) / f"{name}.json"
    pids = living(file)
    if verb == "count":
        print(len(pids) or "")
        return
    if verb == "down":
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        return
    number, release, directory, *command = rest
    with (Path(folder) / "calls").open("a") as calls:
        calls.write(f"{name} {number} {release}\n")
    log = (Path(folder) / f"{name}.log").open("ab")
    for index in range(len(pids), int(number)):
        words = [word.replace("%i", str(index)) for word in command]
        process = subprocess.Popen(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        pids.append(process.pid)
        process.returncode = 0  # whoever called us does not wait for it
    file.write_text(json.dumps([(pid, start_ticks(pid)) for pid in pids]))


if __name__ == "__main__":
    main(*sys.argv[1:])
