"""Robust weights inside the secure sum, from what a screened round opens.

A rule of `robust.weigh` turns the inner products of sketches into weights. In a masked sum a client
cannot be given a weight after it has masked: its pair masks cancel only against neighbours' of the
same weight. So weights enter in one of three ways, by when they are known:

    selected      after the uploads, in the same round: a rule whose weights are a selection, as
                  those of Multi-Krum, says whom to accept; the mean is the rule's, exactly, where
                  clients have no weights of their own
    drawn         after the uploads, in the same round: any rule; each client is accepted with a
                  chance in proportion to its weight, by a public coin; the sum is exact, and the
                  rule's weighted sum is its expectation
    PublicWeights before anybody masks: integers that follow from rounds before, such as `Carried`
                  weights or `Reputation`; each client multiplies its own update, and the mean is
                  the weighted one, exactly

What is verified of public weights, of what clients committed to before the sketch was drawn: the
weight of each upload, exactly; and that its norm is within that weight's share of the bound, as
`Screen` says. So nobody alone counts for more than its public weight. Colluders can move weight
and norm among each other, as all that is opened: together they count for no more than the sum of
theirs. Who agrees on other weights is in another context, and its messages are refused. Not
verified: how many examples a client says it has, up to the most; and that it behaves as in the
rounds that its weight is from. `selected`, or a cascade, may judge the same round besides.

Trusted: the server, with whom it accepts, and with weights of its choice where clients do not
compute them from published statistics themselves.

The soundness of `selected` and `drawn` is that of the scheme's draw: sketch and coin follow from a
committed nonce and all uploads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Self

import numpy as np

from protocols.plan import RoundPlan
from protocols.screening import GroupScreen
from robust.gram import Gram
from robust.observe import Array, Mask, Sketches
from robust.weigh import Weigher, as_integers, capped
from secagg.errors import InputRefused, ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId
from secagg.primitives import prg
from secagg.primitives.digest import Label, digest

__all__ = ["Carried", "PublicWeights", "drawn", "selected", "weights_of"]

_SAME = 1e-9
_LEAST = 1e-200  # of a weight, as in `as_integers`
_MOST = 1 << 32


def weights_of(rule: Weigher, seen: Sketches) -> Array:
    """(n,), what `rule` gives to the clients of `seen`; its public rows are `seen.public.known`.

    Noise of the screen stays in norms and distances. Raises `robust.errors.ObservationError` where
    clients are too few for the rule, and `InputRefused` where it gives weight to a public row, as
    no client sends that, and for what is no sketch of each client, as those of groups.
    """
    if not isinstance(seen, Sketches):
        raise InputRefused(f"weights need Sketches of each client, got {type(seen).__name__}")
    found = rule.weigh(Gram.of(seen.rows, seen.public.known))
    clients = len(seen.clients)
    if np.any(found[clients:]):
        raise InputRefused(f"{rule.name} gives weight to a public row, which nobody sends")
    return found[:clients]


def selected(rule: Weigher, seen: Sketches) -> frozenset[PartyId]:
    """Whom to accept where the weights of `rule` are a selection: all 0 or equal.

    The mean in which they count alike is then the rule's. Clients that tie for its last places, and
    share them, are left out. Raises `InputRefused` for weights that are no selection, and as
    `weights_of`.
    """
    weights = weights_of(rule, seen)
    largest = float(weights.max())
    full = (weights > 0) & (weights >= largest * (1 - _SAME))
    shared = weights[(weights > 0) & ~full]
    if shared.size and not _is_tie(shared, largest):
        raise InputRefused(
            f"the weights of {rule.name} are no selection: take drawn, or PublicWeights"
        )
    return _those(seen.clients, full)


def drawn(rule: Weigher, seen: Sketches, seed: bytes) -> frozenset[PartyId]:
    """Whom to accept: each with the chance w / max(w), by systematic sampling in a random order.

    So their number is the sum of chances, rounded up or down. seed: of `Statistics`, which nobody
    knew before the uploads. Raises as `weights_of`.
    """
    chances = _relative(weights_of(rule, seen))
    key = digest(Label.PLAN, b"drawn", seed)
    coins = np.frombuffer(prg.stream(key, 8 * (len(chances) + 1)), "<u8")
    order = np.argsort(coins[1:], kind="stable")
    ends = np.cumsum(chances[order]) + float(coins[0] >> np.uint64(11)) * 2.0**-53
    steps = np.diff(np.floor(ends), prepend=0.0)
    return _those(seen.clients, np.isin(np.arange(len(order)), order[steps > 0]))


@dataclass(frozen=True, kw_only=True)
class Carried:
    """Weights of a rule over rounds: an exponential mean of w / max(w) of each client.

    Attributes
    ----------
    decay: 0 <= decay < 1; 0 takes the last round in which a client was seen alone.
    start: of a client never seen before, in [0, 1].
    means: client -> in [0, 1], read-only.

    A client under a new id starts as anybody does. Raises `ParameterError` with the inequality.
    """

    decay: float = 0.5
    start: float = 1.0
    means: Mapping[PartyId, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(_is_share(self.decay) and self.decay < 1, "0 <= decay < 1", self.decay)
        _require(_is_share(self.start), "0 <= start <= 1", self.start)
        for mean in self.means.values():
            _require(_is_share(mean), "0 <= mean <= 1", mean)
        object.__setattr__(self, "means", MappingProxyType(dict(self.means)))

    def after(self, rule: Weigher, seen: Sketches, *, most: int = 1, least: int = 1) -> Self:
        """With one more round; this stays as it was. Raises as `weights_of`.

        most, least: w is `capped` by them, so that no client makes those of all others small.
        """
        relative = _relative(capped(weights_of(rule, seen), most, least))
        before = self.weights(seen.clients)
        after = np.clip(self.decay * before + (1 - self.decay) * relative, 0.0, 1.0)
        updated = dict(zip(seen.clients, after.tolist(), strict=True))
        return type(self)(decay=self.decay, start=self.start, means={**self.means, **updated})

    def weights(self, clients: Sequence[PartyId]) -> Array:
        """(n,) in [0, 1], for the round to come."""
        return np.array([self.means.get(client, self.start) for client in clients])


@dataclass(frozen=True, kw_only=True)
class PublicWeights:
    """Public integers by which clients multiply what they send; all parties of a round have them.

    Attributes
    ----------
    clients: ids of the cohort in 1 … 2**32 - 1, strictly ascending.
    values: in 0 … most, one for each client. Who has 0 sends its update all the same, is seen, and
        is left out of the sum.
    most: 1 <= most <= 2**32.
    examples: the largest weight of its own that a client may have, 1 <= examples <= 2**32.

    Raises `ParameterError` with the inequality that fails.
    """

    clients: tuple[PartyId, ...]
    values: tuple[int, ...]
    most: int
    examples: int = 1

    def __post_init__(self) -> None:
        _require(_is_count(self.most, 1), "1 <= most <= 2**32, an int,", self.most)
        _require(_is_count(self.examples, 1), "1 <= examples <= 2**32, an int,", self.examples)
        for client in self.clients:
            good = _is_count(client, 1) and client < _MOST
            _require(good, "1 <= client < 2**32, an int,", client)
        ascend = list(self.clients) == sorted(set(self.clients)) and len(self.clients) > 0
        _require(ascend, "clients strictly ascending, at least one,", self.clients)
        fits = len(self.values) == len(self.clients)
        _require(fits, "len(values) == len(clients)", len(self.values))
        for value in self.values:
            good = _is_count(value, 0) and value <= self.most
            _require(good, f"0 <= value <= most = {self.most}, an int,", value)

    @cached_property
    def by_client(self) -> Mapping[PartyId, int]:
        """Client -> its public weight."""
        return dict(zip(self.clients, self.values, strict=True))

    @classmethod
    def of(
        cls,
        weights: Array,
        clients: Sequence[PartyId],
        *,
        most: int,
        examples: int = 1,
        least: int = 1,
    ) -> Self:
        """Weights (n,) in proportion, rounded as `as_integers` does, which says by how much.

        least: how many of the largest count for 1 or more, as far as they are above 0; `capped`
        says at whose expense.
        """
        values = tuple(as_integers(capped(weights, most, least), most).tolist())
        return cls(clients=tuple(clients), values=values, most=most, examples=examples)

    def check(self, plan: RoundPlan) -> None:
        """`ParameterError` unless a round of `plan` can have these weights.

        A plan holds its cohort at `max_weight` within the ring, with room for whoever passes the
        screen beyond its bound. So nothing wraps where `most` * `examples` is within that.
        """
        if plan.screen is None or isinstance(plan.screen, GroupScreen):
            raise ParameterError(
                "public weights need a plan with a screen that opens the weight of each client"
            )
        largest, product = plan.quantize.max_weight, self.most * self.examples
        _require(product <= largest, f"most * examples <= max_weight = {largest}", product)
        cohort, count = plan.scheme.clients, len(self.clients)
        _require(count == cohort, f"len(clients) == scheme.clients = {cohort}", count)
        least, positive = plan.scheme.survivors, sum(value > 0 for value in self.values)
        _require(positive >= least, f"values > 0 >= scheme.survivors = {least}", positive)

    def bind(self, model: bytes) -> bytes:
        """What stands for the model in the invitation, 32 bytes: `model` and these weights."""
        rows = np.array([self.clients, self.values], "<u8").tobytes()
        limits = np.array([self.most, self.examples], "<u8").tobytes()
        return digest(Label.PLAN, b"public-weights", rows, limits, model)

    def weight(self, client: PartyId, examples: int = 1) -> int:
        """The weight with which a client submits: its public weight times its `examples`.

        Raises `InputRefused` for a client that has none, and for too many examples or none.
        """
        if client not in self.by_client:
            raise InputRefused(f"client {client} has no public weight in this round")
        if not _is_count(examples, 1) or examples > self.examples:
            raise InputRefused(f"the weight is not an int in [1, {self.examples}]")
        return max(self.by_client[client], 1) * examples

    def accepted(self, statistics: Statistics) -> frozenset[PartyId]:
        """Who is within the bounds, has one above 0, and sent a weight that it divides.

        Raises `ParameterError` for statistics of a plan without weights.
        """
        if statistics.weights is None:
            raise ParameterError("public weights need statistics with weights")
        rows = zip(statistics.clients, statistics.weights.tolist(), strict=True)
        fits = {client for client, weight in rows if self._fits(client, weight)}
        return statistics.eligible & fits

    def _fits(self, client: PartyId, weight: int) -> bool:
        value = self.by_client.get(client, 0)
        return value > 0 and weight % value == 0 and 1 <= weight // value <= self.examples


def _relative(weights: Array) -> Array:
    """(n,) in [0, 1], over the largest; all 0 where that is so small that it counts as 0."""
    largest = float(weights.max())
    return weights / largest if largest >= _LEAST else np.zeros(len(weights))


def _is_tie(shared: Array, largest: float) -> bool:
    """Whether clients of equal weight share some places of those that have `largest`."""
    equal = bool(np.ptp(shared) <= _SAME * largest)
    places = float(shared.sum()) / largest
    return equal and round(places) >= 1 and math.isclose(places, round(places), rel_tol=1e-6)


def _those(clients: Sequence[PartyId], chosen: Mask) -> frozenset[PartyId]:
    return frozenset(np.array(clients)[chosen].tolist())


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= _MOST


def _require(holds: bool, inequality: str, found: object) -> None:
    if not holds:
        raise ParameterError(f"{inequality} must hold, got {found!r:.60}")
