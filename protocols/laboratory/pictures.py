"""Attacks that rebuild images, as rows of the suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from dp.audit.attack import Attack, Trial
from dp.audit.images_skimage import matched, measure_images
from dp.audit.records_imprinted import Imprinted
from protocols.federation.model import Network
from protocols.laboratory.exposure import Exposure, Row, Skipped
from protocols.laboratory.hostile import imprint_trials
from protocols.laboratory.images import SHAPE
from robust.attacks.attack import Examples

if TYPE_CHECKING:
    from protocols.laboratory.inversion import Invertible

__all__ = ["QUESTION", "imprinted_rows", "inverted_rows"]

QUESTION = "which image was it?"
_BINS = 512
_SHOWN = 8  # images of a trial


def imprinted_rows(images: Examples, exposure: Exposure, rng: np.random.Generator) -> Iterator[Row]:
    """A server that has made a model for it: no clients of anybody's model are safe from that."""
    network = Network(inputs=images.inputs.shape[1], hidden=_BINS, classes=images.classes)
    trials = imprint_trials(
        images, network, rng, clients=exposure.clients, noise=exposure.noise, count=2
    )
    seen = "the sum, of a model that the server made for it"
    attack = Imprinted(inputs=network.inputs, bins=_BINS)
    yield from _rows(attack, trials, exposure, seen, rng, SHAPE)


def inverted_rows(
    images: Examples,
    model: Invertible,
    exposure: Exposure,
    rng: np.random.Generator,
    *,
    most: int,
    shape: tuple[int, int] = SHAPE,
) -> Iterator[Row | Skipped]:
    """Of sums of at most `most` clients, and of the numbers that are opened of so many.

    images: with brightness 0 … 1, of this shape. What is left out says so.
    """
    skipped = partial(Skipped, question=QUESTION, attack="inversion")
    if find_spec("torch") is None:
        yield skipped(why="it needs PyTorch: pip install 'secagg[torch]'")
        return
    why = f"it is tried on sums of {most} clients at most, and on larger ones with --full"
    if exposure.mode.group > most:
        yield skipped(attack="inversion of a sketch", why=why)
    else:
        yield from _sketched(images, model, exposure, rng, shape)
    if exposure.clients > most:
        yield skipped(why=why)
        return
    yield from _summed(images, model, exposure, rng, shape)


def _sketched(
    images: Examples,
    model: Invertible,
    exposure: Exposure,
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> Iterator[Row | Skipped]:
    from dp.audit.invert_torch import Inversion  # noqa: PLC0415 -- an extra, and slow to import
    from protocols.laboratory.inversion import image_trials  # noqa: PLC0415

    mode = exposure.mode
    if mode.numbers and mode.noise:
        why = "it is not adapted to noise in the numbers that are opened"
        yield Skipped(question=QUESTION, attack="inversion of a sketch", why=why)
    elif mode.numbers:
        count = _count(mode.group)
        trials = image_trials(
            images, model, rng, clients=mode.group, sketch=mode.numbers, count=count
        )
        attack = Inversion(model=model, iterations=200, sketched=True)
        yield from _rows(attack, trials, exposure, f"{mode.name}; one record each", rng, shape)


def _summed(
    images: Examples,
    model: Invertible,
    exposure: Exposure,
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> Iterator[Row]:
    from dp.audit.invert_torch import Inversion  # noqa: PLC0415 -- an extra, and slow to import
    from protocols.laboratory.inversion import image_trials  # noqa: PLC0415

    many = exposure.clients
    for steps in (1, 5) if many <= 10 else (1,):
        trials = image_trials(
            images, model, rng, clients=many, steps=steps, noise=exposure.noise,
            count=_count(many),
        )  # fmt: skip
        attack = Inversion(model=model, steps=steps, iterations=100 + 20 * many)
        seen = f"the sum, {steps} local step{'s' if steps > 1 else ''}"
        yield from _rows(attack, trials, exposure, seen, rng, shape)


def _count(clients: int) -> int:
    """How many sums: three and of eight images at least, but one where a search takes long."""
    return 1 if clients > 10 else max(3, 8 // clients)


def _rows(
    attack: Attack,
    trials: Sequence[Trial],
    exposure: Exposure,
    seen: str,
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> Iterator[Row]:
    row = partial(Row, question=QUESTION, seen=seen, exposure=exposure, shape=shape)
    first, *others = measure_images(attack, trials, rng, shape=shape)
    truth = trials[0].truth
    shown = attack.run(trials[0].view, np.random.default_rng(_SHOWN))
    found = matched(shown, truth)
    yield row(figure=first, pictures=np.stack([truth[:_SHOWN], found[:_SHOWN]]))
    yield from (row(figure=figure) for figure in others)
