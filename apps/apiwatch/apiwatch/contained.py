"""Where an error of the watcher ends, so that what it watches goes on."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Self

from apiwatch.watch import Meter

__all__ = ["Contained"]

_LOG = logging.getLogger("apiwatch")


class Contained:
    """A block whose errors are counted, logged and ended here; `failed` says whether there was one.

    This is the one place that stops every error: an application must not fall with what watches
    it. Cancellations and exits are no errors and go on. The log gets the kind of error and where
    it came from but not its message, which may hold a part of a request.
    """

    def __init__(self, where: str, meter: Meter) -> None:
        self._where = where
        self._meter = meter
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self.failed = True
        self._meter.failed(self._where)
        frames = "".join(traceback.format_tb(trace))
        _LOG.error("%s failed with %s\n%s", self._where, kind.__name__, frames)
        return True
