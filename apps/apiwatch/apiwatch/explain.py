"""Why a request alerted: where, which characters, what is usual there, and what would clear it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apiwatch.calibration import total
from apiwatch.detector import Detector, Judged
from apiwatch.event import Field, Place
from apiwatch.features import classes_of, events, shape_text
from apiwatch.fields import fields
from apiwatch.normalize import template
from apiwatch.surprise import gram_bits
from apiwatch.table import cells_of

__all__ = ["Explanation", "Usual", "character_bits", "explain", "score_without"]

_SHAPES = 3
_KINDS = {
    "whole": "the value has not been seen here",
    "length": "its length is unusual here",
    "shape": "its shape is unusual here",
    "grams": "its characters follow each other in unusual ways",
    "gram": "three of its characters stand together as never before",
    "chars": "it holds several unusual characters",
    "char": "it holds a character that is not used here",
}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a person is told.

    reason: one sentence. bits: (len(value),) surprise of each character of the blamed value.
    usual: shapes that enough sites have seen there, commonest first. cleared: the score with
    something usual in the place of what is blamed.
    """

    judged: Judged
    reason: str
    bits: NDArray[np.float64]
    usual: tuple[str, ...]
    cleared: float


class Usual:
    """The commonest shapes of each parameter, as one site saw them. Shapes hold no values.

    They are shown only where at least `support` sites have set the shape's counter.
    """

    def __init__(self, shapes: Mapping[str, Sequence[str]]) -> None:
        self.shapes = dict(shapes)

    @classmethod
    def learn(cls, counts: Mapping[Field, int]) -> Usual:
        """Of what `gather` found, the three commonest shapes of each place."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for field, count in counts.items():
            if not field.place.is_atom:
                found[_where(field)][shape_text(field.value)] += count
        common = {key: shapes.most_common(_SHAPES) for key, shapes in found.items()}
        return cls({key: [shape for shape, _ in shapes] for key, shapes in common.items()})

    def of(
        self, field: Field, detector: Detector, sites: NDArray[np.int64], support: int
    ) -> tuple[str, ...]:
        """The shapes at the field's place that `support` sites agree on."""
        shapes = self.shapes.get(_where(field), ())
        if not shapes:
            return ()
        settings = detector.table.settings
        # a shape has its own shape, so it falls into the cell of the values that it stands for
        like = [Field(field.place, field.scope, field.name, shape) for shape in shapes]
        cells = cells_of(events(like, settings.salt), settings).shape[0]
        agreed = sites[cells] >= support
        return tuple(shape for shape, shown in zip(shapes, agreed, strict=True) if shown)


def explain(
    judged: Judged,
    detector: Detector,
    usual: Usual,
    *,
    sites: NDArray[np.int64],
    threshold: float,
) -> Explanation:
    """Everything about one alert. sites: how many sites set each cell of the table."""
    field = judged.field
    return Explanation(
        judged=judged,
        reason=f"{field.label} at {judged.endpoint or '/'}: {_KINDS[judged.kind]}",
        bits=character_bits(detector, field),
        usual=usual.of(field, detector, sites, detector.table.settings.support),
        cleared=score_without(judged, detector, threshold),
    )


def character_bits(detector: Detector, field: Field) -> NDArray[np.float64]:
    """(len(value),) the mean surprise of the three neighborhoods that each character is in."""
    if field.place.is_atom or not field.value:
        return np.zeros(len(field.value))
    settings = detector.table.settings
    shown = events([field], settings.salt)
    bits = gram_bits(shown, cells_of(shown, settings), detector.table.counts)
    framed = np.concatenate([[1], classes_of(field.value), [2, 2]]).astype(np.uint64)
    codes = (framed[:-2] << np.uint64(12)) | (framed[1:-1] << np.uint64(6)) | framed[2:]
    each = bits[np.searchsorted(shown.gram, codes)]
    # character i stands at i + 1 of the frame, in the grams that begin at i - 1, i and i + 1
    padded = np.concatenate([[each[0]], each])
    n = len(field.value)
    mean: NDArray[np.float64] = (padded[:n] + padded[1 : n + 1] + padded[2 : n + 2]) / 3
    return mean


def score_without(judged: Judged, detector: Detector, threshold: float) -> float:
    """The score once what is blamed is as usual: that of all that does not depend on it.

    A value is replaced alone. A parameter's name takes its value and the set of names with it, a
    segment of the path all that stands beneath it.
    """
    _, found = fields(judged.request)
    scores = total(detector.field_scores(found))
    blamed = _blamed(judged.field, found, scores, threshold)
    rest = [score for field, score in zip(found, scores, strict=True) if field not in blamed]
    return float(max(rest, default=0.0))


def _blamed(
    field: Field, found: Sequence[Field], scores: NDArray[np.float64], threshold: float
) -> set[Field]:
    pairs = list(zip(found, scores, strict=True))
    kinds = {f for f in found if f.place is Place.NAME and f.name == "kind"}
    if field.place is Place.PATH:
        # a usual path differs from the first strange segment on, and ends in something else
        top = next((f for f, score in pairs if f.place is Place.PATH and score > threshold), field)
        under = top.scope + template(top.value)
        return {top} | kinds | {f for f in found if f.scope.startswith(under)}
    if field in kinds:
        # with another path, the endpoint and all that stands under it are another
        endpoint = next(f.scope for f in found if f.place is Place.METHOD)
        return kinds | {f for f in found if f.place is Place.PATH or f.scope == endpoint}
    if field.place is Place.NAME and field.name == "end":
        return {f for f in found if f.scope == field.scope}
    if field.place in (Place.NAME, Place.NAMES):
        strange = {f.value for f, score in pairs if f.place is Place.NAME and score > threshold}
        about = {f for f in found if f.label in strange or f.value in strange}
        return about | {f for f in found if f.place is Place.NAMES} | {field}
    return {field}


def _where(field: Field) -> str:
    return f"{field.place:d}\0{field.scope}\0{field.name}"
