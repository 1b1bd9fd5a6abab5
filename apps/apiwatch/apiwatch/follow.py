"""Lines of a log as they are written, across rotation, truncation and deletion."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Followed", "follow"]

_PAUSE = 0.2  # seconds
_PIECE = 1 << 18
_LONGEST = 1 << 24


@dataclass
class Followed:
    """What happened to the file so far. overlong: lines that were skipped for their length."""

    rotated: int = 0
    truncated: int = 0
    overlong: int = 0


def follow(
    path: Path,
    *,
    pause: Callable[[float], None] = time.sleep,
    from_start: bool = False,
    longest: int = _LONGEST,
    told: Followed | None = None,
) -> Iterator[list[bytes]]:
    """Whole lines from now on, or from the start: as many at a time as are there, but for some
    hundred kilobytes. Ends only when `pause` raises.

    A rotated file is read to its end before the new one is opened at its start. A file that was
    truncated is read from its start. A file that is not there yet, or no more, is waited for. A
    line of more than `longest` bytes is never held: it is counted and left out.
    """
    told = told or Followed()
    at_end = not from_start
    while True:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            at_end = False  # what appears later is all new
            pause(_PAUSE)
            continue
        with file:
            yield from _Tail(file, path, longest, told).lines(pause, at_end)
        told.rotated += 1
        at_end = False


class _Tail:
    """One file, until its path names another and it has no more."""

    def __init__(self, file: BinaryIO, path: Path, longest: int, told: Followed) -> None:
        self._file, self._path = file, path
        self._longest, self._told = longest, told
        self._begun = bytearray()
        self._skipping = False

    def lines(self, pause: Callable[[float], None], at_end: bool) -> Iterator[list[bytes]]:
        if at_end:
            self._go_to_end()
        while True:
            # looked at before reading: what was written until it was replaced is then read
            replaced = self._is_replaced()
            while piece := self._file.read(_PIECE):
                if lines := self._split(piece):
                    yield lines
            if replaced:
                if self._begun:
                    yield [bytes(self._begun)]
                return
            if os.fstat(self._file.fileno()).st_size < self._file.tell():
                self._file.seek(0)
                self._begun.clear()
                self._skipping = False
                self._told.truncated += 1
            pause(_PAUSE)

    def _go_to_end(self) -> None:
        """And past the end of a line that is half written: a half says nothing."""
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            self._skipping = self._file.read(1) != b"\n"

    def _split(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` ends; what it begins is kept."""
        *ended, rest = piece.split(b"\n")
        lines: list[bytes] = []
        if ended:
            ended[0] = bytes(self._begun) + ended[0]
            self._begun.clear()
            lines = [line + b"\n" for line in ended[int(self._skipping) :]]
            self._skipping = False
        if not self._skipping:
            self._begun += rest
        self._bound()
        kept = [line for line in lines if len(line) <= self._longest]
        self._told.overlong += len(lines) - len(kept)
        return kept

    def _bound(self) -> None:
        if len(self._begun) > self._longest:
            self._begun.clear()
            self._skipping = True
            self._told.overlong += 1

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return True
