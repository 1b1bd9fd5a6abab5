"""The public plan of a round: which scheme, which encoding, which update; checked to fit.

    tree, weight --flatten, quantize, to_ring--> residues (d+1,)      `encode`, on a client
    sum of residues --decode, restore--> mean tree, total weight      `decode`, on the server

In a private plan a `dp.Mechanism` stands in the place of the quantizer; see `protocols.private`.

A plan holds nothing secret. Its digest is bound into the context of every round that follows it,
so parties with different plans cannot complete a round together.

Metrics are leaves like any other: put `{"delta": ..., "metrics": {"loss": 0.3}}` in the update and
their weighted mean comes out, never in the clear. They are under the same clip: `RangeClip` bounds
each by itself, while under `NormClip` they count into the norm of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dp.events import Release
from dp.layers import ByLayers
from dp.mechanism import Mechanism
from protocols import bounded, screening
from protocols.difference import difference
from protocols.precision import EXACT, precision
from protocols.private import LeafClip, Privacy, Private
from protocols.screening import CosineProof, MaskedScreen, PlanScreen
from secagg.errors import InputRefused, ParameterError
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words
from secagg.quantize import Clip, FixedPoint, NormClip, Rounding, Stochastic
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedScreened, SlotScreen
from secagg.schemes.pine import Angle, PineScreen, TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief
from secagg.schemes.secagg_plus.verified import Screen, SecAggPlusVerified
from secagg.structure import Structure, flatten, structure_of

__all__ = ["Decoded", "RoundPlan", "model_digest"]


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What all parties of a round must have agreed on before it.

    Attributes
    ----------
    scheme: how the sum is computed; its `length` is that of the update and one weight.
    quantize: how an update becomes residues of the scheme's ring: exactly, or under noise.
    structure: what an update looks like; the mean looks the same.
    screen: what the server may learn of each update before the sum; None for nothing.

    `for_update` computes what follows from the update. Raises `ParameterError` with the inequality
    where the three do not fit.
    """

    scheme: Scheme
    quantize: FixedPoint | Private
    structure: Structure
    screen: PlanScreen | None = None

    def __post_init__(self) -> None:
        _require_type("scheme", self.scheme, Scheme)
        _require_type("quantize", self.quantize, FixedPoint | Private)
        _require_type("structure", self.structure, Structure)
        size = self.structure.size
        _require(size >= 1, "structure.size >= 1", size)
        length = self.quantize.length(size) + self._check_screen()
        _require_equal("scheme.length", self.scheme.length, "quantize.length(size)", length)
        _require_equal("scheme.width", self.scheme.width, "quantize.width", self.quantize.width)
        _require_equal(
            "quantize.cohort", self.quantize.cohort, "scheme.clients", self.scheme.clients
        )
        if isinstance(self.scheme, TwoAggregators):
            bounded.check(self.quantize, self.scheme)
        if isinstance(self.quantize, Private):
            self.quantize.check(self.scheme)
        else:
            self.quantize.effective_clip(size)

    @classmethod
    def for_update(
        cls,
        template: Any,
        *,
        clients: int,
        clip: Clip | LeafClip,
        max_weight: int = 1,
        width: int | None = None,
        fraction_bits: int | None = None,
        rounding: Rounding | None = None,
        privacy: Privacy | None = None,
        screen: PlanScreen | None = None,
        scheme: Callable[..., Scheme] = SecAggPlus,
        **parameters: Any,
    ) -> Self:
        """The plan for updates that look like `template`, such as the model itself, or a
        `Structure`. Values do not matter.

        clients: size of the invited cohort. clip: bound of one update, before it is weighted;
        a private plan also takes a `LeafClip`.
        max_weight: the largest weight of one client; weights above it are refused. width: bits of
        the ring, thus of a coordinate on the wire; by default the least of 32, 40 … 64 that rounds
        finely. fraction_bits: by default as many as the width holds. rounding: by default
        `Stochastic`. privacy: `DistributedNoise` or `CentralNoise`, which round and scale in their
        own way, and count every client as one; `AggregatorNoise` for `TwoAggregators`. screen:
        `NormScreen`, `SketchScreen` or `GroupScreen`, for `SecAggPlus` and without `privacy`; the
        first two also with a key authority; `TwoAggregators` has the last two, `ExactNormScreen`,
        `CosineScreen` and `CosineProof`. Other keywords are the scheme's own, such as `corrupt` and
        `dropout`; what `TwoAggregators` proves follows from `clip`: a norm bound from a `NormClip`,
        and from a `RangeClip` of 2**b - 1, with `fraction_bits=0`, that entries are whole numbers
        in {0 … 2**b - 1}.

        Raises `ParameterError` with the inequality that fails, `InputRefused` for a template that
        is no tree of arrays, and `TypeError` for a keyword that the scheme does not have.
        """
        structure = template if isinstance(template, Structure) else structure_of(template)
        _require_type("clip", clip, Clip | LeafClip)
        _require_count("clients", clients, 2)
        _require_count("max_weight", max_weight, 1)
        kind = SecAggPlusVerified if screen is not None and scheme is SecAggPlus else scheme
        make: Callable[..., Scheme] = partial(kind, clients=clients, **parameters)
        if screen is not None:
            screening.check_choice(screen, scheme, privacy)
        if scheme is TwoAggregators:
            bounded.check_choice(clip, privacy)
            make = partial(make, bound=1)  # until it is known
        if privacy is not None:
            _require_type("privacy", privacy, Privacy)
            exact = {"max_weight": max_weight - 1, "fraction_bits": fraction_bits}
            _refuse_exact(**exact, rounding=rounding)
            probe = make(length=1, width=32)
            quantize: FixedPoint | Private = _private(privacy, probe, structure, clip, width)
        elif isinstance(clip, LeafClip):
            raise ParameterError("a LeafClip is for private plans: give privacy=, or a NormClip")
        else:
            size, room = structure.size, _room(scheme, screen, clients, parameters)
            quantize = _fixed_point(
                size, clients, room, clip, max_weight, width, fraction_bits, rounding
            )
        length = quantize.length(structure.size)
        if scheme is TwoAggregators:
            make = partial(make, **bounded.parameters(quantize, length))
        if screen is not None:
            assert isinstance(quantize, FixedPoint), "a screen is refused beside privacy"
            opened = screening.screen_of(screen, quantize, scheme)
            make = partial(make, **{"angle" if isinstance(opened, Angle) else "screen": opened})
            length += opened.tail if isinstance(opened, Screen) else 0
        chosen = make(length=length, width=quantize.width)
        return cls(scheme=chosen, quantize=quantize, structure=structure, screen=screen)

    def _check_screen(self) -> int:
        """How many residues follow the coordinates."""
        opened: Screen | SlotScreen | PineScreen | Angle | None = None
        if isinstance(self.scheme, SecAggPlusVerified | EncryptedScreened | TwoAggregators):
            opened = self.scheme.screen
        if isinstance(self.scheme, TwoAggregators) and self.scheme.angle is not None:
            opened = self.scheme.angle
        due = None
        if self.screen is not None:
            _require_type("quantize", self.quantize, FixedPoint)
            assert isinstance(self.quantize, FixedPoint)
            due = screening.screen_of(self.screen, self.quantize, type(self.scheme))
        if opened != due:
            raise ParameterError("the scheme opens something else than the plan's screen says")
        return opened.tail if isinstance(opened, Screen) else 0

    @property
    def digest(self) -> bytes:
        """32 bytes that differ whenever two plans differ."""
        return digest(
            Label.PLAN,
            b"plan",
            self.scheme.encoded(),
            repr(self.quantize).encode(),
            self.structure.digest,
            repr(self.screen).encode(),
        )

    @property
    def _is_proven(self) -> bool:
        return isinstance(self.scheme, TwoAggregators)

    @property
    def binds_model_last(self) -> bool:
        """Whether a round starts before its model is known: `submit` then gives the model."""
        return isinstance(self.scheme, SecAggPlusBrief)

    def bind(self, model: bytes) -> bytes:
        """What names this plan and the model of that digest, 32 bytes.

        It is `Round.model`, or where `binds_model_last` holds the statement that comes with the
        input; `Round.model` is then the plan's digest.
        """
        return digest(Label.PLAN, b"round", self.digest, self.structure.digest, model)

    @property
    def trusts_server(self) -> bool:
        """Whether what it promises needs a server that does as it should."""
        central = isinstance(self.quantize, Private) and self.quantize.is_central
        return self.scheme.trusts_server or central

    @property
    def event(self) -> Release | None:
        """What one release of this plan costs in privacy; None where it adds no noise."""
        return self.quantize.event if isinstance(self.quantize, Private) else None

    @property
    def removable(self) -> Mechanism | None:
        """The mechanism whose excess noise is taken off the sum; None where none is."""
        if not isinstance(self.quantize, Private):
            return None
        mechanism = self.quantize.mechanism
        return mechanism if isinstance(mechanism.noise, ByLayers) else None

    def clipped(self, bound: float) -> Self:
        """The same private plan with another clip bound; units, noise and price do not change.

        Raises `ParameterError` for a plan without noise, or with a bound for each leaf.
        """
        if not isinstance(self.quantize, Private):
            raise ParameterError("this plan adds no noise: its encoding follows from its clip")
        return replace(self, quantize=self.quantize.clipped(bound))

    def encode(
        self,
        tree: Any,
        weight: int,
        rand: Rand,
        context: bytes,
        layer_key: bytes | None = None,
    ) -> Words:
        """The ring vector (length,) of one client: its weight, then its weighted update.

        A private plan has no weight there; its rotation follows from the `context` of the round,
        and its removable noise, if any, from `layer_key`.

        Raises `InputRefused`, naming the leaf, for what is not an update of this plan, and for a
        weight that is no int in [1, max_weight]: who has no example has nothing to add, and would
        only make the sum of the others look larger than it is.
        """
        most = self.quantize.max_weight
        if type(weight) is not int or not 1 <= weight <= most:
            raise InputRefused(f"the weight is not an int in [1, {most}]")
        vector, found = flatten(tree)
        if found.digest != self.structure.digest:
            raise InputRefused(f"not an update of this plan: {difference(self.structure, found)}")
        if isinstance(self.quantize, Private):
            return self.quantize.encode(vector, rand, context, layer_key)
        if layer_key is not None:
            raise ParameterError("layer_key is None in a plan that adds no noise")
        encoded = self.quantize.encode(vector, weight, rand)
        if self._is_proven:
            return bounded.scaled(encoded, self.quantize)
        if self.screen is None or isinstance(self.scheme, EncryptedScreened):
            return encoded
        assert isinstance(self.scheme, SecAggPlusVerified), "checked when it was made"
        assert isinstance(self.screen, MaskedScreen), "checked too"
        return self.screen.extended(encoded, self.scheme.screen, self.scheme.width, rand)

    def decode(self, total: Words, clients: int, rand: Rand, context: bytes) -> Decoded:
        """What the sum of that many clients tells; with noise, where the server adds it.

        Raises `IntegrityError` for what honest clients cannot sum to.
        """
        if isinstance(self.quantize, Private):
            released = self.quantize.release(total, rand)
            vector, within = self.quantize.decode(released, clients, context)
            return Decoded(self.structure.restore(vector), clients, released, within)
        coordinates = total[: self.quantize.length(self.structure.size)]
        if self._is_proven:
            vector, total_weight = bounded.decoded(coordinates, self.quantize, clients)
        else:
            vector, total_weight = self.quantize.decode(coordinates, clients)
        return Decoded(self.structure.restore(vector), total_weight, total)


@dataclass(frozen=True)
class Decoded:
    """What a sum tells; see `Result`."""

    mean: Any
    total_weight: int
    total: Words | NDArray[np.int64] = field(repr=False)
    within: float | None = None


def model_digest(tree: Any) -> bytes:
    """32 bytes that name a model: its structure and every bit of its values.

    Each client computes it over the model that it received, so clients that were shown different
    models do not share a context. Raises `InputRefused` as `flatten` does.
    """
    vector, structure = flatten(tree)
    values = vector.astype("<f8", copy=False).view("u1").data
    return digest(Label.PLAN, b"model", structure.digest, values)


def _private(
    privacy: Privacy, scheme: Scheme, structure: Structure, clip: Clip | LeafClip, width: int | None
) -> Private:
    """scheme: of any length, for the numbers of clients that follow from it."""
    if not isinstance(clip, LeafClip):
        return Private(privacy.mechanism(scheme, structure.size, clip, width))
    leaves = clip.leaves(structure)
    mechanism = privacy.mechanism(scheme, structure.size, NormClip(leaves.bound), width)
    return Private(mechanism, leaves)


def _room(
    scheme: object, screen: PlanScreen | None, clients: int, parameters: Mapping[str, Any]
) -> tuple[int, int]:
    """How many updates at the bound the ring must hold, and the largest bound in units."""
    if scheme is TwoAggregators:
        proven = screen.most if isinstance(screen, CosineProof) else bounded.LARGEST
        return bounded.headroom(clients), min(proven, bounded.LARGEST)
    if screen is None:
        return clients, EXACT
    if not isinstance(screen, MaskedScreen):
        raise ParameterError("only two aggregators open exact norms: take TwoAggregators")
    if scheme is not SecAggPlus:
        return SlotScreen.most_norm * clients, EXACT
    probe = SecAggPlus(clients=clients, length=1, width=32, **parameters)  # who may collude
    return screen.headroom(clients, probe.corrupt_count), EXACT


def _fixed_point(
    size: int,
    clients: int,
    room: tuple[int, int],
    clip: Clip,
    max_weight: int,
    width: int | None,
    fraction_bits: int | None,
    rounding: Rounding | None,
) -> FixedPoint:
    """room: of `_room`."""
    if fraction_bits is None:
        width, fraction_bits = precision(clip, room[0], max_weight, size, width, room[1])
    return FixedPoint(
        clip=clip,
        fraction_bits=fraction_bits,
        rounding=rounding or Stochastic(),
        cohort=clients,
        max_weight=max_weight,
        width=width or 0,
    )


def _refuse_exact(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise ParameterError(
                f"a private plan takes no {name}: every client counts as one, and the noise "
                "decides how finely is rounded"
            )


def _require(holds: bool, inequality: str, *found: object) -> None:
    if not holds:
        shown = " and ".join(map(repr, found))
        raise ParameterError(f"{inequality} must hold, got {shown}")


def _require_equal(left: str, found: int, right: str, expected: int) -> None:
    _require(found == expected, f"{left} == {right}", found, expected)


def _require_count(name: str, value: object, least: int) -> None:
    _require(type(value) is int and value >= least, f"{name} >= {least}, an integer,", value)


def _require_type(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise ParameterError(f"{name} must be a {wanted}, got {type(value).__name__}")
