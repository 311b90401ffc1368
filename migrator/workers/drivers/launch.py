"""Become a process of the plan: write our own record, then exec the command.

Run as a script by :mod:`migrator.workers.drivers.command`. The process itself writes the record before it becomes the
worker, so that no crash of the tool can leave an unrecorded worker behind. Standard library only.

Usage: launch.py RECORD FIELDS-AS-JSON COMMAND [ARGUMENT…]
"""

import json
import os
import sys
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Write the record and exec; returns only when the command can't be executed."""
    record, fields, *command = arguments
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    document = {
        **json.loads(fields),
        "pid": os.getpid(),
        "start_ticks": int(stat.rpartition(")")[2].split()[19]),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "started_at": time.time(),
    }
    draft = Path(f"{record}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(record)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        Path(record).unlink(missing_ok=True)
        sys.stderr.write(f"{command[0]}: can't be executed ({error.strerror})\n")
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
