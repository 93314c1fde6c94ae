"""OpenBLAS's buffers, taken before memory can run out.

It takes one for each thread when it first multiplies, and where there is no memory for that it can
ask again for ever: a run would hang where it should fail. faiss has an OpenBLAS of its own, which
is not covered; it multiplies only for indices of more than 200,000 vectors.
"""

import numpy as np
from scipy.linalg.blas import sgemm
from threadpoolctl import threadpool_limits

_BUFFER = 40 << 20  # bytes: OpenBLAS takes 32 MiB


def take_buffers() -> None:
    """Have NumPy's OpenBLAS and SciPy's, which scikit-learn uses, take theirs for this thread.

    Raises MemoryError where there is not enough.
    """
    # Small matrices need none where there are kernels for them (with AVX-512 up to 100**3).
    large = np.ones((256, 256), np.float32)
    # k-means limits the threads, and in a forked process the first limit has buffers taken anew.
    with threadpool_limits(1):
        for multiply in (np.matmul, lambda a, b: sgemm(1.0, a, b)):
            np.empty(_BUFFER, np.uint8)  # asks the system for the pages and touches none
            multiply(large, large)
