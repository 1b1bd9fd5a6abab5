"""A plan's scheme as JSON, for a helper in a process of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from secagg.errors import DecodeError, ParameterError
from secagg.schemes.pine import PineScreen, Reference, TwoAggregators

__all__ = ["scheme_document", "scheme_of"]


def scheme_document(scheme: TwoAggregators) -> dict[str, Any]:
    """JSON types, from which `scheme_of` makes the same scheme."""
    fields = {item.name: getattr(scheme, item.name) for item in dataclasses.fields(scheme)}
    return {**fields, "screen": _screen_document(scheme.screen)}


def scheme_of(document: Any) -> TwoAggregators:
    """What `scheme_document` wrote; `DecodeError` for what is no scheme."""
    try:
        return TwoAggregators(**{**document, "screen": _screen_of(document["screen"])})
    except (TypeError, KeyError, ValueError, AttributeError, ParameterError) as error:
        raise DecodeError(f"not a scheme with two aggregators: {error}") from None


def _screen_document(screen: PineScreen | None) -> dict[str, Any] | None:
    if screen is None:
        return None
    fields = {item.name: getattr(screen, item.name) for item in dataclasses.fields(screen)}
    if screen.reference is not None:
        fields["reference"] = screen.reference.vector.astype(np.int8).tobytes().hex()
    return fields


def _screen_of(document: Any) -> PineScreen | None:
    if document is None:
        return None
    fields = dict(document)
    if fields["reference"] is not None:
        entries = np.frombuffer(bytes.fromhex(fields["reference"]), np.int8)
        fields["reference"] = Reference(entries.astype(np.int64))
    return PineScreen(**fields)
