"""Which strategies can be secured: those that need weighted means and no single update."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)

from secagg.errors import ParameterError

__all__ = ["check_inner"]

_SELECTS = "it compares single updates, and a secure sum shows none"
_CLIPS = "it clips, counts or noises single updates; use SecurePlan(clip=…, privacy=…) instead"
_TREES = "it joins trees, and a secure sum adds numbers"
_REFUSED: Mapping[type[Strategy], str] = {
    Bulyan: _SELECTS,
    FedMedian: _SELECTS,
    FedTrimmedAvg: _SELECTS,
    Krum: _SELECTS,
    MultiKrum: _SELECTS,
    QFedAvg: "it weights each update by its own loss",
    DifferentialPrivacyClientSideAdaptiveClipping: _CLIPS,
    DifferentialPrivacyClientSideFixedClipping: _CLIPS,
    DifferentialPrivacyServerSideAdaptiveClipping: _CLIPS,
    DifferentialPrivacyServerSideFixedClipping: _CLIPS,
    FedXgbBagging: _TREES,
    FedXgbCyclic: _TREES,
}


def check_inner(strategy: Strategy) -> None:
    """Raise `ParameterError`, with the reason, for one that cannot, or is around such a one."""
    for kind, reason in _REFUSED.items():
        if isinstance(strategy, kind):
            raise ParameterError(f"{type(strategy).__name__} cannot be secured: {reason}")
    within = getattr(strategy, "strategy", None)
    if isinstance(within, Strategy):
        check_inner(within)
