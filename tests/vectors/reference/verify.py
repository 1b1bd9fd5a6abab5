"""`verify` takes a vector and says whether every byte of it is as the specification has it.

From the folder above: `python -m reference.verify secagg_plus/{primitives,graph_*,round_*}.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference.primitives import check_graph, check_primitives
from reference.refused import Refused, require
from reference.rounds import RoundCheck
from reference.vector import Checks, Vector

__all__ = ["Report", "verify"]


@dataclass(frozen=True)
class Report:
    """What was found.

    held: how often each kind of comparison held. problem: the first difference, None if there is
    none; nothing is compared after it.
    """

    held: Mapping[str, int]
    problem: str | None


def verify(vector: Mapping[str, Any]) -> Report:
    """Derive everything again from what the vector gives: a round from its plan, secrets and
    inputs, a graph from its cohort, single values from their arguments. Compare all of it.
    """
    checks = Checks()
    try:
        require(vector["kind"] in _CHECKS, "the kind is round, graph or primitives")
        _CHECKS[vector["kind"]](vector, checks)
    except Refused as difference:
        return Report(dict(checks.held), str(difference))
    return Report(dict(checks.held), None)


def _check_round(vector: Mapping[str, Any], checks: Checks) -> None:
    RoundCheck(Vector.read(vector), checks).run()


_CHECKS: dict[str, Callable[[Mapping[str, Any], Checks], None]] = {
    "round": _check_round,
    "graph": check_graph,
    "primitives": check_primitives,
}


def main(paths: list[str]) -> int:
    """Verify files; the exit status is the number of those with a problem."""
    reports = {path: verify(json.loads(Path(path).read_text())) for path in paths}
    for path, report in reports.items():
        result = report.problem or f"{sum(report.held.values())} comparisons held"
        sys.stdout.write(f"{path}: {result}\n")
    return sum(report.problem is not None for report in reports.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
