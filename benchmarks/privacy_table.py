"""The figures on privacy as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.privacy import CLIENTS, DELTA, RATE, ROUNDS, SIZE, Privacy
from benchmarks.table import Table

__all__ = ["privacy_tables"]


def privacy_tables(found: Privacy) -> Iterator[Table]:
    """As the page shows them."""
    yield _width_table(found)
    yield _sampled_table(found)
    yield _delivered_table(found)
    if found.trained:
        yield _trained_table(found)
    yield _speed_table(found)


def _width_table(found: Privacy) -> Table:
    header = ["noise, width", "units", "norm", "published DDG", "published Skellam", "here"]
    header += ["here, rounded once", "central Gaussian", "noise for the central epsilon"]
    rows = [
        [
            f"z = {item.z:g}, {item.width} bits",
            f"{item.units:,}",
            _more(item.inflation),
            _shown(item.ddg),
            _shown(item.skellam),
            _shown(item.reduction),
            _shown(item.once),
            _shown(found.central[item.z]),
            "does not fit" if item.chosen is None else _more(item.chosen),
        ]
        for item in found.priced
    ]
    return Table(f"Epsilon of one round, by width: {_case()}", header, rows)


def _sampled_table(found: Privacy) -> Table:
    header = ["noise, width", "published Skellam, sampled", "here", "central Gaussian"]
    rows = [
        [
            f"z = {item.z:g}, {item.width} bits",
            *map(_shown, (item.published, item.reduction, item.central)),
        ]
        for item in found.sampled
    ]
    title = f"Epsilon of {ROUNDS} rounds, each client in {RATE:.0%} of them: {_case()}"
    return Table(title, header, rows)


def _delivered_table(found: Privacy) -> Table:
    header = ["dropped, colluding", "shares for all: epsilon", "here: epsilon", "shares counted on"]
    header += ["deviation if nobody drops", "if all do who may"]
    rows = [
        [
            f"{item.dropped:.0%}, {item.colluding:.0%}",
            _shown(item.naive),
            _shown(item.ours),
            str(item.shares),
            f"{math.sqrt(CLIENTS / item.shares):.3f}x",
            f"{math.sqrt(CLIENTS * (1 - item.dropped) / item.shares):.3f}x",
        ]
        for item in found.delivered
    ]
    return Table(f"Epsilon delivered, where z = 1 was promised: {_case()}, 16 bits", header, rows)


def _trained_table(found: Privacy) -> Table:
    rows = []
    for epsilon in dict.fromkeys(item.epsilon for item in found.trained):
        by = {item.by: item.accuracies for item in found.trained if item.epsilon == epsilon}
        cells = [_range(by.get(who) or by.get("")) for who in ("server", "clients")]
        rows.append(["infinite" if epsilon is None else f"{epsilon:g}", *cells])
    first = found.trained[0]
    runs = f"{first.rounds} rounds, mean (least to most) of {len(first.accuracies)} runs"
    title = f"Accuracy on the demo's digits: {CLIENTS} clients, {runs}"
    return Table(title, ["epsilon of the run", "noise by the server", "by the clients"], rows)


def _speed_table(found: Privacy) -> Table:
    names = list(dict.fromkeys(item.sampler for item in found.speeds))
    sigmas = sorted({item.sigma for item in found.speeds})
    rates = {(item.sampler, item.sigma): f"{item.rate:,.0f}" for item in found.speeds}
    rows = [[name, *(rates[name, sigma] for sigma in sigmas)] for name in names]
    header = ["sampler", *(f"sigma {sigma:,}" for sigma in sigmas)]
    return Table("Noise: samples a second, on one core", header, rows)


def _case() -> str:
    return f"n={CLIENTS}, d={SIZE:,}, delta={DELTA:g}"


def _more(part: float) -> str:
    return f"+{part:.2%}" if part < 1 else f"{1 + part:,.3g}x"


def _shown(epsilon: float | None) -> str:
    if epsilon is None:
        return "no bound"
    return f"{epsilon:.3f}" if epsilon < 100 else f"{epsilon:,.0f}"


def _range(accuracies: Sequence[float] | None) -> str:
    if not accuracies:
        return ""
    mean, least, most = fmean(accuracies), min(accuracies), max(accuracies)
    return f"{mean:.1%} ({least:.1%} to {most:.1%})"
