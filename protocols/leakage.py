"""How much of one client's updates was opened beside the sums. What goes beyond is refused before.

    ledger = LeakageLedger(most=10_000)
    client = ClientRound(invitation, identity, me, journal=journal, leakage=ledger,
                         floors=Floors(opened=plan.scheme.opened))

The unit is one linear functional of one update: a number of a sketch, a weight, an inner product.
It is a count and no bound on what can be inferred; docs/explanation/detection.md measures that.
"""

from __future__ import annotations

import json
from typing import Any, Self

from secagg.errors import DecodeError, LeakageExceeded, ParameterError

__all__ = ["LeakageLedger"]

_FORMAT = "secagg-leakage-1"


class LeakageLedger:
    """Functionals opened so far, by round, and the most that may ever be.

    Store `to_bytes()` after every `submit`, before anything of that round is sent.
    """

    def __init__(self, *, most: int) -> None:
        if type(most) is not int or most < 0:
            raise ParameterError(f"most >= 0, an int, must hold, got {most!r:.40}")
        self.most = most
        self._opened: dict[bytes, int] = {}

    @property
    def spent(self) -> int:
        """Functionals charged so far."""
        return sum(self._opened.values())

    def require(self, name: bytes, opened: int) -> None:
        """Raise `LeakageExceeded` if the round of this name may not open so much, and
        `ParameterError` if it was charged with another number before.
        """
        if type(opened) is not int or opened < 0:
            raise ParameterError(f"opened >= 0, an int, must hold, got {opened!r:.40}")
        if self._opened.get(name, opened) != opened:
            raise ParameterError("this round was charged before, and with another number")
        if name not in self._opened and self.spent + opened > self.most:
            raise LeakageExceeded(
                f"opened <= {self.most} in all must hold: {self.spent} numbers were opened, and "
                f"this round would open {opened} more"
            )

    def charge(self, name: bytes, opened: int) -> None:
        """Charge the round of this name, once however often it is asked; raises as `require`."""
        self.require(name, opened)
        self._opened[name] = opened

    def to_bytes(self) -> bytes:
        """The ledger as JSON, for the caller's own store. `most` is configuration and not in it."""
        rounds = {name.hex(): opened for name, opened in sorted(self._opened.items())}
        return json.dumps({"format": _FORMAT, "opened": rounds}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, most: int) -> Self:
        """The ledger that `to_bytes` wrote; `DecodeError` for anything else."""
        ledger = cls(most=most)
        try:
            ledger._opened = _parse(json.loads(data))
        except (ValueError, RecursionError):
            raise DecodeError("not a leakage ledger") from None
        return ledger

    def __repr__(self) -> str:
        return f"<LeakageLedger of {len(self._opened)} rounds, {self.spent} of {self.most} opened>"


def _parse(document: Any) -> dict[bytes, int]:
    if not isinstance(document, dict) or document.keys() != {"format", "opened"}:
        raise ValueError
    opened = document["opened"]
    if document["format"] != _FORMAT or not isinstance(opened, dict):
        raise ValueError
    if any(type(count) is not int or count < 0 for count in opened.values()):
        raise ValueError
    return {bytes.fromhex(name): count for name, count in opened.items()}
