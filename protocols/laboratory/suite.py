"""Every attack that applies to a round, on digits: what `secagg audit leakage` shows.

    for row in rows(Exposure.of(plan), np.random.default_rng(1)):
        print(row.question, row.seen, row.figure.found.value, row.figure.control.value)

What is attacked are clients of a small network on real data, which is not the reader's. The figures
say what kind of thing gets through a plan like this one, and are no bound for another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Self

import numpy as np

from dp.account_reduction import gaussian_multiplier
from dp.audit.attack import Attack, Trial
from dp.audit.choice_fit_scipy import LabelFit
from dp.audit.choice_learned import Learned
from dp.audit.choice_linked import Linked
from dp.audit.images_skimage import matched, measure_images
from dp.audit.measure import Figure, measure
from dp.audit.member_correlation import Correlation
from dp.audit.member_whitened import Whitened
from dp.audit.records_imprinted import Imprinted
from protocols.federation.data import Split, digits, split
from protocols.federation.model import Network
from protocols.federation.observe import gaussian
from protocols.laboratory.hostile import imprint_trials
from protocols.laboratory.images import SHAPE, pixels
from protocols.laboratory.membership import records, sum_trials, users
from protocols.laboratory.statistics import clients, label_trials, lifted, link_trials, sketch
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.screening import MaskedScreen
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["MOST_CLIENTS", "Exposure", "Row", "rows"]

MOST_CLIENTS = 400
_RECORDS = 10  # of each client whose single records are looked for
_BINS = 512
_SHOWN = 8  # images of a trial


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What there is to attack in a round.

    Attributes
    ----------
    clients: whose updates a sum adds up.
    noise: standard deviation of the noise in a sum over the clip bound; 0 without any.
    opened: numbers that are opened of each update before the sum.

    Raises `ParameterError` unless 1 <= clients <= 400, 0 <= noise < infinity and opened >= 0.
    """

    clients: int
    noise: float = 0.0
    opened: int = 0

    def __post_init__(self) -> None:
        fits = 1 <= self.clients <= MOST_CLIENTS and 0 <= self.noise < np.inf and self.opened >= 0
        if not fits:
            raise ParameterError(
                f"1 <= clients <= {MOST_CLIENTS}, 0 <= noise < infinity and opened >= 0 must hold, "
                f"got {self}"
            )

    @classmethod
    def of(cls, plan: RoundPlan) -> Self:
        """What a plan exposes at its worst: the smallest sum, and the noise that is certain.

        Larger sums count as of 400 clients. The noise is that of the Gaussian whose price the
        release has.
        """
        encoding = plan.quantize
        return cls(
            clients=min(plan.scheme.honest_inputs, MOST_CLIENTS),
            noise=gaussian_multiplier(encoding.event) if isinstance(encoding, Private) else 0.0,
            opened=_rows(plan),
        )


def _rows(plan: RoundPlan) -> int:
    """Numbers of a sketch; a norm and a cosine tell nothing of a direction that is not public."""
    return plan.screen.rows if isinstance(plan.screen, MaskedScreen) else 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: what is asked, who sees what, and how well they do.

    pictures: of the first trial, up to eight, the true ones and what was found, (2, m, 64).
    """

    question: str
    seen: str
    exposure: Exposure
    figure: Figure
    pictures: Array | None = field(default=None, repr=False, compare=False)


def rows(exposure: Exposure, rng: np.random.Generator, *, quick: bool = True) -> Iterator[Row]:
    """Cheap attacks first. quick: with few trials, in seconds each.

    Raises `ImportError`, naming the extra, without scikit-learn for the data. Inversion is left out
    without torch, and for sums that are too large for it.
    """
    data = split(digits(), rng)
    if exposure.opened:
        yield from _statistics(exposure, data, rng)
    yield from _membership(exposure, data, rng, 400 if quick else 2000)
    yield from _imprinted(exposure, rng)
    if find_spec("torch") is not None:
        yield from _inverted(exposure, rng, 5 if quick else 50)


def _membership(
    exposure: Exposure, data: Split, rng: np.random.Generator, count: int
) -> Iterator[Row]:
    many, noise = exposure.clients, exposure.noise
    pool = users(data, rng, count=max(2 * many, 200))
    trials = sum_trials(pool, rng, clients=many, noise=noise, count=count)
    row = partial(Row, question="is a client in the sum?", seen="the sum", exposure=exposure)
    mu = 1 / noise if noise else None
    for attack in (Correlation(), Whitened()):
        yield from (row(figure=each) for each in measure(attack, trials, rng, mu=mu))
    singles = records(data, rng, batch=_RECORDS)
    if many * _RECORDS > min(len(singles.clients), len(singles.imitated)) // 2:
        return
    # noise goes by the norm of a client; changing a record moves it by twice the clip at most
    trials = sum_trials(
        singles, rng, clients=many * _RECORDS, noise=noise * pool.norm / singles.norm, count=count
    )
    row = partial(Row, question="is a record in the sum?", seen="the sum", exposure=exposure)
    for figure in measure(Whitened(), trials, rng, mu=None if mu is None else 2 * mu):
        yield row(figure=figure)


def _statistics(exposure: Exposure, data: Split, rng: np.random.Generator) -> Iterator[Row]:
    seen = f"{exposure.opened} numbers of each update"
    for held, question in ((1, "the label of a record?"), (20, "the most frequent label of 20?")):
        found = clients(data, rng, records=held)
        project = gaussian(exposure.opened, found.updates.shape[1], rng)
        trials = label_trials(found, sketch(project), rng, projection=project)
        for attack in (LabelFit(), Learned()):
            (figure,) = measure(attack, trials, rng)
            yield Row(question=question, seen=seen, exposure=exposure, figure=figure)
    row = partial(Row, question="which client was it before?", exposure=exposure)
    again = gaussian(exposure.opened, found.updates.shape[1], rng)
    same = link_trials(found, sketch(project))
    fresh = link_trials(found, lifted(project), lifted(again))
    for how, linked in (("one map", same), ("a map for each round", fresh)):
        (figure,) = measure(Linked(), linked, rng)
        yield row(seen=f"{seen}, {how}", figure=figure)


def _imprinted(exposure: Exposure, rng: np.random.Generator) -> Iterator[Row]:
    network = Network(inputs=SHAPE[0] * SHAPE[1], hidden=_BINS, classes=10)
    trials = imprint_trials(
        pixels(digits()), network, rng, clients=exposure.clients, noise=exposure.noise, count=2
    )
    seen = "the sum, of a model that the server made for it"
    yield from _images(Imprinted(inputs=network.inputs, bins=_BINS), trials, exposure, seen, rng)


def _inverted(exposure: Exposure, rng: np.random.Generator, most: int) -> Iterator[Row]:
    """Of sums of at most so many clients, and of what is opened of one."""
    from dp.audit.invert_torch import Inversion  # noqa: PLC0415 -- an extra, and slow to import
    from protocols.laboratory.inversion import Perceptron, image_trials  # noqa: PLC0415

    many, model, images = exposure.clients, Perceptron(), pixels(digits())
    make = partial(image_trials, images, model, rng)
    if exposure.opened:
        trials = make(clients=1, sketch=exposure.opened, count=3)
        attack = Inversion(model=model, iterations=200, sketched=True)
        seen = f"{exposure.opened} numbers of each update, of one record"
        yield from _images(attack, trials, exposure, seen, rng)
    if many > most:
        return
    for steps in (1, 5) if many <= 10 else (1,):
        count = 3 if many <= 2 else 1
        trials = make(clients=many, steps=steps, noise=exposure.noise, count=count)
        attack = Inversion(model=model, steps=steps, iterations=100 + 20 * many)
        seen = f"the sum, {steps} local step{'s' if steps > 1 else ''}"
        yield from _images(attack, trials, exposure, seen, rng)


def _images(
    attack: Attack,
    trials: Sequence[Trial],
    exposure: Exposure,
    seen: str,
    rng: np.random.Generator,
) -> Iterator[Row]:
    row = partial(Row, question="which image was it?", seen=seen, exposure=exposure)
    first, *others = measure_images(attack, trials, rng, shape=SHAPE)
    truth = trials[0].truth
    shown = attack.run(trials[0].view, np.random.default_rng(_SHOWN))
    found = matched(shown, truth)
    yield row(figure=first, pictures=np.stack([truth[:_SHOWN], found[:_SHOWN]]))
    yield from (row(figure=figure) for figure in others)
