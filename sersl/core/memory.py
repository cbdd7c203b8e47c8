"""How the C library keeps memory, for programs that take and free much of it."""

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
    return _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1})


def share_one_heap() -> bool:
    """Makes all threads take memory from one heap, where what one frees serves the others.

    A compiler's threads take and free gigabytes of small things, and each heap of their own keeps
    its high-water mark. Must run as early as `keep_freed_memory`.

    Returns:
      As `keep_freed_memory`.
    """
    return _set({_M_ARENA_MAX: 1})


def _set(settings: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
