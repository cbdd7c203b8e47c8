"""Settings of the C library's malloc, for programs that allocate and free a lot of memory."""

import ctypes

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes malloc keep freed memory instead of returning it to the system.

    JAX's CPU backend allocates and frees the activations in every step. If the memory goes back to
    the system in between, each page is faulted in and zeroed again, which takes a fifth of a CPU
    training step. With these settings the process keeps its largest size, and all threads share
    one heap, so that freed memory is kept once and not per thread. Results do not change. Call it
    before any thread starts and before libraries that start threads are loaded.

    Returns:
      Whether the C library accepted the settings; False if it is not glibc.
    """
    return _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1})


def share_one_heap() -> bool:
    """Makes all threads allocate from one heap, so that they reuse each other's freed memory.

    The threads of a compiler allocate and free gigabytes of small objects. If each has its own
    heap, each heap keeps its largest size. Call it as early as `keep_freed_memory`.

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
