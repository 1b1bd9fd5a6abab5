"""The mechanism for a wanted noise multiplier: as many units as the ring and the sampler can hold.

More units to the clip bound make rounding cheaper, but their noise needs a wider ring. `choose`
takes the most that fit, so that what the noise multiplier costs beyond real-valued noise, the
`inflation` of the norm by rounding, is the least that the width allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from dp.errors import ParameterError, require
from dp.layers import ByLayers
from dp.mechanism import Mechanism, most_units
from dp.noise import MOST, DivisibleNoise, IntegerNoise, exact, real, shown, whole
from dp.noise_skellam import Skellam
from dp.parties import ByClients, ByServer

__all__ = ["Choice", "choose"]

WIDE = Fraction(1 << 30)  # `sigma_squared` of one draw: a table of 2**15 takes 2 s to build
GRID = 1 << 20  # `sigma_squared` is a multiple of 1 / GRID, which a plan can print
_FLAG_SPREAD = 0.05  # standard deviation of `within`, the share of the clients [Andrew21, §3]
_MOST_FLAG = 0.25  # of the units: with few clients, a flag as precise would cost all the noise

_Noise = Callable[[Fraction], IntegerNoise]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A mechanism, and what it costs.

    Attributes
    ----------
    mechanism: as chosen.
    inflation: L2 sensitivity over that of the update before rounding, less 1.
    sigma: standard deviation of the noise of the parts that are counted on, in integer units.
    noise_multiplier: `sigma` over the L2 sensitivity; what was asked for, or a little more.
    bytes_per_parameter: of one client's packed residues, padding and flag included.
    """

    mechanism: Mechanism
    inflation: float
    sigma: float
    noise_multiplier: float
    bytes_per_parameter: float

    def explained(self) -> str:
        """Five lines for a person, in the units of an update where those are meant."""
        ours = self.mechanism
        unit, noise = ours.clip / ours.units, math.sqrt(ours.noise.noise.sigma_squared)
        who = "each client" if isinstance(ours.noise, ByClients) else "the server"
        if isinstance(ours.noise, ByLayers):
            who += f", in {len(ours.noise.levels)} layers,"
        log2 = ours.log2_wrap(ours.width)
        return (
            f"ring: {ours.width} bits, {ours.length} coordinates for {ours.size} parameters, "
            f"{self.bytes_per_parameter:.3g} bytes a parameter\n"
            f"scale: clip {ours.clip:.6g} = {ours.units} units, one unit = {unit:.4g}\n"
            f"sensitivity: {ours.sensitivity.l2:.6g} units, {self.inflation:.3%} for rounding\n"
            f"noise: {who} adds {type(ours.noise.noise).__name__} noise of sigma {noise:.6g} units "
            f"({noise * unit:.4g}); counted on: {self.sigma:.6g} units ({self.sigma * unit:.4g}), "
            f"{self.noise_multiplier:.6g} times the sensitivity\n"
            f"wrap: with probability below 2**{math.ceil(max(log2, -999)):d}"
        )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The request: from it, one candidate mechanism for each number of units."""

    draft: Mechanism
    parts: int | None
    levels: tuple[int, ...] | None
    noise_multiplier: Fraction
    noise: _Noise
    flag: bool

    def shape(self, units: int) -> Mechanism:
        """Without its noise yet, in the widest ring."""
        return replace(self.draft, units=units, flag=self._flag(units))

    def sigma_squared(self, units: int) -> Fraction:
        """Of one draw: the share of the target, rounded up.

        By one step more than that: a discrete Gaussian's variance is a hair below its parameter.
        """
        return self._sigma_squared(self.shape(units))

    def mechanism(self, units: int) -> Mechanism:
        """In the widest ring."""
        shape = self.shape(units)
        drawn = self.noise(self._sigma_squared(shape))
        if self.parts is None:
            return replace(shape, noise=ByServer(drawn))
        return replace(shape, noise=self._shares(drawn, self.parts), width=64)

    def inflation(self, units: int) -> float:
        shape = self.shape(units)
        return shape.sensitivity.l2 / math.hypot(units, shape.flag) - 1

    def _sigma_squared(self, shape: Mechanism) -> Fraction:
        target = self.noise_multiplier**2 * shape.sensitivity.squared
        return Fraction(math.ceil(target / (self.parts or 1) * GRID) + 1, GRID)

    def _shares(self, drawn: IntegerNoise, parts: int) -> ByClients:
        if self.levels is None:
            return ByClients(drawn, parts)
        require(isinstance(drawn, DivisibleNoise), "noise: a DivisibleNoise, to be had in layers,")
        assert isinstance(drawn, DivisibleNoise)
        return ByLayers(drawn, parts, self.levels)

    def _flag(self, units: int) -> int:
        """So many units that `within` of a whole cohort has the wanted deviation, where that does
        not cost much.
        """
        if not self.flag:
            return 0
        clients = self.draft.clients
        # shares of all are in the sum: more noise than that of the parts that are counted on
        root = math.sqrt(clients * self.parts) if self.parts else clients
        bare = float(self.noise_multiplier) / (2 * _FLAG_SPREAD * root)
        # the flag is in the norm that the noise is measured by
        share = bare / math.sqrt(1 - bare**2) if bare < _MOST_FLAG else _MOST_FLAG
        return max(1, min(math.ceil(share * units), math.floor(_MOST_FLAG * units)))


def choose(
    *,
    size: int,
    clients: int,
    parts: int | None,
    levels: tuple[int, ...] | None = None,
    clip: float,
    noise_multiplier: float,
    width: int | None = None,
    error: float = 1e-3,
    noise: _Noise = Skellam,
    rotate: bool = True,
    flag: bool = False,
    wrap: float = 2.0**-40,
) -> Choice:
    """The mechanism of the least inflation whose noise multiplier is at least the wanted one.

    `parts` honest clients are counted on to add their noise, or the server adds it if None. With
    `levels` the shares are `ByLayers`, of which excess can be removed. A given `width` is used as
    well as it can be, and `error` is not looked at; else the width is the least of which the
    inflation is at most `error`. Noise of one draw stays below a sigma of 2**15, to keep its table
    small, unless `error` needs more.

    Raises `ParameterError` if nothing fits, with the bits that are needed.
    """
    error = real("0 < error < 1", error, lambda value: 0 < value < 1)
    require(type(flag) is bool, f"flag: bool, not {shown(flag)},")
    require(callable(noise), f"noise: an IntegerNoise of its sigma_squared, not {shown(noise)},")
    require(parts is not None or levels is None, "levels is None where the server adds the noise,")
    # Any noise does in a draft: the server's is not in the ring.
    draft = Mechanism(
        size=size,
        clients=clients,
        clip=clip,
        units=1,
        width=62,
        noise=ByServer(noise(Fraction(1))),
        rotate=rotate,
        wrap=wrap,
    )
    wanted = _Wanted(
        draft=draft,
        parts=None if parts is None else whole("parts", parts, 1),
        levels=levels,
        noise_multiplier=exact("noise_multiplier", noise_multiplier),
        noise=noise,
        flag=flag,
    )
    wide = None if width is None else whole("width", width, 2)
    return _described(wanted, _with_width(wanted, wide, error))


def _with_width(wanted: _Wanted, width: int | None, error: float) -> Mechanism:
    most = most_units(wanted.draft.coordinates)
    require(wanted.sigma_squared(1) <= MOST, _too_much(wanted, 1))
    if width is None:
        precise = _precise(wanted, most, error)
        width, wide = wanted.mechanism(precise).needed_width, wanted.sigma_squared(precise)
    else:
        needed, wide = wanted.mechanism(1).needed_width, Fraction(0)
        if needed > width:
            raise ParameterError(_too_narrow(wanted, width, needed))
    units = _last(most, lambda at: _fits(wanted, at, width, max(WIDE, wide)))
    return replace(wanted.mechanism(units), width=width)


def _precise(wanted: _Wanted, most: int, error: float) -> int:
    """The least units of which the inflation is at most `error`."""
    least = wanted.inflation(most)
    require(least <= error, f"error >= {least:.3g}, that of the most units,")
    coarse = wanted.inflation(1) > error
    units = 1 + _last(most, lambda at: wanted.inflation(at) > error) if coarse else 1
    require(wanted.sigma_squared(units) <= MOST, _too_much(wanted, units))
    return units


def _fits(wanted: _Wanted, units: int, width: int, widest: Fraction) -> bool:
    return wanted.sigma_squared(units) <= widest and wanted.mechanism(units).fits(width)


def _last(most: int, holds: Callable[[int], bool]) -> int:
    """The last of 1 ... `most` that `holds`, which the first does and none after the last."""
    low, high = 1, most + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _described(wanted: _Wanted, mechanism: Mechanism) -> Choice:
    sensitivity, drawn = mechanism.sensitivity, mechanism.noise.noise
    variance = drawn.variance * (wanted.parts or 1)
    found = variance / sensitivity.squared
    enough = found >= wanted.noise_multiplier**2
    require(enough, "variance >= noise_multiplier**2 * sensitivity, for noise this narrow,")
    return Choice(
        mechanism=mechanism,
        inflation=wanted.inflation(mechanism.units),
        sigma=math.sqrt(variance),
        noise_multiplier=math.sqrt(found),
        bytes_per_parameter=mechanism.width * mechanism.length / 8 / mechanism.size,
    )


def _too_much(wanted: _Wanted, units: int) -> str:
    sigma = math.sqrt(wanted.sigma_squared(units))
    return f"sigma <= 2**18 of one draw, not {sigma:.4g} at {units} units,"


def _too_narrow(wanted: _Wanted, width: int, needed: int) -> str:
    clients, noise = wanted.draft.clients, math.sqrt(wanted.sigma_squared(1))
    return (
        f"width >= {needed} must hold, got {width}: even at one unit each, rounding moves the sum "
        f"of {clients} clients by up to {clients}, and each draw of noise has sigma {noise:.4g}"
    )
