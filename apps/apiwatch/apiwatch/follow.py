"""Lines of a log as they are written, across rotation, truncation and deletion."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["follow"]

_PAUSE = 0.2  # seconds


def follow(
    path: Path, *, pause: Callable[[float], None] = time.sleep, from_start: bool = False
) -> Iterator[bytes]:
    """Whole lines from now on, or from the start; never ends by itself.

    A rotated file is read to its end before the new one is opened at its start. A file that was
    truncated is read from its start. A file that is not there yet, or no more, is waited for.
    """
    at_end = not from_start
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            at_end = False  # what appears later is all new
            pause(_PAUSE)
            continue
        with file:
            yield from _lines(file, path, pause, at_end)
        at_end = False


def _lines(
    file: BinaryIO, path: Path, pause: Callable[[float], None], at_end: bool
) -> Iterator[bytes]:
    """Until the path names another file and this one has no more."""
    if at_end:
        file.seek(0, os.SEEK_END)
    begun = b""
    while True:
        replaced = _is_replaced(file, path)
        while piece := file.readline():
            begun += piece
            if begun.endswith(b"\n"):
                yield begun
                begun = b""
        if replaced:
            if begun:
                yield begun
            return
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            begun = b""
        pause(_PAUSE)


def _is_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return True
