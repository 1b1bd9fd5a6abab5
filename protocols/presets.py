"""A handful of plans by name. Each is `RoundPlan.for_update` with a scheme and two fractions.

All take the update's template and the keywords of `for_update`; `corrupt` and `dropout` may be
given too. The scheme is in the function's name, never in a flag.
"""

from __future__ import annotations

from typing import Any

from protocols.plan import RoundPlan
from secagg.parameters import dropout_bound
from secagg.quantize import Clip
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlusSemiHonest

__all__ = [
    "cross_device",
    "cross_silo",
    "malicious_safe",
    "plain_insecure",
    "semi_honest",
    "two_aggregators",
]


def malicious_safe(template: Any, *, clients: int, clip: Clip, **options: Any) -> RoundPlan:
    """The default: the server may cheat and collude with 20 % of the clients, 30 % may drop out."""
    return RoundPlan.for_update(template, clients=clients, clip=clip, **options)


def cross_silo(template: Any, *, clients: int, clip: Clip, **options: Any) -> RoundPlan:
    """A few organizations on stable links: a third may collude with a cheating server, 10 % drop
    out.
    """
    options = {"corrupt": 0.33, "dropout": 0.1, **options}
    return RoundPlan.for_update(template, clients=clients, clip=clip, **options)


def cross_device(template: Any, *, clients: int, clip: Clip, **options: Any) -> RoundPlan:
    """Hundreds of devices: 10 % may collude with a cheating server, 40 % may drop out."""
    options = {"corrupt": 0.1, "dropout": 0.4, **options}
    return RoundPlan.for_update(template, clients=clients, clip=clip, **options)


def semi_honest(template: Any, *, clients: int, clip: Clip, **options: Any) -> RoundPlan:
    """One exchange fewer, for a server that is trusted to follow the protocol: a server that lies
    about who dropped out reads single updates.
    """
    return RoundPlan.for_update(
        template, clients=clients, clip=clip, scheme=SecAggPlusSemiHonest, **options
    )


def two_aggregators(
    template: Any, *, clients: int, clip: Clip, dropout: float = 0.3, **options: Any
) -> RoundPlan:
    """One message of each client, with a proof of its norm, or of the range of each entry for a
    `RangeClip` of 2**b - 1 with `fraction_bits=0`. Private unless leader and helper collude; one of
    them may do so with 20 % of the clients. 30 % may drop out or be refused.
    """
    options = {"minimum": clients - dropout_bound(clients, dropout), **options}
    return RoundPlan.for_update(
        template, clients=clients, clip=clip, scheme=TwoAggregators, **options
    )


def plain_insecure(template: Any, *, clients: int, clip: Clip, **options: Any) -> RoundPlan:
    """INSECURE: the server reads every update. To test what is around a scheme."""
    return RoundPlan.for_update(
        template, clients=clients, clip=clip, scheme=PlainInsecure, **options
    )
