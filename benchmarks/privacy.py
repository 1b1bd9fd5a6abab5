"""What privacy costs: epsilon by width and by who is gone, accuracy by epsilon, speed of samplers.

The round of the tables: 100 clients, 100,000 parameters, delta = 1e-5. Noise is stated as z, its
deviation in the sum over the clip bound, so that one row is one accuracy; integers then cost what
rounding adds to the norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from benchmarks import sampling
from benchmarks.secagg_round import Tick
from dp import (
    Accountant,
    ByClients,
    Composed,
    DiscreteGaussian,
    DivisibleNoise,
    Event,
    Gaussian,
    Mechanism,
    ParameterError,
    PublishedAccountant,
    ReductionAccountant,
    Release,
    Sampled,
    Skellam,
    choose,
)
from dp.mechanism import BETA
from protocols.planfile import PlanFile, PrivacyChoice, Quantizer, SchemeChoice, Training
from secagg.schemes.secagg_plus import SecAggPlus

__all__ = ["CLIENTS", "DELTA", "RATE", "ROUNDS", "SIZE", "Privacy", "measure", "steps"]

CLIENTS, SIZE, DELTA = 100, 100_000, 1e-5
RATE, ROUNDS = 0.01, 1000
_WIDTHS = range(8, 19, 2)
_MULTIPLIERS = (0.5, 1.0, 2.0)
_SAMPLED = [(1.0, 12), (1.0, 14), (1.0, 16), (0.6, 16), (2.0, 16)]
_DROPPED, _COLLUDING = (0.0, 0.1, 0.3), (0.0, 0.1, 0.33)
_EPSILONS = (1.0, 2.0, 4.0, 8.0)
_MOST_UNITS = 1 << 16  # beyond what 18 bits hold
_DRAWS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Priced:
    """One width of the ring, and epsilon by each account; None where an account has no bound.

    units: to the clip bound. inflation: of the norm, by rounding. once: epsilon if rounding were
    not repeated until the norm is small. chosen: by how much `dp.choose` raises the noise instead,
    to deliver the epsilon of z in full; None where nothing fits.
    """

    z: float
    width: int
    units: int
    inflation: float
    ddg: float | None
    skellam: float
    reduction: float
    once: float
    chosen: float | None


@dataclass(frozen=True, kw_only=True)
class SampledPrice:
    """The same over many sampled rounds."""

    z: float
    width: int
    published: float
    reduction: float
    central: float


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """Epsilon of what is in the sum when so many are gone; `shares` is what ours counts on."""

    dropped: float
    colluding: float
    naive: float
    ours: float
    shares: int


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Accuracies of the demo, one for each seed; epsilon None for no noise."""

    epsilon: float | None
    by: str
    rounds: int
    accuracies: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Samples per second and core."""

    sigma: int
    sampler: str
    rate: float


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """All of it. central: epsilon of real-valued noise of each z, by the closed form."""

    central: dict[float, float]
    priced: Sequence[Priced]
    sampled: Sequence[SampledPrice]
    delivered: Sequence[Delivered]
    trained: Sequence[Trained]
    speeds: Sequence[Speed]


def steps(quick: bool) -> int:
    """Of progress, in `measure`."""
    return len(_runs(quick)) + 4


def measure(quick: bool, tick: Tick) -> Privacy:
    """Every table; `quick` trains less, and leaves rows out of it."""
    ours = ReductionAccountant()
    central = {z: ours.epsilon(Gaussian(z), DELTA) for z in _MULTIPLIERS}
    priced = [_priced(z, width) for z in _MULTIPLIERS for width in _WIDTHS]
    tick()
    sampled = [_sampled(z, width) for z, width in (_SAMPLED[:1] if quick else _SAMPLED)]
    tick()
    delivered = [_delivered(lost, bad) for lost in _DROPPED for bad in _COLLUDING]
    tick()
    speeds = _speeds(_DRAWS >> 8 if quick else _DRAWS)
    tick()
    return Privacy(
        central=central,
        priced=[item for item in priced if item is not None],
        sampled=sampled,
        delivered=delivered,
        trained=_trained(quick, tick),
        speeds=speeds,
    )


def _priced(z: float, width: int) -> Priced | None:
    """None where not even one unit fits."""
    units = _most(lambda at: _mechanism(z, at).fits(width))
    if not units:
        return None
    published, ours = PublishedAccountant(), ReductionAccountant()
    drawn = _mechanism(z, units)
    # rounded once, a vector may be longer: the same noise, and another sensitivity
    once = replace(drawn, beta=0.0).event
    return Priced(
        z=z,
        width=width,
        units=units,
        inflation=drawn.sensitivity.l2 / units - 1,
        ddg=_epsilon(published, _mechanism(z, units, DiscreteGaussian).event),
        skellam=published.epsilon(drawn.event, DELTA),
        reduction=ours.epsilon(drawn.event, DELTA),
        once=ours.epsilon(once, DELTA),
        chosen=_chosen(z, width),
    )


def _mechanism(z: float, units: int, noise: type[DivisibleNoise] = Skellam) -> Mechanism:
    """All clients' shares make up a deviation of z times the clip bound, in the widest ring."""
    share = noise(Fraction(z) ** 2 * units**2 / CLIENTS)
    return Mechanism(
        size=SIZE,
        clients=CLIENTS,
        clip=1.0,
        units=units,
        width=64,
        noise=ByClients(share, CLIENTS),
        beta=BETA,
    )


def _most(fits: Callable[[int], bool]) -> int:
    """The most units that fit, or 0."""
    low, high = 0, _MOST_UNITS
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _epsilon(accountant: Accountant, event: Event) -> float | None:
    """None for sums of discrete Gaussians so narrow that no law is known for them."""
    try:
        return accountant.epsilon(event, DELTA)
    except ParameterError:
        return None


def _chosen(z: float, width: int) -> float | None:
    try:
        found = choose(
            size=SIZE, clients=CLIENTS, parts=CLIENTS, clip=1.0, noise_multiplier=z, width=width
        )
    except ParameterError:
        return None
    return found.inflation


def _sampled(z: float, width: int) -> SampledPrice:
    event = _mechanism(z, _most(lambda at: _mechanism(z, at).fits(width))).event
    rounds, real = (Composed(((Sampled(RATE, each), ROUNDS),)) for each in (event, Gaussian(z)))
    ours = ReductionAccountant()
    return SampledPrice(
        z=z,
        width=width,
        published=PublishedAccountant().epsilon(rounds, DELTA),
        reduction=ours.epsilon(rounds, DELTA),
        central=ours.epsilon(real, DELTA),
    )


def _delivered(dropped: float, colluding: float) -> Delivered:
    """One round at z = 1 and 16 bits, with shares for everybody and for those counted on."""
    scheme = SecAggPlus(clients=CLIENTS, length=1, width=16, dropout=dropped, corrupt=colluding)
    everybody, counted = (_event(parts) for parts in (CLIENTS, scheme.honest_inputs))
    ours = ReductionAccountant()
    return Delivered(
        dropped=dropped,
        colluding=colluding,
        naive=ours.epsilon(replace(everybody, parts=scheme.honest_inputs), DELTA),
        ours=ours.epsilon(counted, DELTA),
        shares=scheme.honest_inputs,
    )


def _event(parts: int) -> Release:
    found = choose(
        size=SIZE, clients=CLIENTS, parts=parts, clip=1.0, noise_multiplier=1.0, width=16
    )
    return found.mechanism.event


def _runs(quick: bool) -> list[tuple[float | None, str, int]]:
    """(epsilon, who adds the noise, seed), for each training."""
    noisy = [(epsilon, by) for epsilon in _EPSILONS for by in ("server", "clients")]
    cells = [(8.0, "clients"), (None, "")] if quick else [*noisy, (None, "")]
    return [(*cell, seed) for cell in cells for seed in range(1 if quick else 3)]


def _trained(quick: bool, tick: Tick) -> list[Trained]:
    rounds = 2 if quick else 10
    found: dict[tuple[float | None, str], list[float]] = {}
    for epsilon, by, seed in _runs(quick):
        found.setdefault((epsilon, by), []).append(_accuracy(epsilon, by, seed, rounds))
        tick()
    return [
        Trained(epsilon=epsilon, by=by, rounds=rounds, accuracies=accuracies)
        for (epsilon, by), accuracies in found.items()
    ]


def _accuracy(epsilon: float | None, by: str, seed: int, rounds: int) -> float:
    """Of the demo's last round.

    Masks would change no bit of any sum, only the time. The shares of 80 of 100 clients are counted
    on, as in a plan with 10 % of drop-outs and 10 % of colluding clients.
    """
    from protocols.demo.training import Federation  # noqa: PLC0415  # other parts need no torch

    file = PlanFile(
        scheme=SchemeChoice(name="plain-insecure", clients=CLIENTS, dropout=0.2),
        quantize=Quantizer(bound=1.0, max_weight=1),
        privacy=PrivacyChoice(epsilon=epsilon, by=by) if epsilon else PrivacyChoice(),
        training=Training(rounds=rounds, drop=0.0, seed=seed),
    )
    *_, last = Federation(file).rounds()
    assert last.number == rounds, "the budget affords every round"
    return last.accuracy


def _speeds(count: int) -> list[Speed]:
    return [
        Speed(sigma=sigma, sampler=each.name, rate=_rate(each, count))
        for sigma in sampling.SIGMAS
        for each in (*sampling.ours(sigma), *sampling.opendp(sigma), sampling.rounded(sigma))
    ]


def _rate(sampler: sampling.Sampler, count: int) -> float:
    """The best of three."""
    drawn = max(1, int(count * sampler.share))
    sampler.draw(1)  # a table is built once, and not here
    return max(drawn / sampling.seconds_of(lambda: sampler.draw(drawn)) for _ in range(3))
