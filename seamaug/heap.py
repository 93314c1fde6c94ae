"""Memory that a stage took for a while, given back to the system when it is done."""

import ctypes
import sys


def give_back() -> None:
    """What lies free between pieces that are in use.

    glibc keeps it for later, so that a process stays as large as it ever was: a million seeds'
    index left 75 MiB. Elsewhere there is nothing to be done.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
