"""Plan files: TOML that names a scheme, an encoding and a training run.

Each table of the file is a dataclass below: its fields are the keys, their defaults the file's
defaults. docs/reference/plan-file.md lists them. An unknown key is refused with the nearest known
one, a wrong type or value with the key and the inequality; every error is a `ParameterError` of
one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from dp.calibrate import release_multiplier
from dp.clip import AdaptiveBound
from dp.events import Release
from protocols.authority import Opener
from protocols.plan import RoundPlan
from protocols.private import AggregatorNoise, CentralNoise, DistributedNoise, Privacy
from protocols.screening import (
    ExactNormScreen,
    GroupScreen,
    NormScreen,
    PlanScreen,
    SketchScreen,
)
from protocols.toml_table import nearest, parsed, read_table, refuse_unknown
from secagg.checks import require
from secagg.errors import ParameterError
from secagg.parameters import dropout_bound
from secagg.quantize import HalfEven, NormClip, RangeClip, Rounding, Stochastic
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedExact, EncryptedRounded, EncryptedScheme
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest

__all__ = [
    "SCHEMES",
    "PlanFile",
    "PrivacyChoice",
    "Quantizer",
    "SchemeChoice",
    "ScreenChoice",
    "Training",
]

SCHEMES: dict[str, type[Scheme]] = {
    "secagg_plus": SecAggPlus,
    "semi-honest": SecAggPlusSemiHonest,
    "plain-insecure": PlainInsecure,
    "ckks": EncryptedExact,
    "ckks-rounded": EncryptedRounded,
    "pine": TwoAggregators,
}
_CLIPS = {"norm": NormClip, "range": RangeClip}
_ROUNDINGS: dict[str, Rounding] = {"stochastic": Stochastic(), "half-even": HalfEven()}
_NOISE_BY = ("clients", "server", "aggregators")
_OPENS = ("nothing", "norm", "sketch", "groups")


@dataclass(frozen=True, kw_only=True)
class SchemeChoice:
    """`[scheme]`: who may misbehave, and who may vanish.

    name: one of `SCHEMES`. clients: the invited cohort. corrupt, dropout: fractions of it; plain
    has no `corrupt`. threshold: Shamir threshold, 0 for the computed one; only pairwise masks have
    one.
    """

    name: str = "secagg_plus"
    clients: int = 20
    corrupt: float = 0.2
    dropout: float = 0.3
    threshold: int = 0

    def __post_init__(self) -> None:
        _require_one_of("name", self.name, SCHEMES)
        if (self.has_authority or SCHEMES[self.name] is TwoAggregators) and self.threshold:
            raise ParameterError(f"threshold = 0 must stand, {self.name} recovers no secrets")

    @property
    def has_authority(self) -> bool:
        """Whether a key authority takes part, whose keys are in the plan."""
        return issubclass(SCHEMES[self.name], EncryptedScheme)

    @property
    def parameters(self) -> dict[str, Any]:
        """The keywords of the scheme's class beside its size."""
        if SCHEMES[self.name] is PlainInsecure:
            return {"dropout": self.dropout}
        if self.has_authority:
            approximate = SCHEMES[self.name] is EncryptedRounded
            return {
                "corrupt": self.corrupt,
                "dropout": self.dropout,
                "approximate": approximate,
            }
        if SCHEMES[self.name] is TwoAggregators:
            fewest = self.clients - dropout_bound(self.clients, self.dropout)
            return {"corrupt": self.corrupt, "minimum": fewest}
        return {
            "corrupt": self.corrupt,
            "dropout": self.dropout,
            "threshold": self.threshold or None,
        }


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """`[quantize]`: how an update becomes integers.

    clip: `norm` bounds the whole update, `range` each coordinate; bound: by how much. max_weight:
    the largest weight of a client; 1 under noise. width: bits of the ring, 0 for the least that
    rounds finely. rounding: `stochastic` or `half-even`. entry_bits: with `pine`, that each entry
    is proven to be one of the whole numbers {0 … 2**entry_bits - 1}, from which clip, bound and
    weight follow; 0 for a norm.
    """

    clip: str = "norm"
    bound: float = 8.0
    max_weight: int = 512
    width: int = 0
    rounding: str = "stochastic"
    entry_bits: int = 0

    def __post_init__(self) -> None:
        _require_one_of("clip", self.clip, _CLIPS)
        _require_one_of("rounding", self.rounding, _ROUNDINGS)
        require(0 <= self.entry_bits <= 31, "0 <= entry_bits <= 31", self.entry_bits)
        given = (self.clip, self.bound, self.max_weight)
        if self.entry_bits and given != ("norm", 8.0, 512):
            raise ParameterError(
                "clip, bound and max_weight follow from entry_bits: leave them out"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The keywords of `RoundPlan.for_update`, of a plan without noise."""
        if self.entry_bits:
            return {
                "clip": RangeClip((1 << self.entry_bits) - 1),
                "fraction_bits": 0,
                "width": self.width or None,
                "rounding": _ROUNDINGS[self.rounding],
            }
        return {
            "clip": _CLIPS[self.clip](self.bound),
            "max_weight": self.max_weight,
            "width": self.width or None,
            "rounding": _ROUNDINGS[self.rounding],
        }

    @property
    def private_parameters(self) -> dict[str, Any]:
        """The same, of a plan with noise. Raises `ParameterError` for what it cannot follow."""
        if self.entry_bits:
            raise ParameterError("quantize.entry_bits = 0 must stand in a plan with noise")
        if self.max_weight != 1:
            raise ParameterError(
                f"quantize.max_weight = 1 must stand in a plan with noise, got {self.max_weight}: "
                "every client counts as one there, as a weight would come out with the sum"
            )
        if self.rounding != "stochastic":
            raise ParameterError("quantize.rounding must be 'stochastic' in a plan with noise")
        return {"clip": _CLIPS[self.clip](self.bound), "width": self.width or None}


@dataclass(frozen=True, kw_only=True)
class PrivacyChoice:
    """`[privacy]`: noise in every sum, and a budget that the run stops at.

    epsilon: of the whole run, at delta, for one client's updates; 0 for no noise and no budget.
    noise_multiplier: standard deviation of the noise over the clip bound; 0 for the least with
    which the budget affords all rounds. by: who adds it, `clients`, the `server`, which is then
    trusted, or the two `aggregators` of `pine`. removal: whether what clients add for those who
    could have dropped out and did not is taken off. quantile: the clip bound follows this quantile
    of the updates' norms; 0 for a fixed bound.
    """

    epsilon: float = 0.0
    delta: float = 1e-5
    noise_multiplier: float = 0.0
    by: str = "clients"
    removal: bool = False
    quantile: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.epsilon < math.inf, "0 <= epsilon < inf", self.epsilon)
        require(0 < self.delta < 1, "0 < delta < 1", self.delta)
        require(
            0 <= self.noise_multiplier < math.inf, "0 <= noise_multiplier < inf",
            self.noise_multiplier,
        )  # fmt: skip
        require(0 <= self.quantile < 1, "0 <= quantile < 1", self.quantile)
        _require_one_of("by", self.by, _NOISE_BY)
        if self.noise_multiplier and not self.epsilon:
            raise ParameterError("noise_multiplier without epsilon: how much may be spent?")

    def plan(self, make: Callable[..., RoundPlan], rounds: int) -> RoundPlan:
        """The plan that `make` makes from `privacy=`; so many of its rounds are affordable, or as
        many as `noise_multiplier` leaves.
        """
        if self.noise_multiplier:
            return make(privacy=self._noise(self.noise_multiplier))

        def release(multiplier: float) -> Release:
            event = make(privacy=self._noise(multiplier)).event
            assert event is not None, "a private plan has an event"
            return event

        enough = release_multiplier(self.epsilon, self.delta, release, rounds=rounds)
        return make(privacy=self._noise(enough))

    def _noise(self, multiplier: float) -> Privacy:
        counts_clipped = self.quantile > 0
        if self.by != "clients":
            if self.removal:
                raise ParameterError(f"privacy.removal is of the clients' noise, not {self.by}")
            kind = CentralNoise if self.by == "server" else AggregatorNoise
            return kind(multiplier=multiplier, counts_clipped=counts_clipped)
        return DistributedNoise(
            multiplier=multiplier, counts_clipped=counts_clipped, removal=self.removal
        )

    def follower(self, bound: float) -> AdaptiveBound | None:
        """The rule that the clip bound follows from round to round, if it follows one."""
        return AdaptiveBound(bound=bound, quantile=self.quantile) if self.quantile else None


@dataclass(frozen=True, kw_only=True)
class ScreenChoice:
    """`[screen]`: what is opened of each update before the sum.

    opens: `nothing`, the `norm`, which two aggregators open exactly, a `sketch`, or sketches of
    sums over `groups`. rows: of a sketch, 0 for the usual number. group: clients in a group.
    """

    opens: str = "nothing"
    rows: int = 0
    group: int = 0

    def __post_init__(self) -> None:
        _require_one_of("opens", self.opens, _OPENS)
        if self.group and self.opens != "groups":
            raise ParameterError(f"group = 0 must stand where groups are not opened: {self.group}")
        if self.rows and self.opens == "nothing":
            raise ParameterError(f"rows = 0 must stand where nothing is opened, got {self.rows}")

    def screen(self, scheme: type[Scheme]) -> PlanScreen | None:
        """That of a plan with this scheme; `ParameterError` for numbers that do not fit."""
        given = {"rows": self.rows} if self.rows else {}
        if self.opens == "nothing":
            return None
        if self.opens == "groups":
            return GroupScreen(size=self.group, **given)
        if self.opens == "sketch":
            return SketchScreen(**given)
        if scheme is not TwoAggregators:
            return NormScreen(**given)
        if given:
            raise ParameterError("screen.rows = 0 must stand: exact norms take no sketch")
        return ExactNormScreen()


@dataclass(frozen=True, kw_only=True)
class Training:
    """`[training]`: federated averaging on scikit-learn's digits.

    rounds: how many. drop: fraction of the clients that fall silent in each round. alpha: Dirichlet
    parameter of the split by label; small is uneven. epochs, batch, learning_rate: of a client's
    SGD. seed: of split, model, batches and dropouts; keys and masks never come from it.
    """

    rounds: int = 15
    drop: float = 0.2
    alpha: float = 0.3
    epochs: int = 3
    batch: int = 16
    learning_rate: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        require(1 <= self.rounds <= 1000, "1 <= rounds <= 1000", self.rounds)
        require(0 <= self.drop < 1, "0 <= drop < 1", self.drop)
        require(0.01 <= self.alpha <= 1e6, "0.01 <= alpha <= 1e6", self.alpha)
        require(1 <= self.epochs <= 100, "1 <= epochs <= 100", self.epochs)
        require(1 <= self.batch <= 2000, "1 <= batch <= 2000", self.batch)
        require(0 < self.learning_rate <= 10, "0 < learning_rate <= 10", self.learning_rate)
        require(0 <= self.seed < 1 << 32, "0 <= seed < 2**32", self.seed)


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """A whole plan file; without any table it is what `secagg demo` runs."""

    scheme: SchemeChoice = field(default_factory=SchemeChoice)
    quantize: Quantizer = field(default_factory=Quantizer)
    privacy: PrivacyChoice = field(default_factory=PrivacyChoice)
    screen: ScreenChoice = field(default_factory=ScreenChoice)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if self.quantize.entry_bits and SCHEMES[self.scheme.name] is not TwoAggregators:
            raise ParameterError(
                f"quantize.entry_bits = 0 must stand: {self.scheme.name} proves no entries"
            )
        drop, dropout = self.training.drop, self.scheme.dropout
        if drop > dropout:
            raise ParameterError(
                f"training.drop <= scheme.dropout must hold, got {drop} and {dropout}: rounds "
                "would lose more clients than the plan tolerates"
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """The plan file at `path`; `ParameterError` naming the key, `OSError`."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ParameterError("not UTF-8 text") from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The plan file with this text; `ParameterError` naming the key."""
        return cls.of(parsed(text))

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The plan file with these tables; `ParameterError` naming the key."""
        tables: dict[str, type[Any]] = {
            "scheme": SchemeChoice,
            "quantize": Quantizer,
            "privacy": PrivacyChoice,
            "screen": ScreenChoice,
            "training": Training,
        }
        refuse_unknown(document, list(tables), "table")
        return cls(**{name: read_table(tables[name], name, document[name]) for name in document})

    def plan(self, template: Any, authority: Opener | None = None) -> RoundPlan:
        """The plan for updates like `template`; `ParameterError` where it does not fit.

        authority: whose keys the plan has, in a scheme with a key authority.
        """
        scheme: Callable[..., Scheme] = SCHEMES[self.scheme.name]
        if self.scheme.has_authority:
            if authority is None:
                raise ParameterError(f"a plan of {self.scheme.name} needs a key authority")
            scheme = authority.scheme
        make = partial(
            RoundPlan.for_update,
            template,
            clients=self.scheme.clients,
            scheme=scheme,
            screen=self.screen.screen(SCHEMES[self.scheme.name]),
            **self.scheme.parameters,
        )
        if not self.privacy.epsilon:
            return make(**self.quantize.parameters)
        private = partial(make, **self.quantize.private_parameters)
        return self.privacy.plan(private, self.training.rounds)


def _require_one_of(key: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ParameterError(f"{key} cannot be {value!r}; {nearest(value, known)}")
