"""Keep freed memory for the next batch, instead of returning it to the system and requesting it again.

Each batch allocates a megabyte or two and frees it. By default the C library returns such a block to the system as
soon as it is free, and the kernel then has to supply and zero every page of the next batch: about a sixth of a
transfer's CPU time.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: More than the batches in flight at one time need, and the largest value that the library accepts.
_KEPT_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Let this process keep up to 32 MiB of freed memory; does nothing where glibc is not used."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        mallopt(option, _KEPT_BYTES)
