"""The memory of one batch is reused for the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Prints how many new pages a second batch of 8 MiB needed.
_SECOND_BATCH = """
import resource, sys
from migrator.transfer.malloc import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [b"%d" % number * 1000 for number in range(2000)]
    batch = b"".join(batch)
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this option")
def test_a_second_batch_gets_the_memory_of_the_first() -> None:
    pages = {}
    for mode in ("kept", "as it is"):
        command = [sys.executable, "-c", _SECOND_BATCH, mode]
        pages[mode] = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert pages["kept"] < 200 < pages["as it is"]
