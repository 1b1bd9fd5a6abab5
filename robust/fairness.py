"""Whom the robustness hits: exclusions and lost weight by declared subgroup and by data size.

Rules that look for the unusual exclude the unusual: clients with rare labels, few data, another
language. A report says who was left out, over rounds, in each declared subgroup and each quarter of
data sizes, and whether that may be chance.

What is counted. A client's verdicts of different rounds are anything but independent, so the unit
of all intervals and tests is the *client*: it counts as excluded if that happened in at least a
share `often` of its rounds. Where the truth is known (a simulation, a confirmed attack) attackers
are set aside, and every exclusion in the report is a false one.

Intervals are Wilson's [Wilson27] for one rate, not corrected for their number. The test of a part
against all others is Fisher's, exact and two-sided [Fisher35]: the sum of the probabilities of all
tables, with these margins, no likelier than the one seen. P-values are multiplied by the number of
parts that could be told from chance at all [Tarone90]. Where even the most uneven table
would not reach `level`, the report says that clients are too few to tell, and not that all is well.

Subgroups are as declared: nobody checked them, and a report over a few clients points at them.

[Wilson27]  Wilson: Probable Inference, the Law of Succession, and Statistical Inference, JASA 22,
            1927.
[Fisher35]  Fisher: The Logic of Inductive Inference, J. Royal Statistical Society 98, 1935.
[Tarone90]  Tarone: A Modified Bonferroni Method for Discrete Data, Biometrics 46, 1990.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean
from types import MappingProxyType

import numpy as np

from robust.errors import ObservationError, require

__all__ = [
    "UNDECLARED",
    "FairnessReport",
    "Part",
    "RoundWeights",
    "Verdict",
    "fairness_report",
    "fisher_exact",
    "render",
    "wilson",
]

UNDECLARED = "undeclared"
"""The subgroup of clients that declared none."""

_QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")


class Verdict(enum.Enum):
    """What the test of a part says."""

    UNEVEN = "differs from the others"
    NO_SIGN = "no sign of a difference"
    TOO_FEW = "too few to tell"


@dataclass(frozen=True, kw_only=True)
class RoundWeights:
    """What each client of one round counted for.

    Attributes
    ----------
    number: of the round, >= 0.
    weights: client -> in [0, 1] of what it would have counted for without robustness; 0 is
        exclusion. At least one client.
    """

    number: int
    weights: Mapping[int, float]

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or isinstance(self.number, bool) or self.number < 0:
            raise ObservationError(f"number >= 0 must hold for an integer, got {self.number!r}")
        if not self.weights:
            raise ObservationError("weights must name at least one client")
        for client, weight in self.weights.items():
            if not 0 <= weight <= 1:  # a NaN fails too
                raise ObservationError(f"0 <= weight <= 1 must hold for client {client}")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One subgroup, or one quarter of data sizes.

    Attributes
    ----------
    name: as declared.
    clients: in it, and seen in a round (and not known attackers); >= 1.
    excluded: of those, excluded in at least the share `often` of their rounds.
    low, high: Wilson interval of excluded / clients.
    weight_lost: mean over its clients of the mean over their rounds of 1 - weight.
    p_value: of Fisher's test against all other clients, corrected; 1 if there are no others.
    verdict: see `Verdict`.
    """

    name: str
    clients: int
    excluded: int
    low: float
    high: float
    weight_lost: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class FairnessReport:
    """Whom exclusions hit.

    Attributes
    ----------
    rounds: how many.
    all: every client together; its verdict is `TOO_FEW`, as there is nobody to compare with.
    attackers: known ones that were set aside; None where the truth is not known.
    subgroups: by name; undeclared clients are under "undeclared".
    sizes: by data size, smallest quarter first; empty without sizes. Equal sizes stay together.
    level: of tests and of intervals.
    often: the share of its rounds from which on a client counts as excluded.
    """

    rounds: int
    all: Part
    attackers: int | None
    subgroups: tuple[Part, ...]
    sizes: tuple[Part, ...]
    level: float
    often: float


@dataclass(frozen=True, kw_only=True)
class _Client:
    """One client over its rounds."""

    id: int
    excluded: bool
    lost: float


def fairness_report(
    rounds: Sequence[RoundWeights],
    *,
    subgroups: Mapping[int, str] | None = None,
    sizes: Mapping[int, int] | None = None,
    attackers: Collection[int] | None = None,
    often: float = 0.5,
    level: float = 0.05,
) -> FairnessReport:
    """The report over `rounds`.

    `subgroups` maps a client to its subgroup; `sizes` to how many data it has, >= 0, and who has no
    entry is left out of the quarters. `attackers` are the known ones, nobody else being one; None
    if the truth is not known. A client counts as excluded from the share `often` of its rounds on,
    0 < often <= 1. 0 < level < 1 is the most that the chance of calling any of a family of even
    parts uneven is (all subgroups, or all quarters), and about that of an interval to miss.

    Raises `ParameterError` for `often` and `level`, `ObservationError` where no round is given, or
    one twice, for a negative size, and where all clients are attackers.
    """
    require(0 < often <= 1, f"0 < often <= 1, here {often},")
    require(0 < level < 1, f"0 < level < 1, here {level},")
    numbers = [one.number for one in rounds]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ObservationError("rounds must be given, at least one, each once")
    clients = _clients(rounds, frozenset(attackers or ()), often)
    if not clients:
        raise ObservationError("a client that is no attacker must have been seen")
    return FairnessReport(
        rounds=len(rounds),
        all=_part("all clients", clients, level),
        attackers=None if attackers is None else len(set(attackers)),
        subgroups=_compared(_by_subgroup(clients, subgroups or {}), level),
        sizes=_compared(_by_size(clients, sizes or {}), level),
        level=level,
        often=often,
    )


def wilson(successes: int, trials: int, level: float = 0.05) -> tuple[float, float]:
    """The interval of [Wilson27] for a rate, that misses it with probability about `level`.

    Raises `ParameterError` unless 0 <= successes <= trials, trials >= 1 and 0 < level < 1.
    """
    require(0 <= successes <= trials and trials >= 1, "0 <= successes <= trials, trials >= 1")
    require(0 < level < 1, f"0 < level < 1, here {level},")
    z = NormalDist().inv_cdf(1 - level / 2)
    rate, spread = successes / trials, z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == trials else min(1.0, middle + half)


def fisher_exact(inside: int, part: int, excluded: int, clients: int) -> float:
    """Two-sided p-value of `inside` of the `excluded` falling into `part` of `clients`.

    Exact up to one rounding: probabilities are compared and added as integers. Raises
    `ParameterError` for a table that does not exist.
    """
    least, most = _range(part, excluded, clients)
    require(least <= inside <= most, f"{least} <= inside <= {most}, here {inside},")
    ways = [_ways(count, part, excluded, clients) for count in range(least, most + 1)]
    seen = ways[inside - least]
    return sum(way for way in ways if way <= seen) / math.comb(clients, excluded)


def render(report: FairnessReport) -> str:
    """The report as plain text, without a newline at its end."""
    kind = "exclusions" if report.attackers is None else "false exclusions"
    lines = [
        f"{kind}: {report.all.excluded} of {report.all.clients} clients over {report.rounds} rounds"
        f" (excluded in at least {report.often:.0%} of its rounds)",
        "the truth is not known: an exclusion may be deserved"
        if report.attackers is None
        else f"{report.attackers} known attackers are set aside",
        f"intervals {1 - report.level:.0%}; p-values exact, corrected for the number of parts",
    ]
    for title, parts in (("subgroup", report.subgroups), ("data size", report.sizes)):
        if parts:
            lines += ["", *_table(title, [*parts, report.all])]
    return "\n".join(lines)


def _clients(
    rounds: Sequence[RoundWeights], attackers: frozenset[int], often: float
) -> tuple[_Client, ...]:
    seen: dict[int, list[float]] = {}
    for one in rounds:
        for client, weight in one.weights.items():
            if client not in attackers:
                seen.setdefault(client, []).append(weight)
    return tuple(
        _Client(
            id=client,
            excluded=weights.count(0.0) >= often * len(weights),
            lost=fmean(1.0 - weight for weight in weights),
        )
        for client, weights in sorted(seen.items())
    )


def _by_subgroup(
    clients: Sequence[_Client], subgroups: Mapping[int, str]
) -> dict[str, list[_Client]]:
    if not subgroups:
        return {}
    found: dict[str, list[_Client]] = {}
    for client in clients:
        found.setdefault(subgroups.get(client.id, UNDECLARED), []).append(client)
    return dict(sorted(found.items()))


def _by_size(clients: Sequence[_Client], sizes: Mapping[int, int]) -> dict[str, list[_Client]]:
    """Quarters of those whose size is declared; clients of one size are in the same quarter."""
    if any(size < 0 for size in sizes.values()):
        raise ObservationError("0 <= size must hold for every client")
    known = [client for client in clients if client.id in sizes]
    if not known:
        return {}
    values = np.array([sizes[client.id] for client in known], dtype=np.float64)
    # a client's quarter is that of the lowest rank among those of its size
    ranks = np.searchsorted(np.sort(values), values)
    quarters = 4 * ranks // len(known)
    found: dict[str, list[_Client]] = {}
    for quarter, client in sorted(zip(quarters.tolist(), known, strict=True), key=_first):
        found.setdefault(_QUARTERS[quarter], []).append(client)
    return found


def _first(pair: tuple[int, _Client]) -> int:
    return pair[0]


def _part(name: str, clients: Sequence[_Client], level: float) -> Part:
    excluded = sum(client.excluded for client in clients)
    low, high = wilson(excluded, len(clients), level)
    return Part(
        name=name,
        clients=len(clients),
        excluded=excluded,
        low=low,
        high=high,
        weight_lost=fmean(client.lost for client in clients),
        p_value=1.0,
        verdict=Verdict.TOO_FEW,
    )


def _compared(parts: Mapping[str, Sequence[_Client]], level: float) -> tuple[Part, ...]:
    """Each part tested against everybody who is in another part."""
    bare = [_part(name, members, level) for name, members in parts.items()]
    total = sum(part.clients for part in bare)
    excluded = sum(part.excluded for part in bare)
    least = [_least_p(part.clients, excluded, total) for part in bare]
    factor = _testable(least, level)
    return tuple(
        _judged(part, factor * fisher_exact(part.excluded, part.clients, excluded, total), level)
        if factor * best <= level
        else part
        for part, best in zip(bare, least, strict=True)
    )


def _judged(part: Part, p_value: float, level: float) -> Part:
    verdict = Verdict.UNEVEN if p_value <= level else Verdict.NO_SIGN
    return replace(part, p_value=min(1.0, p_value), verdict=verdict)


def _testable(least: Sequence[float], level: float) -> int:
    """The smallest K such that at most K of `least` are <= level / K [Tarone90]."""
    return next(k for k in range(1, len(least) + 2) if sum(k * p <= level for p in least) <= k)


def _least_p(part: int, excluded: int, clients: int) -> float:
    """The least p-value of any table with these margins."""
    return min(
        fisher_exact(edge, part, excluded, clients) for edge in _range(part, excluded, clients)
    )


def _range(part: int, excluded: int, clients: int) -> tuple[int, int]:
    """The fewest and the most excluded that may fall into the part."""
    require(0 <= part <= clients and 0 <= excluded <= clients, "0 <= part, excluded <= clients")
    return max(0, part + excluded - clients), min(part, excluded)


def _ways(inside: int, part: int, excluded: int, clients: int) -> int:
    return math.comb(part, inside) * math.comb(clients - part, excluded - inside)


def _table(title: str, parts: Sequence[Part]) -> list[str]:
    head = (title, "clients", "excluded", "rate", "interval", "weight lost", "p", "")
    rows = [head, *(_row(part) for part in parts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i in {0, 7} else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(part: Part) -> tuple[str, ...]:
    whole = part.name == "all clients"
    return (
        part.name,
        str(part.clients),
        str(part.excluded),
        f"{part.excluded / part.clients:.1%}",
        f"{part.low:.1%} to {part.high:.1%}",
        f"{part.weight_lost:.1%}",
        "" if whole else f"{part.p_value:.3g}",
        "" if whole else part.verdict.value,
    )
