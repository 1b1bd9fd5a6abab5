"""Bytes that a party must keep for long and reads again once: in memory up to a bound, then not.

What is beyond the bound is in temporary files without names, mapped read-only, so that the system
may take their pages back. It is for what was sealed before: nothing else should reach a disk.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import IO

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError

__all__ = ["Spool"]


_SEGMENT = (
    1 << 28
)  # bytes of the first file; each further one has twice as many, all of them sparse


class Spool:
    """Keeps byte strings. The files are gone when the spool and all that it returned are.

    memory: bytes that stay in memory, at most. Files and mappings are as many as the logarithm of
    what is kept: one for each string would be an open file each, of which a process has few.
    """

    def __init__(self, memory: int) -> None:
        if type(memory) is not int or memory < 0:
            raise ParameterError(f"memory >= 0, an int, must hold, got {memory!r:.40}")
        self._left = memory
        self._file: IO[bytes] | None = None
        self._mapped: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def keep(self, data: bytes) -> NDArray[np.uint8]:
        """`data` (n,), read-only. `OSError` if it is not in memory and the disk is full."""
        if len(data) <= self._left:
            self._left -= len(data)
            return np.frombuffer(data, np.uint8)
        if self._file is None or len(data) > self._mapped.size - self._used:
            self._file = self._opened(max(len(data), 2 * self._mapped.size, _SEGMENT))
        start = self._file.seek(self._used)
        self._file.write(data)
        self._file.flush()
        self._used += len(data)
        return self._mapped[start : self._used]

    def _opened(self, size: int) -> IO[bytes]:
        """An empty file of that size, mapped; the one before it stays for what is in it."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the spool
        weakref.finalize(self, file.close)
        file.truncate(size)
        self._mapped, self._used = np.memmap(file, np.uint8, "r", 0, (size,)), 0
        return file
