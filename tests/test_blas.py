"""Memory that runs out before a first multiplication is an error, not a hang."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LIMITED = """
import os, resource
import numpy as np
from seamaug.blas import take_buffers
from scipy.linalg.blas import sgemm
from sklearn.cluster import KMeans

def limit(mebibytes):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20),) * 2)

rows = np.ones((512, 512), np.float32)  # too large for the kernels that take no buffer
"""
PRODUCTS = """
take_buffers()
limit(16)
KMeans(2, n_init=1, random_state=0).fit(np.eye(24, 32, dtype=np.float32))
print((rows @ rows).sum() == sgemm(1.0, rows, rows).sum() == 512**3, flush=True)
"""


def said(script: str) -> str:
    command = [sys.executable, "-c", LIMITED + script]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=one_thread)
    return done.stdout.strip()


def test_without_room_for_the_buffers_it_fails_at_once() -> None:
    script = """
limit(16)
try:
    take_buffers()
except MemoryError:
    print("no memory")
"""
    assert said(script) == "no memory"


def test_with_them_taken_later_products_need_no_more() -> None:
    assert said(PRODUCTS) == "True"


def test_nor_do_they_in_a_forked_process() -> None:
    assert said("if os.fork():\n    os.wait()\n    os._exit(0)\n" + PRODUCTS) == "True"
