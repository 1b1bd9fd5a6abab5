"""Log lines: one JSON object each, with a time and an event. No value in one is a secret.

Ids of parties and tasks, sizes, counts, durations and texts of errors appear; keys, shares, nonces
and bodies never do.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["Log"]

Value = str | int | float | bool


class Log(logging.Handler):
    """Writes to a stream, by default the standard error. It also takes what uvicorn has to say."""

    def __init__(self, party: str, stream: TextIO | None = None) -> None:
        super().__init__(logging.WARNING)
        self._party = party
        self._stream = sys.stderr if stream is None else stream
        self._alone = threading.Lock()

    def __call__(self, event: str, **values: Value) -> None:
        """One line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "party": self._party, "event": event, **values})
        with self._alone:
            self._stream.write(line + "\n")
            self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """A warning or an error of uvicorn, with the kind of an exception and no more of it."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        self("server", level=record.levelname, text=record.getMessage().strip(), error=kind)

    def attach(self) -> None:
        """Take what uvicorn says, in the place of its own handlers."""
        logger = logging.getLogger("uvicorn")
        logger.handlers = [self]
        logger.propagate = False
