"""What a mode tells the server of one client: the strongest of the attacks that apply to it.

    for figure in measured(mode, population(data, rng), rng): ...

Maps, and groups, are drawn anew in each round, as the schemes draw them. What rounds add up to
beyond two is not measured: docs/explanation/leakage.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from dp.audit.attack import Attack
from dp.audit.choice_fit_scipy import LabelFit, label_mix
from dp.audit.choice_learned import Learned
from dp.audit.choice_linked import Linked
from dp.audit.measure import Figure, Interval, measure
from protocols.federation.observe import gaussian
from protocols.laboratory.modes import Mode, clipped
from protocols.laboratory.statistics import Clients, Statistic, label_trials, link_trials
from robust.observe import Array

__all__ = ["Seen", "Strongest", "advantage", "measured", "one_map", "strongest"]

_LINK = "which client was it before?"


class Seen(NamedTuple):
    """A figure, the question that it answers, and how the attack looked."""

    question: str
    how: str
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """The attack of the greatest advantage, over all questions.

    Attributes
    ----------
    advantage: see `advantage`; the interval is that of this attack alone.
    seen: which attack, and its figure.
    """

    advantage: Interval
    seen: Seen


def measured(
    mode: Mode,
    found: Clients,
    bound: float,
    rng: np.random.Generator,
    *,
    question: str = "the most frequent label?",
    links: bool = True,
) -> Iterator[Seen]:
    """All attacks that apply: labels, by two attacks, and which client of the last round it was.

    bound: the norm that clients clip to. question: what labels are asked. links: whether clients
    are looked for in the round before.
    """
    held = _held(found, bound)
    first, second = (_map(mode, held, rng) for _ in "ab")
    see = partial(mode.opened, projection=first, bound=bound, rng=rng)
    trials = label_trials(held, see, rng, group=mode.group, projection=first)
    attacks: list[Attack] = [Learned()] if first is None else [LabelFit(), Learned()]
    for attack in attacks:
        (figure,) = measure(attack, trials, rng, mu=mode.mu())
        yield Seen(question, "", figure)
    if links:
        yield from _links(mode, held, (first, second), bound, rng)


def one_map(mode: Mode, found: Clients, bound: float, rng: np.random.Generator) -> Seen:
    """Links if all rounds had one map of this linear mode, which no plan has: why maps are drawn
    anew.
    """
    held = _held(found, bound)
    see = partial(mode.opened, projection=_map(mode, held, rng), bound=bound, rng=rng)
    trials = link_trials(held, see, group=mode.group, rng=rng)
    return Seen(_LINK, "if rounds had one map", measure(Linked(), trials, rng, mu=mode.mu(2))[0])


def strongest(figures: Iterable[Seen]) -> Strongest:
    """Of at least one figure."""
    seen = max(figures, key=lambda each: advantage(each.figure).value)
    return Strongest(advantage=advantage(seen.figure), seen=seen)


def advantage(figure: Figure) -> Interval:
    """How much of the way from the control to certainty an attack goes: 0 for one that is no better
    than who saw nothing, 1 for one that is always right. The control is taken as exact.
    """
    nothing = figure.control.value

    def share(value: float) -> float:
        return max(0.0, (value - nothing) / (1 - nothing)) if nothing < 1 else 0.0

    found = figure.found
    return Interval(value=share(found.value), low=share(found.low), high=share(found.high))


def _links(
    mode: Mode,
    held: Clients,
    maps: tuple[Array | None, Array | None],
    bound: float,
    rng: np.random.Generator,
) -> Iterator[Seen]:
    see = [partial(mode.opened, projection=one, bound=bound, rng=rng) for one in maps]
    first, second = maps
    if first is None or second is None:
        trials = link_trials(held, see[0], see[1], group=mode.group, rng=rng)
        yield Seen(_LINK, "", measure(Linked(), trials, rng, mu=mode.mu(2))[0])
        return
    carried = first @ second.T
    ways: dict[str, tuple[Statistic, Statistic]] = {
        "numbers carried to the new map": (lambda rows: see[0](rows) @ carried, see[1]),
        "mixes of labels": (
            lambda rows: _mixes(see[0](rows), first, held),
            lambda rows: _mixes(see[1](rows), second, held),
        ),
    }
    for how, (earlier, later) in ways.items():
        trials = link_trials(held, earlier, later, group=mode.group, rng=rng)
        yield Seen(_LINK, how, measure(Linked(), trials, rng, mu=mode.mu(2))[0])


def _held(found: Clients, bound: float) -> Clients:
    """The same, clipped."""
    return replace(
        found,
        updates=clipped(found.updates, bound),
        again=clipped(found.again, bound),
        imitated=clipped(found.imitated, bound),
    )


def _mixes(numbers: Array, projection: Array, held: Clients) -> Array:
    """Shares of the classes (n, c) that numbers (n, k) look like."""
    classes = held.classes @ projection.T
    return np.stack([label_mix(row, classes) for row in numbers])


def _map(mode: Mode, held: Clients, rng: np.random.Generator) -> Array | None:
    size = held.updates.shape[1]
    return gaussian(mode.numbers, size, rng) if mode.kind.is_linear else None
