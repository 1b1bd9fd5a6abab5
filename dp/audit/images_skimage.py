"""How near reconstructed images are. Needs scikit-image and scipy, of the extra `audit`.

Conclusions come in any order, so they are matched with the truth first, one to one, with the least
squared error in all. Then PSNR in decibels, up to 100, and SSIM [Wang04], which is 1 for the same
image. For small images a PSNR of 13 is what the mean image of a class reaches; look at the control.

[Wang04]  Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment: From Error Visibility to
          Structural Similarity, IEEE Trans. Image Processing 13, 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dp.audit.attack import Array, Attack, Trial
from dp.audit.measure import Figure, Interval, Metric, around, compare, counted
from dp.errors import require

try:
    from scipy.optimize import linear_sum_assignment
    from skimage.metrics import structural_similarity
except ImportError as error:
    raise ImportError(
        "images are measured with scikit-image: pip install 'secagg[audit]'"
    ) from error

__all__ = ["matched", "measure_images", "psnr", "ssim"]

_MOST = 100.0  # decibels
_SAME = 40.0  # nobody sees a difference
_similarity: Any = structural_similarity  # which has no types


def measure_images(
    attack: Attack, trials: Sequence[Trial], rng: np.random.Generator, *, shape: tuple[int, int]
) -> tuple[Figure, ...]:
    """Mean PSNR and SSIM over all records, the share above 40 dB, and the best PSNR of each trial,
    of which one alone says nothing and is left out.

    Intervals take the records of a sum for independent.

    shape: (height, width) of the image in a record, each >= 7, with height * width = f.

    Raises `ParameterError` for another shape, and as `dp.audit.measure.measure` does.
    """
    for trial in trials:
        fits = min(shape) >= 7 and trial.truth.ndim == 2
        fits = fits and trial.truth.shape[1] == shape[0] * shape[1]
        require(fits, f"shape: height * width = f, each >= 7, not {shape},")
    structure = _over(lambda found, truth: ssim(found, truth, shape), -1.0, 1.0)
    metrics = [
        Metric("PSNR", _over(psnr), _unbounded),
        Metric("SSIM", structure, _unbounded),
        Metric("above 40 dB", _same, _unbounded),
    ]
    if len(trials) > 1:
        best = _over(lambda found, truth: psnr(found, truth).max())
        metrics.append(Metric("best PSNR", best, _unbounded))
    return compare(attack, trials, rng, metrics)


def matched(found: Array, truth: Array) -> Array:
    """The found records (m, f) in the order of the true ones (m, f) that they are nearest to."""
    squares = (truth**2).sum(axis=1)[:, None] + (found**2).sum(axis=1)
    _, columns = linear_sum_assignment(squares - 2 * truth @ found.T)
    ordered: Array = found[columns]
    return ordered


def psnr(found: Array, truth: Array) -> Array:
    """Of each record, (m,), for values of 0 … 1."""
    error = ((np.clip(found, 0, 1) - truth) ** 2).mean(axis=1)
    decibels: Array = -10 * np.log10(np.maximum(error, 10 ** (-_MOST / 10)))
    return decibels


def ssim(found: Array, truth: Array, shape: tuple[int, int]) -> Array:
    """Of each record, (m,), for values of 0 … 1, with windows of 7 x 7."""
    pairs = zip(np.clip(found, 0, 1), truth, strict=True)
    return np.array(
        [
            _similarity(one.reshape(shape), other.reshape(shape), data_range=1.0)
            for one, other in pairs
        ]
    )


def _over(
    metric: Callable[[Array, Array], Array], least: float = 0.0, most: float = _MOST
) -> Callable[[Sequence[Array], Sequence[Array]], Interval]:
    """The mean of the metric over all trials."""
    return lambda found, truths: around(_each(metric, found, truths), least, most)


def _same(found: Sequence[Array], truths: Sequence[Array]) -> Interval:
    return counted(_each(psnr, found, truths) > _SAME)


def _each(
    metric: Callable[[Array, Array], Array], found: Sequence[Array], truths: Sequence[Array]
) -> Array:
    """The metric of matched records, of all trials."""
    pairs = zip(found, truths, strict=True)
    return np.hstack([metric(matched(*pair), pair[1]) for pair in pairs])


def _unbounded(_: float) -> None:
    return None
