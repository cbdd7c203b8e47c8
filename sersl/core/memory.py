"""How the C library keeps memory, for programs that take and free large arrays in every step."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes malloc keep what is freed instead of giving it back to the system.

    JAX's CPU backend takes and frees the activations of every step; fetched from the system anew,
    each page is faulted in and zeroed again, a fifth of a CPU training step. Kept, the process
    holds its high-water mark, and all threads share one heap, so that none keeps a copy of its
    own. Must run before threads are started and libraries that start some are loaded. What is
    computed does not change.

    Returns:
      Whether the C library took the settings; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    taken = mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1), mallopt(_M_ARENA_MAX, 1)
    return all(taken)
