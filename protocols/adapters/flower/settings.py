"""What a client brings itself: who it is, whom it trusts, and what it insists on.

All of it comes from the client's own node configuration, `flower-supernode --node-config`, or from
code of the client's own. Messages, the run configuration and the app come from whoever runs
`flwr run`, and say nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dp.account_reduction import ReductionAccountant
from dp.events import Gaussian
from protocols.adapters.flower.leakage import LeakageFile
from protocols.adapters.flower.terms import SecurePlan
from protocols.enrollment import load_identity, load_roster
from protocols.ledger import PrivacyLedger
from protocols.weighing import PublicWeights
from secagg.errors import ParameterError
from secagg.identity import Identity, PartyId, Roster
from secagg.quantize import NormClip
from secagg.scheme import Floors

if TYPE_CHECKING:
    from flwr.app import Context

__all__ = ["ClientSettings", "simulated_settings"]

_PREFIX = "secagg-"
_MOST_PARAMETERS = 1 << 28  # a call of some hundred bytes must not fill a client's memory
# Without a floor for it a server could plan for no colluding client at all, and be one with it.
_DEFAULT_FLOORS = Floors(corrupt=SecurePlan.corrupt)
_UNGUARDED = (
    "a privacy budget needs required: true, as training without the protocol is not counted"
)
_UNCOUNTED = "a leakage ledger needs required: true, as an update in the clear is not counted"
_FLOORS = {
    "clients": int,
    "survivors": int,
    "honest_inputs": int,
    "corrupt": float,
    "opened": int,
    "opened_of": int,
}


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The local configuration of one client.

    Attributes
    ----------
    identity, roster: its key, and who is who. Its party id is the roster's for this key.
    journal: file that remembers the rounds it joined; None keeps them in Flower's state only, which
        a SuperNode that starts again has lost. For simulations.
    floors: what the parameters of a round must at least offer. By default those of `Floors`, and
        `corrupt` as `SecurePlan` has it. `opened` is a ceiling: how many numbers of its update a
        round with a screen may open; 0, and thus no such round, unless it says so. `opened_of`
        above 1 lets it open sums over so many clients only. `authority` stays None here: no plan of
        this adapter has a key authority, and with one named all are refused.
    most_clip, most_range: the largest bound of a `NormClip`, of a `RangeClip`, that it accepts.
        Where only one is given, it accepts that kind of clip only; where none is, any.
    most_parameters: the most coordinates, metrics included, of a vector that it works on.
    required: refuse train messages that come without the protocol, which otherwise pass untouched.
    ledger: its privacy budget, in a file, as a process may not outlive a message. Plans without
        noise are refused then, and those that leave the noise to the server, unless the ledger is
        `trusting`. It needs `required`, and `ParameterError` says so.
    leakage: how many numbers of its updates it opens in all rounds together; needs `required` too.
    weighted_by: the metric that is its weight, and no other may be in a round without noise.
    least_max_weight: the least bound on that weight that it accepts; 0 for any. A client above a
        round's bound drops out, so that a server that tries bounds learns the weight: one that its
        weight never exceeds closes that.
    most_weight: how many times what another client counts it may count by the server's choice: the
        largest public weight that it accepts; 0, and thus no such round, unless it says so.
    most_audit: largest relative perturbation of an audit round that it trains in; 0 for no such
        plan.
    """

    identity: Identity
    roster: Roster
    journal: Path | None = None
    floors: Floors = _DEFAULT_FLOORS
    most_clip: float | None = None
    most_range: float | None = None
    most_parameters: int = _MOST_PARAMETERS
    required: bool = False
    ledger: PrivacyLedger | None = None
    leakage: LeakageFile | None = None
    weighted_by: str = "num-examples"
    least_max_weight: int = 0
    most_weight: int = 0
    most_audit: float = 0.0

    def __post_init__(self) -> None:
        if self.ledger is not None and not self.required:
            raise ParameterError(_UNGUARDED)
        if self.leakage is not None and not self.required:
            raise ParameterError(_UNCOUNTED)

    @classmethod
    def from_node_config(cls, config: Mapping[str, Any]) -> Self:
        """Settings from `secagg-identity` and `secagg-roster`, paths, and the optional
        `secagg-journal`, a path too, by default beside the identity; `secagg-floor-clients`,
        `secagg-floor-survivors`, `secagg-floor-honest-inputs`, `secagg-floor-corrupt`,
        `secagg-floor-opened`, `secagg-floor-opened-of`;
        `secagg-most-clip`, `secagg-most-range`, `secagg-most-parameters`; `secagg-required`;
        `secagg-epsilon` with `secagg-delta`, a privacy budget, its file `secagg-ledger`, by default
        beside the identity, and `secagg-central-noise`; `secagg-most-opened`, numbers of all its
        updates together, with `secagg-leakage`, its file, by default beside the identity;
        `secagg-weight`, the metric that is its weight; `secagg-least-max-weight`,
        `secagg-most-weight`, `secagg-most-audit`.

        Raises `ParameterError` for a key that is absent, unknown or of another type: a floor with
        a misspelled name would be no floor. `DecodeError` for a damaged ledger, and `ImportError`
        that names the extra where a budget cannot be counted.
        """
        given = {key[len(_PREFIX) :]: v for key, v in config.items() if key.startswith(_PREFIX)}
        floors = {
            name: _number(given, f"floor-{name.replace('_', '-')}", kind)
            for name, kind in _FLOORS.items()
        }
        identity = _path(given, "identity")
        settings = cls(
            identity=load_identity(identity),
            roster=load_roster(_path(given, "roster")),
            journal=Path(_path(given, "journal", f"{identity}.journal")),
            floors=replace(
                _DEFAULT_FLOORS,
                **{name: value for name, value in floors.items() if value is not None},
            ),
            most_clip=_most(given, "most-clip", float),
            most_range=_most(given, "most-range", float),
            most_parameters=_most(given, "most-parameters", int) or _MOST_PARAMETERS,
            required=is_required(config),
            ledger=_ledger(given, identity),
            leakage=_leakage(given, identity),
            weighted_by=_name(given, "weight", "num-examples"),
            least_max_weight=_most(given, "least-max-weight", int) or 0,
            most_weight=_most(given, "most-weight", int) or 0,
            most_audit=_most(given, "most-audit", float) or 0.0,
        )
        given.pop("required", None)
        if given:
            raise ParameterError(f"unknown keys in the node configuration: {_shown(given)}")
        return settings

    @cached_property
    def me(self) -> PartyId:
        """This client's id on the roster; `ParameterError` if it is not there."""
        for party, public in self.roster.clients.items():
            if public == self.identity.public:
                return party
        raise ParameterError("the roster does not list this client's key")

    def check(self, plan: SecurePlan, sizes: tuple[int, int]) -> None:
        """Raise `ParameterError` for a plan, or sizes of update and side, over what this client
        accepts; `Floors` checks the rest.
        """
        self._check_clip(plan)
        if plan.privacy is None:
            self._check_bound(plan.max_weight)
        if sum(sizes) > self.most_parameters:
            raise ParameterError(
                f"parameters <= {self.most_parameters} must hold by this client's setting, "
                f"the call has {sum(sizes)}"
            )

    def check_terms(self, plan: SecurePlan, weights: PublicWeights | None) -> None:
        """Raise `ParameterError` for public weights or audit rounds that this client refuses."""
        if weights is not None:
            self._check_bound(weights.examples)
            if not weights.most <= self.most_weight:
                raise ParameterError(
                    f"most <= {self.most_weight} must hold of public weights by this client's "
                    f"setting, the call has {weights.most}"
                )
        if plan.audit is not None and not plan.audit.relative <= self.most_audit:
            raise ParameterError(
                f"relative <= {self.most_audit} must hold of audit rounds by this client's "
                f"setting, the plan has {plan.audit.relative}"
            )

    def check_weighted_by(self, plan: SecurePlan, name: str) -> None:
        """Raise `ParameterError` for another metric than this client's weight. It would be in the
        sum, or opened with a screen, and whether it is a whole number in range told by a drop-out.
        """
        if plan.privacy is None and name != self.weighted_by:
            raise ParameterError("the round's weight is another metric than this client's own")

    def _check_bound(self, bound: int) -> None:
        if not bound >= self.least_max_weight:
            raise ParameterError(
                f"max_weight >= {self.least_max_weight} must hold by this client's setting, the "
                f"round has {bound}"
            )

    def _check_clip(self, plan: SecurePlan) -> None:
        name = type(plan.clip).__name__
        is_norm = isinstance(plan.clip, NormClip)
        most, other = (self.most_clip, self.most_range)[:: 1 if is_norm else -1]
        if most is None and other is not None:
            raise ParameterError(f"{name} is not a kind of clip that this client's setting bounds")
        if most is not None and not plan.clip.bound <= most:
            raise ParameterError(
                f"clip <= {most} must hold by this client's setting for {name}, "
                f"the plan has {plan.clip.bound}"
            )


def simulated_settings(
    folder: str | Path,
    *,
    opened: int = 0,
    opened_of: int = 1,
    most_weight: int = 0,
    most_audit: float = 0.0,
) -> Callable[[Context], ClientSettings]:
    """For `mod_from`: the clients that `enroll(folder, …)` made, by the simulation's partition-id.

    Partition i is client i + 1. Without a journal file: a simulation starts anew each time. For
    simulations only, as all keys lie in one place. opened: numbers of each update that a round with
    a screen may open; the others as in `ClientSettings`.
    """
    home = Path(folder)

    def settings(context: Context) -> ClientSettings:
        party = int(context.node_config["partition-id"]) + 1
        return ClientSettings(
            identity=load_identity(home / f"client-{party}.key"),
            roster=load_roster(home / "roster.json"),
            floors=replace(_DEFAULT_FLOORS, opened=opened, opened_of=opened_of),
            most_weight=most_weight,
            most_audit=most_audit,
        )

    return settings


def _most(given: dict[str, Any], name: str, kind: type[int] | type[float]) -> Any:
    bound = _number(given, name, kind)
    if bound is not None and not bound > 0:
        raise ParameterError(f"{_PREFIX}{name} > 0 must hold, got {bound}")
    return bound


def is_required(config: Mapping[str, Any]) -> bool:
    """Whether the node configuration refuses training without the protocol."""
    configured = any(key.startswith(_PREFIX) for key in config)
    value = config.get(f"{_PREFIX}required", configured)
    if not isinstance(value, bool):
        raise ParameterError(f"{_PREFIX}required must be true or false")
    if not value and f"{_PREFIX}epsilon" in config:
        raise ParameterError(_UNGUARDED)
    if not value and f"{_PREFIX}most-opened" in config:
        raise ParameterError(_UNCOUNTED)
    return value


def _ledger(given: dict[str, Any], identity: str) -> PrivacyLedger | None:
    budget = {name: _number(given, name, float) for name in ("epsilon", "delta")}
    trusting = _flag(given, "central-noise")
    lacking = [name for name, value in budget.items() if value is None]
    if len(lacking) == 2 and "ledger" not in given and not trusting:
        return None
    if lacking:
        raise ParameterError(
            f"{_PREFIX}epsilon and {_PREFIX}delta are a budget together: {_PREFIX}{lacking[0]} "
            "is absent"
        )
    path = _path(given, "ledger", f"{identity}.ledger")
    try:
        ledger = PrivacyLedger.open(path, **budget, trusting=trusting)
    except OSError as error:
        raise ParameterError(f"{path} cannot be used: {error.strerror}") from None
    # Whatever is not installed for accounting is missed here, and not after the training.
    ReductionAccountant().epsilon(Gaussian(1.0), ledger.delta)
    return ledger


def _leakage(given: dict[str, Any], identity: str) -> LeakageFile | None:
    most = _number(given, "most-opened", int)
    if most is None:
        if "leakage" in given:
            raise ParameterError(f"{_PREFIX}leakage needs {_PREFIX}most-opened, which is absent")
        return None
    return LeakageFile(_path(given, "leakage", f"{identity}.leakage"), most=most)


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.pop(name, False)
    if not isinstance(value, bool):
        raise ParameterError(f"{_PREFIX}{name} must be true or false")
    return value


def _name(given: dict[str, Any], key: str, default: str) -> str:
    value = given.pop(key, default)
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{_PREFIX}{key} in the node configuration is not a name")
    return value


def _path(given: dict[str, Any], name: str, default: str | None = None) -> str:
    value = given.pop(name, default)
    if not isinstance(value, str):
        raise ParameterError(f"the node configuration lacks a path {_PREFIX}{name}")
    return value


def _number(given: dict[str, Any], name: str, kind: type[int] | type[float]) -> Any:
    value = given.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise ParameterError(f"{_PREFIX}{name} must be a number ({kind.__name__})")
    return kind(value)


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{_PREFIX}{name}" for name in sorted(given))
