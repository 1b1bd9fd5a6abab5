"""Files that outlive a crash, and that processes share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["append", "locked", "make_folder", "replace", "sync_folder"]


def replace(path: Path, data: bytes) -> None:
    """Write a whole file: after a crash it has either the old content or the new one."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder that is not there, and those above it; their names outlive a power loss."""
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    for each in reversed(missing):
        each.mkdir(mode=mode if each == folder else 0o777, exist_ok=True)
        sync_folder(each.parent)


def append(path: Path, keep: int, data: bytes) -> None:
    """Write `data` after the first `keep` bytes; it is on the disk when this returns."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(handle, keep)
        os.lseek(handle, keep, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    if not keep:
        sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes that lock this path; waits for the others.

    The lock is on a file of its own beside it, as `replace` puts a new file in the place of the
    old. It is the system's and ends with the process, however that ends.
    """
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` outlive a power loss."""
    if os.name == "nt":
        return  # folders cannot be opened there, and names are written through
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
