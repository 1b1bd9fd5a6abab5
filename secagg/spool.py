"""Bytes that a party must keep for long and reads again once: in memory up to a bound, then not.

What is beyond the bound is in a temporary file without a name, mapped read-only, so that the system
may take its pages back. It is for what was sealed before: nothing else should reach a disk.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import IO

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError

__all__ = ["Spool"]


class Spool:
    """Keeps byte strings. The file is gone when the spool and all that it returned are.

    memory: bytes that stay in memory, at most.
    """

    def __init__(self, memory: int) -> None:
        if type(memory) is not int or memory < 0:
            raise ParameterError(f"memory >= 0, an int, must hold, got {memory!r:.40}")
        self._left = memory
        self._file: IO[bytes] | None = None

    def keep(self, data: bytes) -> NDArray[np.uint8]:
        """`data` (n,), read-only."""
        if len(data) <= self._left:
            self._left -= len(data)
            return np.frombuffer(data, np.uint8)
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the spool
            weakref.finalize(self, self._file.close)
        start = self._file.seek(0, 2)
        self._file.write(data)
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r", start, (len(data),))
