"""Noise among the terms of a run: which a run may have, and how a call carries it.

    {"clients": {"multiplier": 1.0, "error": 0.001, "wrap": 1e-12, "counts_clipped": false,
                 "noise": "skellam"}}

The clients' noise, or the server's, with every field of it, so that a client can build the very
plan that the server has: the digest of the plan is in everything that either signs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dp.choose import WIDE
from dp.noise import IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from protocols.plan import RoundPlan
from protocols.private import CentralNoise, DistributedNoise, Privacy, Private
from secagg.errors import ParameterError

__all__ = ["check_privacy", "check_table", "privacy_document", "privacy_of"]

_KINDS: Mapping[str, type[Privacy]] = {"clients": DistributedNoise, "server": CentralNoise}
_LAWS: Mapping[type[Privacy], Mapping[str, type[IntegerNoise]]] = {
    DistributedNoise: {"skellam": Skellam},
    CentralNoise: {"skellam": Skellam, "discrete-gaussian": DiscreteGaussian},
}


def check_privacy(privacy: Privacy, max_weight: int) -> None:
    """Raise `ParameterError` for what a call cannot carry, and for what would mean nothing here.

    The multiplier and its like are checked where a plan is made of them.
    """
    if type(privacy) not in _LAWS:
        raise ParameterError(
            f"privacy: DistributedNoise or CentralNoise, got {type(privacy).__name__}"
        )
    laws = _LAWS[type(privacy)]
    if privacy.noise not in laws.values():
        names = ", ".join(law.__name__ for law in laws.values())
        raise ParameterError(f"privacy.noise: one of {names}, as a call carries no other")
    if max_weight != 1:
        raise ParameterError(
            f"max_weight == 1 must hold in a plan with privacy, got {max_weight!r}: every client "
            "counts as one, whatever its number of examples"
        )
    if privacy.counts_clipped:
        raise ParameterError(
            "counts_clipped must not be set: an update is clipped before metrics are joined to it, "
            "so all would count as within the bound"
        )


def check_table(plan: RoundPlan) -> None:
    """Raise `ParameterError` for noise so wide that drawing it takes gigabytes: a call names it."""
    if not isinstance(plan.quantize, Private):
        return
    sigma_squared = plan.quantize.mechanism.noise.noise.sigma_squared
    if sigma_squared > WIDE:
        raise ParameterError(
            f"sigma <= 2**15 units of one client's noise must hold, got {sigma_squared**0.5:.4g}: "
            "take a larger privacy.error"
        )


def privacy_document(privacy: Privacy | None) -> dict[str, Any] | None:
    """The JSON of a privacy that `check_privacy` has passed; None for none."""
    if privacy is None:
        return None
    kind = type(privacy)
    values = {field.name: getattr(privacy, field.name) for field in dataclasses.fields(kind)}
    values["noise"] = _key(_LAWS[kind], privacy.noise)
    return {_key(_KINDS, kind): values}


def privacy_of(document: Any) -> Privacy | None:
    """What `privacy_document` wrote. Numbers are checked where a plan is made of them.

    Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` for what it never writes.
    """
    if document is None:
        return None
    ((name, values),) = document.items()
    kind = _KINDS[name]
    if values.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError
    law: Any = _LAWS[kind][values["noise"]]
    numbers = {key: value for key, value in values.items() if key != "noise"}
    if any(type(value) not in (int, float, bool) for value in numbers.values()):
        raise TypeError
    return kind(**numbers, noise=law)


def _key(table: Mapping[str, Any], wanted: Any) -> str:
    (name,) = (name for name, value in table.items() if value is wanted)
    return name
