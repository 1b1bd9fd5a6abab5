"""Every attack of the package with default parameters, for tables and tests of detectors."""

from __future__ import annotations

from robust.attacks.adaptive_class_mimic import ClassMimic
from robust.attacks.adaptive_evidence import ShareEvidence
from robust.attacks.adaptive_null_space import NullSpace
from robust.attacks.adaptive_on_off import OnOff
from robust.attacks.adaptive_scattered import Scattered
from robust.attacks.attack import Attack
from robust.attacks.backdoor import ModelReplacement, NormMatched, Sybil
from robust.attacks.backdoor_blend import Blend, DecorrelatedBlend
from robust.attacks.backdoor_dba import Distributed
from robust.attacks.backdoor_neurotoxin import Neurotoxin
from robust.attacks.free_rider_data import Copycat, Lazy, SyntheticData
from robust.attacks.free_rider_mimic import Colluding, CosineMatched, Extrapolating, Shaped
from robust.attacks.free_rider_noise import Disguised, Noise, RandomWeights
from robust.attacks.free_rider_replay import AdvancedDelta, Delta, Plain, Sign
from robust.attacks.poison_distance import DecorrelatedMinMax, MinMax, MinSum
from robust.attacks.poison_labels import LabelFlip, TargetedLabelFlip
from robust.attacks.poison_mean import InnerProduct, LittleIsEnough, SignFlip
from robust.attacks.trigger import Trigger

__all__ = ["adaptive_backdoors", "backdoors", "free_riders", "poisoners"]


def free_riders() -> tuple[Attack, ...]:
    """Those without data first, then those that train on something, or one for all."""
    without_data = (
        Plain(),
        Noise(),
        RandomWeights(),
        Delta(),
        AdvancedDelta(),
        Sign(),
        Disguised(),
        CosineMatched(),
        Extrapolating(),
        Shaped(),
        Colluding(),
    )
    return (*without_data, SyntheticData(), Lazy(), Copycat(), ShareEvidence())


def poisoners(source: int = 1, target: int = 7) -> tuple[Attack, ...]:
    """Label flips (the targeted one from class `source` to `target`), then crafted updates."""
    return (
        LabelFlip(),
        TargetedLabelFlip(source=source, target=target),
        SignFlip(),
        LittleIsEnough(),
        InnerProduct(),
        MinMax(),
        MinSum(),
        DecorrelatedMinMax(),
    )


def backdoors(trigger: Trigger) -> tuple[Attack, ...]:
    """All that plant this trigger, of at least two features; `NullSpace` needs the projection."""
    return (
        ModelReplacement(trigger=trigger),
        NormMatched(trigger=trigger),
        Blend(trigger=trigger),
        DecorrelatedBlend(trigger=trigger),
        Distributed(trigger=trigger, parts=min(4, len(trigger.indices))),
        Neurotoxin(trigger=trigger),
        Sybil(trigger=trigger),
        ClassMimic(trigger=trigger),
        NullSpace(trigger=trigger),
    )


def adaptive_backdoors(trigger: Trigger) -> tuple[Attack, ...]:
    """Against a search for clients with a common aim; see `robust.rule_coalition`.

    One hides the aim among aims of each client's own, one is honest until it has a record.
    """
    return Scattered(trigger=trigger), OnOff(attack=NormMatched(trigger=trigger), off=5, on=None)
