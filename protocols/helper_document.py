"""A plan's scheme as JSON, for a helper in a process of its own."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

import dp.errors
from dp.noise import IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from secagg.errors import DecodeError, ParameterError
from secagg.schemes.pine import Angle, Noise, PineScreen, Reference, TwoAggregators

__all__ = ["scheme_document", "scheme_of"]

_LAWS: dict[str, type[IntegerNoise]] = {
    "skellam": Skellam,
    "discrete_gaussian": DiscreteGaussian,
}


def scheme_document(scheme: TwoAggregators) -> dict[str, Any]:
    """JSON types, from which `scheme_of` makes the same scheme."""
    fields = {item.name: getattr(scheme, item.name) for item in dataclasses.fields(scheme)}
    noise = None if scheme.noise is None else _noise_document(scheme.noise)
    parts = {"screen": _referring(scheme.screen), "angle": _referring(scheme.angle)}
    return {**fields, **parts, "noise": noise}


def scheme_of(document: Any) -> TwoAggregators:
    """What `scheme_document` wrote; `DecodeError` for what is no scheme."""
    try:
        parts = {
            "screen": _referred(PineScreen, document["screen"]),
            "angle": _referred(Angle, document["angle"]),
            "noise": _noise_of(document["noise"]),
        }
        return TwoAggregators(**{**document, **parts})
    except (
        TypeError,
        KeyError,
        ValueError,
        AttributeError,
        ParameterError,
        dp.errors.ParameterError,
    ) as error:
        raise DecodeError(f"not a scheme with two aggregators: {error}") from None


def _noise_document(noise: Noise) -> dict[str, str]:
    for name, law in _LAWS.items():
        if type(noise) is law:
            return {"law": name, "sigma_squared": str(noise.sigma_squared)}
    raise ParameterError(f"{type(noise).__name__} has no name in documents")


def _noise_of(document: Any) -> Noise | None:
    if document is None:
        return None
    return _LAWS[document["law"]](Fraction(document["sigma_squared"]))


def _referring(part: PineScreen | Angle | None) -> dict[str, Any] | None:
    if part is None:
        return None
    fields = {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    if part.reference is not None:
        fields["reference"] = part.reference.vector.astype(np.int8).tobytes().hex()
    return fields


def _referred(kind: type[PineScreen | Angle], document: Any) -> Any:
    if document is None:
        return None
    fields = dict(document)
    if fields["reference"] is not None:
        entries = np.frombuffer(bytes.fromhex(fields["reference"]), np.int8)
        fields["reference"] = Reference(entries.astype(np.int64))
    return kind(**fields)
