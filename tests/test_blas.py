"""Memory that runs out before a first multiplication is an error, not a hang."""

import subprocess
import sys

import pytest

LIMITED = """
import resource
import numpy as np
from seamaug.blas import take_buffers
from scipy.linalg.blas import sgemm

def limit(mebibytes):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20),) * 2)

rows = np.ones((64, 64), np.float32)
"""


def said(script: str) -> str:
    command = [sys.executable, "-c", LIMITED + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_room_for_the_buffers_it_fails_at_once() -> None:
    script = """
limit(16)
try:
    take_buffers()
except MemoryError:
    print("no memory")
"""
    assert said(script) == "no memory"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_with_them_taken_later_products_need_no_more() -> None:
    script = """
take_buffers()
limit(16)
print((rows @ rows).sum() == sgemm(1.0, rows, rows).sum() == 64**3)
"""
    assert said(script) == "True"
