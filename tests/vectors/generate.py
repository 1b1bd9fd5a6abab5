"""Write the vectors: `python tests/vectors/generate.py [round_width_20 …]`.

HPKE draws its own randomness, so a round recorded again has other sealed parcels, and with them
other digests, transcripts and masks from the second phase on. Therefore the rounds, and the boxes
under `sealed`, are fixed files: this program writes a round only if its file is missing or if it is
named, and keeps stored boxes. Everything else is deterministic and is always written.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from drawn import graphs, primitives, refusals, rounds

_NUMBERS = re.compile(r"\[[-+.\deE,\s]+\]")
FOLDER = Path(__file__).parent / "secagg_plus"


def main(again: list[str]) -> None:
    """Bring the folder up to date; record the rounds named in `again` anew."""
    recorded = {}
    for case in rounds.CASES:
        if case.name in again or not _path(case.name).exists():
            _write(case.name, rounds.record(case))
        recorded[case.name] = _read(case.name)
    stored = _read("primitives")["sealed"] if _path("primitives").exists() else None
    _write("primitives", {**primitives.primitives(), "sealed": stored or primitives.sealed()})
    for name in graphs.CASES:
        _write(name, graphs.graph(name))
    _write("refusals", refusals.refusals(recorded))


def _path(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _read(name: str) -> Any:
    return json.loads(_path(name).read_text())


def _write(name: str, vector: dict[str, Any]) -> None:
    """A line per item, but one for each list of numbers."""
    text = json.dumps(vector, indent=1)
    _path(name).write_text(_NUMBERS.sub(lambda found: _one_line(found[0]), text) + "\n")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("[ ", "[").replace(" ]", "]")


if __name__ == "__main__":
    main(sys.argv[1:])
