"""The leakage ledger of a client, in a file: processes share it, and none outlives a message."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from protocols import files
from protocols.leakage import LeakageLedger
from secagg.errors import ParameterError

__all__ = ["LeakageFile"]


class LeakageFile:
    """`protocols.leakage.LeakageLedger` in a file that is read and written for each question.

    most: numbers of its updates that this client opens in all its rounds, of whatever server. What
    was charged stays charged, and is on the disk when `charge` returns. Raises `ParameterError`
    for a file that cannot be read, and `DecodeError` for a damaged one.
    """

    def __init__(self, path: str | Path, *, most: int) -> None:
        self._path = Path(path)
        self._most = most
        try:
            self._read()
        except OSError as error:
            raise ParameterError(f"{path} cannot be used: {error.strerror}") from None

    @property
    def spent(self) -> int:
        """Numbers charged so far."""
        return self._read().spent

    def require(self, name: bytes, opened: int) -> None:
        """Raise `LeakageExceeded` if the round of this name may not open so much."""
        self._read().require(name, opened)

    def charge(self, name: bytes, opened: int) -> None:
        """Charge the round of this name, once however often it is asked; raises as `require`."""
        with files.locked(self._path):
            ledger = self._read()
            ledger.charge(name, opened)
            files.replace(self._path, ledger.to_bytes())

    def _read(self) -> LeakageLedger:
        with suppress(FileNotFoundError):
            return LeakageLedger.from_bytes(self._path.read_bytes(), most=self._most)
        return LeakageLedger(most=self._most)

    def __repr__(self) -> str:
        return f"<LeakageFile, at most {self._most} numbers>"
