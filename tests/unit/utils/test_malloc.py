"""Memory that is freed goes back to the system."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
from pathlib import Path
from forametric.utils.malloc import return_freed_memory

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

return_freed_memory()
np.ones(20 << 20, np.uint8)  # after which glibc would keep blocks of this size for itself
before = resident()
many, small = [], []
for _ in range(20):
    many.append(np.ones(8 << 20, np.uint8))
    small.append(np.ones(20_000))  # between large blocks, which the end of a heap never reaches
del many
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_large_arrays_leave_nothing_behind():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert float(done.stdout) < 8, done.stderr
