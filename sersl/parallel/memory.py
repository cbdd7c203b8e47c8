"""Memory of a step on CPU: kept between steps instead of given back and asked for again."""

import ctypes

# Names of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory(platform: str) -> bool:
    """Tells the C library to keep freed memory for the process, where a step runs on CPU.

    XLA on CPU asks for the whole memory of a step and frees it after. glibc gives blocks of that
    size back to the system, which clears every page again: for a model of base size a fifth of the
    processor time of a step (`page_faults` and `of_them_system` in tools/benchmark.py train). The
    process then keeps the most that it ever needed.

    Args:
      platform: of the devices: cpu, gpu, tpu.

    Returns:
      Whether the C library was told: False on other platforms and with other C libraries.
    """
    if platform != "cpu":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Every block from one heap, which is never cut.
    told = [mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_ARENA_MAX, 1)]
    return all(told)
