"""Keep freed memory for the next batch, instead of giving it back to the system and asking for it again.

Each batch is a megabyte or two that is made and thrown away. By default the C library returns such a piece to the
system as soon as it is free, and every page of the next batch is then given anew, filled with zeros: about a sixth of a
transfer's CPU time.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: More than the batches that are under way at one time, and the most that the library takes.
_KEPT_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Let this process keep up to 32 MiB that it does not need at present; does nothing where glibc is not used."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        mallopt(option, _KEPT_BYTES)
