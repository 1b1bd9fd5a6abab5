"""JSON lines of one format and of the same sources: what long runs keep, to go on where they ended.

    {"format": 1, "sources": "<sha256>", …}

Results of different sources do not belong in one table, so a file has one hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secagg.errors import ParameterError

__all__ = ["Lines"]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What every line has. format: its version. sources: a hash; of: what it is of, in words.
    fields: the others.
    """

    format: int
    sources: str
    fields: Set[str]
    of: str = "sources"

    @property
    def head(self) -> dict[str, Any]:
        """What a line begins with."""
        return {"format": self.format, "sources": self.sources}

    def read(self, path: Path, take: Callable[[dict[str, Any]], None]) -> int:
        """How many bytes the lines of a file have; each is given to `take`, which may raise
        `ValueError` or `TypeError`.

        A last line that was cut off is not counted, so that it is written over, if it begins as
        one. Raises `ParameterError`, naming the line, for what is no line of these.
        """
        *complete, last = path.read_bytes().split(b"\n")
        for number, line in enumerate(complete, 1):
            try:
                take(self._checked(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ParameterError(f"{path}, line {number}: {error}") from None
        begun = json.dumps(self.head).encode()[:-1]
        if last[: len(begun)] != begun[: len(last)]:
            raise ParameterError(
                f"{path}, line {len(complete) + 1}: no result that was cut off, and it would be "
                "written over"
            )
        return sum(len(line) + 1 for line in complete)

    def _checked(self, document: Any) -> dict[str, Any]:
        due = {*self.head, *self.fields}
        if not isinstance(document, dict) or set(document) != due:
            raise ParameterError(f"a line has the fields {', '.join(sorted(due))}")
        if document["format"] != self.format:
            raise ParameterError(f"format must be {self.format}")
        if document["sources"] != self.sources:
            raise ParameterError(
                f"a result of other {self.of}: sources {str(document['sources'])[:12]} where "
                f"{self.sources[:12]} must hold"
            )
        return document
