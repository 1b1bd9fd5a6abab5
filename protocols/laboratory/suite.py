"""Every attack that applies to a round: what `secagg audit leakage` shows.

    for row in rows(Exposure.of(plan), np.random.default_rng(1)):
        ...

What is attacked are clients of a *subject*: by default a small network on digits, which is not the
reader's. Figures then say what kind of thing gets through a plan like this one, and are no bound
for another model. `protocols.laboratory.brought` is for a model and data of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from dp.audit.measure import measure
from dp.audit.member_correlation import Correlation
from dp.audit.member_whitened import Whitened
from protocols.federation.data import digits, split
from protocols.laboratory.exposure import Exposure, Row, Skipped
from protocols.laboratory.images import pixels
from protocols.laboratory.membership import Pool, records, sum_trials, users
from protocols.laboratory.modes import Kind
from protocols.laboratory.opened import measured, one_map
from protocols.laboratory.pictures import QUESTION, imprinted_rows, inverted_rows
from protocols.laboratory.statistics import Clients, clients

__all__ = ["DigitsSubject", "Subject", "rows"]

_RECORDS = 10  # of each client whose single records are looked for
_MIXED = 20  # of each client whose labels are asked for
_WHITENED = (Whitened(), Whitened(share=True))


class Subject(Protocol):
    """Whose clients are attacked: how they train, and on what."""

    def users(self, rng: np.random.Generator, *, count: int) -> Pool:
        """Updates of so many clients on each side, of one step on ten records."""

    def records(self, rng: np.random.Generator, *, batch: int) -> Pool:
        """What single records add to a step on `batch` of them."""

    def clients(self, rng: np.random.Generator, *, records: int) -> Clients:
        """Clients with so many records each, their labels mixed unevenly."""

    def pictures(
        self, exposure: Exposure, rng: np.random.Generator, *, quick: bool
    ) -> Iterator[Row | Skipped]:
        """Rows of attacks that rebuild records."""


class DigitsSubject:
    """Scikit-learn's digits. Raises `ImportError`, naming the extra, where they are missing."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._data = split(digits(), rng)

    def users(self, rng: np.random.Generator, *, count: int) -> Pool:
        return users(self._data, rng, count=count)

    def records(self, rng: np.random.Generator, *, batch: int) -> Pool:
        return records(self._data, rng, batch=batch)

    def clients(self, rng: np.random.Generator, *, records: int) -> Clients:
        return clients(self._data, rng, records=records)

    def pictures(
        self, exposure: Exposure, rng: np.random.Generator, *, quick: bool
    ) -> Iterator[Row | Skipped]:
        images = pixels(digits())
        yield from imprinted_rows(images, exposure, rng)
        if find_spec("torch") is None:
            why = "it needs PyTorch: pip install 'secagg[torch]'"
            yield Skipped(question=QUESTION, attack="inversion", why=why)
            return
        from protocols.laboratory.inversion import Perceptron  # noqa: PLC0415 -- an extra

        model = Perceptron()
        yield from inverted_rows(images, model, exposure, rng, most=5 if quick else 50)


def rows(
    exposure: Exposure,
    rng: np.random.Generator,
    *,
    quick: bool = True,
    subject: Subject | None = None,
) -> Iterator[Row | Skipped]:
    """Cheap attacks first. quick: with few trials, in seconds each. subject: digits by default.

    Raises `ImportError`, naming the extra, without scikit-learn for the digits.
    """
    whose = subject or DigitsSubject(rng)
    sums, images = rng.spawn(2)  # figures of one part do not go by how much another draws
    yield from _opened(exposure, whose, rng)
    yield from _membership(exposure, whose, sums, 900 if quick else 2000)
    yield from whose.pictures(exposure, images, quick=quick)


def _membership(
    exposure: Exposure, subject: Subject, rng: np.random.Generator, count: int
) -> Iterator[Row | Skipped]:
    many, noise = exposure.clients, exposure.noise
    pool = subject.users(rng, count=max(2 * many, 200))
    trials = sum_trials(pool, rng, clients=many, noise=noise, count=count)
    row = partial(Row, question="is a client in the sum?", seen="the sum", exposure=exposure)
    mu = 1 / noise if noise else None
    for attack in (Correlation(), *_WHITENED):
        yield from (row(figure=each) for each in measure(attack, trials, rng, mu=mu))
    singles = subject.records(rng, batch=_RECORDS)
    asked = "is a record in the sum?"
    most = min(len(singles.clients), len(singles.imitated)) // 2 // _RECORDS
    if many > most:
        why = f"there are records for sums of {most} clients at most"
        yield Skipped(question=asked, attack="whitened", why=why)
        return
    # noise goes by the norm of a client; changing a record moves it by twice the clip at most
    trials = sum_trials(
        singles, rng, clients=many * _RECORDS, noise=noise * pool.norm / singles.norm, count=count
    )
    row = partial(Row, question=asked, seen="the sum", exposure=exposure)
    for attack in _WHITENED:
        yield from (row(figure=each) for each in measure(attack, trials, rng, mu=mu and 2 * mu))


def _opened(exposure: Exposure, subject: Subject, rng: np.random.Generator) -> Iterator[Row]:
    """Who reads what from what is opened; clients clip to the longest update that there is."""
    mode = exposure.mode
    if mode.kind is Kind.NOTHING:
        return
    asked = {1: "the label of a record?", _MIXED: f"the most frequent label of {_MIXED}?"}
    for held, question in asked.items():
        found = subject.clients(rng, records=held)
        bound = float(np.linalg.norm(found.updates, axis=1).max())
        row = partial(Row, exposure=exposure)
        for seen in measured(mode, found, bound, rng, question=question, links=held > 1):
            told = f"{mode.name}, by {seen.how}" if seen.how else mode.name
            yield row(question=seen.question, seen=told, figure=seen.figure)
    if mode.kind is Kind.SKETCH:
        seen = one_map(mode, found, bound, rng)
        yield row(question=seen.question, seen=f"{mode.name}, {seen.how}", figure=seen.figure)
