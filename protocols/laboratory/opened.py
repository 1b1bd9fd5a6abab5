"""What a mode tells the server of one client: the strongest of the attacks that apply to it.

    for figure in measured(mode, population(data, rng), rng): ...

Maps, and groups, are drawn anew in each round, as the schemes draw them; a reference stays, and two
are tried: the server's own update, and one that was chosen to tell labels apart. What rounds add up
to beyond two is not measured: docs/explanation/leakage.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from dp.audit.attack import Attack
from dp.audit.choice_fit_scipy import LabelFit, label_mix
from dp.audit.choice_learned import Learned
from dp.audit.choice_linked import Linked
from dp.audit.choice_nearest import Nearest
from dp.audit.measure import Figure, Interval, measure
from protocols.federation.observe import gaussian
from protocols.laboratory.modes import Kind, Mode, clipped
from protocols.laboratory.references import own, telling
from protocols.laboratory.statistics import Clients, Statistic, label_trials, link_trials
from robust.observe import Array

__all__ = ["Seen", "Strongest", "advantage", "measured", "one_map", "strongest"]

_LINK = "which client was it before?"
_FLOOR = 0.01  # exact numbers have no noise that a variance could be mistaken for

_Maps = tuple[Array | None, Array | None]


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
    for how, maps in _maps(mode, held, rng):
        see = partial(mode.opened, projection=maps[0], bound=bound, rng=rng)
        told = maps[0] if mode.kind.is_linear else None
        trials = label_trials(held, see, rng, group=mode.group, projection=told)
        for attack in _on_labels(mode):
            (figure,) = measure(attack, trials, rng, mu=mode.mu())
            yield Seen(question, how, figure)
        if links:
            for seen in _links(mode, held, maps, bound, rng):
                yield seen._replace(how=seen.how or how)


def one_map(mode: Mode, found: Clients, bound: float, rng: np.random.Generator) -> Seen:
    """Links if all rounds had one map of this linear mode, which no plan has: why maps are drawn
    anew.
    """
    held = _held(found, bound)
    projection = gaussian(mode.numbers, held.updates.shape[1], rng)
    see = partial(mode.opened, projection=projection, bound=bound, rng=rng)
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
    maps: _Maps,
    bound: float,
    rng: np.random.Generator,
) -> Iterator[Seen]:
    see = [partial(mode.opened, projection=one, bound=bound, rng=rng) for one in maps]
    first, second = maps
    if first is None or second is None or not mode.kind.is_linear:
        trials = link_trials(held, see[0], see[1])
        yield Seen(_LINK, "", measure(Nearest(), trials, rng)[0])
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


def _maps(mode: Mode, held: Clients, rng: np.random.Generator) -> Iterator[tuple[str, _Maps]]:
    """What is public of two successive rounds, and in which way it was chosen."""
    if mode.kind.has_reference:
        yield "the server's own update", (own(held), own(held))
        yield "a reference that tells labels apart", (telling(held), telling(held))
    elif mode.kind.is_linear:
        size = held.updates.shape[1]
        yield "", (gaussian(mode.numbers, size, rng), gaussian(mode.numbers, size, rng))
    else:
        yield "", (None, None)


def _on_labels(mode: Mode) -> Sequence[Attack]:
    """Of a few numbers each label has its own scatter; of many that cannot be learned."""
    if mode.kind.is_linear:
        return LabelFit(), Learned()
    if mode.kind in (Kind.EXACT, Kind.COSINE):
        return Learned(floor=_FLOOR), Learned(shared=False, floor=_FLOOR)
    return (Learned(),)
