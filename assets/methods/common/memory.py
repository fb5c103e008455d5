"""Memory that was freed and is given back to the system."""

import ctypes
import os


def return_free_memory() -> None:
    """Give back what the C library keeps of freed memory, where it can (glibc).

    After photos of 24 megapixels that is some hundred megabytes, which the network that comes next
    would need on top.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
