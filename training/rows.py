"""What documents and queries are called while training: row numbers."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
"""Row numbers of documents or queries."""
