import numpy as np
from numpy.typing import NDArray

LONGEST_CODE: int

def decode(
    codes: bytes | memoryview | NDArray[np.uint8],
    gaps: bytes | memoryview | NDArray[np.uint8],
    code_lengths: bytes | memoryview | NDArray[np.uint8],
    gap_lengths: bytes | memoryview | NDArray[np.uint8],
    centroids: NDArray[np.float32] | NDArray[np.uint16],
    entries: int,
    weights: NDArray[np.float32] | NDArray[np.uint16],
) -> None: ...
def words(lengths: bytes | memoryview | NDArray[np.uint8], found: NDArray[np.uint32]) -> None: ...
