"""The public terms of a run, and how a model, integers and metrics share one vector.

    model before, model after, metrics --encode--> {"update": (d,), "side": (k,)}     client
    model before, mean of these --decode--> model, metrics                            server

`update` holds the changes of the floating-point coordinates, under the clip. `side` holds what the
clip must not touch and what must not touch the clip: changes of integer coordinates, such as the
batch counter of a normalization layer, and metrics. Each side value is limited by a bound of its
own and scaled by it. Under `NormClip(C)` the update is brought to norm C, and the k side values
to C / sqrt(k) each, thus also to norm C together; the vector as a whole is under
NormClip(sqrt(2) * C), which then binds nothing. Under `RangeClip(C)` side values fill [-C, C].

With privacy that whole vector is the input of the mechanism, which clips it once more, exactly:
its sensitivity is that of NormClip(sqrt(2) * C), or of NormClip(C) where side is empty, and does
not rest on anything here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.adapters.flower.privacy import check_privacy, check_table
from protocols.adapters.flower.screen import check_audit, check_screen, check_side
from protocols.audit_rounds import AuditRounds
from protocols.plan import RoundPlan, model_digest
from protocols.private import Privacy
from protocols.screening import MaskedScreen
from secagg.errors import InputRefused, ParameterError
from secagg.quantize import Clip, NormClip
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief
from secagg.structure import Structure, flatten

__all__ = ["Layout", "SecurePlan"]

Arrays = Mapping[str, NDArray[Any]]
_MOST_PLANS = 8
_SLACK = 1 + 2.0**-8  # more than rounding ever costs: see RoundPlan.for_update


@dataclass(frozen=True, kw_only=True)
class SecurePlan:
    """What a run agrees on; public. The plan of a round follows from it and from the model.

    Attributes
    ----------
    clip: bound of one client's change of the floating-point coordinates, before weighting.
    max_weight: the largest weight, such as the number of examples; a client above it drops out.
    corrupt, dropout: fractions of the cohort, as in `SecAggPlusBrief`.
    metrics: per metric, the largest absolute value; beyond it a value counts as the bound. Each is
        one number: a client whose metric is a list drops out. Metrics that are not listed stay on
        the client.
    integers: largest change of an integer coordinate in one round; beyond it, it counts as that.
    least_clients: fewest clients that a round is started with.
    privacy: noise in every sum, as in `RoundPlan.for_update`. Every client then counts as one,
        whatever weight it reports: max_weight must be 1. Needs a `NormClip`.
    screen: what the server may learn of each update before the sum, and who is beyond the bounds
        is left out; refused beside `privacy`. The model must have 8 * rows coordinates at least,
        and metrics and integer coordinates be an eighth of the rows at most.
    audit: rounds in which clients train from a model with a public perturbation, so that those who
        do not train stand out; their sums are not applied. Needs a `screen`.

    Raises `ParameterError` with the inequality that fails.
    """

    clip: Clip
    max_weight: int
    corrupt: float = 0.2
    dropout: float = 0.3
    metrics: Mapping[str, float] = field(default_factory=dict)
    integers: float = 1024.0
    least_clients: int = 3
    privacy: Privacy | None = None
    screen: MaskedScreen | None = None
    audit: AuditRounds | None = None

    def __post_init__(self) -> None:
        for name, bound in (*self.metrics.items(), ("integers", self.integers)):
            if not isinstance(name, str) or not _is_bound(bound):
                raise ParameterError(f"0 < bound < inf must hold, got {bound!r:.40} for {name!r}")
        if type(self.least_clients) is not int or self.least_clients < 1:
            raise ParameterError(f"least_clients >= 1 must hold, got {self.least_clients!r:.40}")
        bounds = {name: float(bound) for name, bound in self.metrics.items()}
        object.__setattr__(self, "metrics", MappingProxyType(bounds))
        object.__setattr__(self, "integers", float(self.integers))
        if self.privacy is not None:
            check_privacy(self.privacy, self.max_weight)
        if self.screen is not None:
            check_screen(self.screen, self.privacy)
        if self.audit is not None:
            check_audit(self.audit, self.screen)
        size = 1 if self.screen is None else 8 * self.screen.rows
        self.round_plan(max(self.least_clients, 2), size, len(bounds))

    def round_plan(self, clients: int, update: int, side: int) -> RoundPlan:
        """The plan of a round of so many clients, for vectors of these two sizes."""
        if self.screen is not None:
            check_side(self.screen, side)
        sizes = clients, update, side
        found = self._plans.get(sizes)
        if found is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            found = self._plans[sizes] = self._made(*sizes)
        return found

    @cached_property
    def _plans(self) -> dict[tuple[int, int, int], RoundPlan]:
        """By sizes; a fitting mechanism takes tens of milliseconds to find."""
        return {}

    def _made(self, clients: int, update: int, side: int) -> RoundPlan:
        plan = RoundPlan.for_update(
            {"update": _like_zeros(update), "side": _like_zeros(side)},
            clients=clients,
            clip=self._joint_clip if side else self.clip,
            max_weight=self.max_weight,
            privacy=self.privacy,
            screen=self.screen,
            scheme=SecAggPlusBrief if self.screen is None else SecAggPlus,
            corrupt=self.corrupt,
            dropout=self.dropout,
        )
        check_table(plan)
        return plan

    @property
    def _joint_clip(self) -> Clip:
        if isinstance(self.clip, NormClip):
            return NormClip(math.sqrt(2) * self.clip.bound * _SLACK)
        return self.clip


@dataclass(frozen=True)
class Layout:
    """Where everything is in the vector of one model. `base` is the model, float64 (size,)."""

    plan: SecurePlan
    structure: Structure
    base: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, plan: SecurePlan, arrays: Arrays) -> Layout:
        """Raises `InputRefused`, naming the array, for what cannot be averaged."""
        base, structure = flatten(dict(arrays))
        return cls(plan, structure, base)

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of update and side."""
        integers = int(self._is_integer.sum())
        return self.base.size - integers, integers + len(self.plan.metrics)

    def digest(self, weighted_by: str) -> bytes:
        """What all clients of a round must have been shown alike: the model, what the side values
        and the weight mean, and what an audit round adds to the model.
        """
        meaning: dict[str, Any] = {
            "metrics": dict(self.plan.metrics),
            "integers": self.plan.integers,
        }
        if self.plan.audit is not None:
            meaning["audit"] = asdict(self.plan.audit)
        arrays = self.structure.restore(self.base)
        return model_digest({"arrays": arrays, "side": meaning, "weight": {weighted_by: None}})

    def encode(self, arrays: Arrays, metrics: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """The tree for `ClientRound.submit`. Raises `InputRefused`, naming array or metric."""
        change = self._trained(arrays) - self.base
        whole, rest = change[self._is_integer], change[~self._is_integer]
        values = [_scalar(metrics, name) for name in self.plan.metrics]
        side = np.concatenate([whole, np.array(values, np.float64)])
        limited = np.clip(side, -self._bounds, self._bounds) / self._bounds
        return {"update": self._clipped(rest), "side": limited * self._room}

    def decode(self, mean: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """The new model, in names, shapes and dtypes the old one, and the mean metrics.

        Raises `IntegrityError` where a dtype cannot hold the new value.
        """
        side = mean["side"] * self._bounds / self._room
        count = side.size - len(self.plan.metrics)
        model = self.base.copy()
        model[~self._is_integer] += mean["update"]
        model[self._is_integer] += side[:count]
        metrics = zip(self.plan.metrics, side[count:].tolist(), strict=True)
        return self.structure.restore(model), dict(metrics)

    # -- an audit round ---------------------------------------------------------------------

    def perturbation(self, session: bytes, number: int) -> NDArray[np.float64] | None:
        """(d,), what this round adds to the floating-point coordinates; None unless it audits."""
        audit, coordinates = self.plan.audit, self.base[~self._is_integer]
        if audit is None:
            return None
        added = audit.perturbation({"update": coordinates}, session, number)
        return None if added is None else np.asarray(added["update"])

    def moved(self, added: NDArray[np.float64]) -> Layout:
        """Of the model that clients train from: this one and `added`, in its dtypes.

        Raises `IntegrityError` where these cannot hold it.
        """
        base = self.base.copy()
        base[~self._is_integer] += added
        return Layout.of(self.plan, self.structure.restore(base))

    # -- what a judge may see of it ---------------------------------------------------------

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The model."""
        restored: dict[str, NDArray[Any]] = self.structure.restore(self.base)
        return restored

    def coordinates(self, arrays: Arrays) -> NDArray[np.float64]:
        """(d,), the floating-point coordinates. Raises `InputRefused` for other arrays than the
        model's.
        """
        return self._trained(arrays)[~self._is_integer]

    def sides(self) -> list[dict[str, NDArray[np.float64]]]:
        """Each side value by itself, as trees of the plan."""
        update, side = self.sizes
        zeros = np.zeros(update)
        return [{"update": zeros, "side": row} for row in np.eye(side)]

    def public(self, update: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The tree of an update (d,) without integers and metrics."""
        return {"update": update, "side": np.zeros(self.sizes[1])}

    def own(self, changes: Arrays) -> dict[str, NDArray[np.float64]]:
        """The tree of the server's own update, under the clip as a client's."""
        return self.public(self._clipped(self.coordinates(changes)))

    def moved_to(self, arrays: Arrays, update: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """`arrays` with these floating-point coordinates (d,). Raises `InputRefused` for other
        arrays than the model's, and `IntegrityError` where its dtypes cannot hold them.
        """
        vector = self._trained(arrays)
        vector[~self._is_integer] = update
        restored: dict[str, NDArray[Any]] = self.structure.restore(vector)
        return restored

    def like(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """`arrays` in the dtypes of the model, as a server's optimizer may have changed them."""
        vector = flatten({name: np.asarray(array) for name, array in arrays.items()})[0]
        if list(arrays) != self._names or vector.size != self.base.size:
            raise InputRefused("the strategy returned other arrays than it was given")
        restored: dict[str, NDArray[Any]] = self.structure.restore(vector)
        return restored

    @cached_property
    def _is_integer(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.base.size, np.bool_)
        for row in self.structure.describe():
            mask[row.start : row.start + row.size] = np.dtype(row.dtype).kind in "iu"
        return mask

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        integers = int(self._is_integer.sum())
        return np.array([self.plan.integers] * integers + list(self.plan.metrics.values()))

    @property
    def _room(self) -> float:
        """What a side value at its bound becomes."""
        bound = self.plan.clip.bound
        norm = isinstance(self.plan.clip, NormClip)
        return bound / math.sqrt(max(self._bounds.size, 1)) if norm else bound

    @property
    def _names(self) -> list[str]:
        return list(self.structure.restore(self.base))

    def _clipped(self, update: NDArray[np.float64]) -> NDArray[np.float64]:
        if not isinstance(self.plan.clip, NormClip):
            return update
        peak = float(np.abs(update).max(initial=0.0))
        norm = peak * float(np.linalg.norm(update / peak)) if peak else 0.0
        return update * (self.plan.clip.bound / norm) if norm > self.plan.clip.bound else update

    def _trained(self, arrays: Arrays) -> NDArray[np.float64]:
        model = self.structure.restore(self.base)
        if arrays.keys() != model.keys():
            names = sorted(arrays.keys() ^ model.keys())
            raise InputRefused(f"arrays only in the model or only in the reply: {names[:5]}")
        for name, array in model.items():
            if arrays[name].shape != array.shape:
                raise InputRefused(
                    f"array {name!r} has shape {arrays[name].shape}, the model's {array.shape}"
                )
        return flatten({name: arrays[name] for name in model})[0]


def _is_bound(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value <= sys.float_info.max


def _like_zeros(size: int) -> NDArray[np.float64]:
    """Zeros of shape (size,) in the memory of one."""
    return np.broadcast_to(np.float64(0.0), (size,))


def _scalar(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputRefused(f"metric {name!r}, which the plan lists, is not one finite number")
    return float(value)
