"""How much memory this process took at most."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["Watermark"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Watermark:
    """Resident bytes from construction on.

    Linux keeps a high-water mark per address space (`VmHWM`) and resets it on request. `ru_maxrss`
    is the fallback only: on Linux a child starts from its *parent's* peak, which survives `exec`.
    """

    def __init__(self) -> None:
        self._exact = _STATUS.exists()
        if self._exact:
            with suppress(OSError):  # forbidden in some containers: then the peak errs upwards
                _RESET.write_text("5")
            self.before = _status("VmRSS")
        else:
            self.before = _ru_maxrss()

    def peak(self) -> int:
        """The most so far, `before` included."""
        return _status("VmHWM") if self._exact else _ru_maxrss()


def _status(field: str) -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) << 10


def _ru_maxrss() -> int:
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
