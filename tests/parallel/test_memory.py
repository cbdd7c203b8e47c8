"""Freed memory is kept on CPU, and on CPU alone."""

import subprocess
import sys

from sersl.parallel.memory import keep_freed_memory

# Page faults of one more block of 256 MiB after another of that size was freed.
FAULTS = """
import resource, sys
from sersl.parallel.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes(bytearray(2**28))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert keep_freed_memory("cpu")
faults()
print(faults())
"""


def test_memory_when_kept_then_no_page_is_asked_for_twice():
    counts = {}
    for case in ("kept", "default"):
        run = subprocess.run(
            [sys.executable, "-c", FAULTS, case], capture_output=True, text=True, check=True
        )
        counts[case] = int(run.stdout)
    assert counts["kept"] < 100 < counts["default"]


def test_memory_when_devices_are_not_cpu_then_nothing_is_told():
    assert not keep_freed_memory("gpu")
    assert not keep_freed_memory("tpu")
