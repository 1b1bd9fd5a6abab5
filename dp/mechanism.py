"""One round of a differentially private mean: from an update to the integers that clients sum.

    vector, float64 (d,) --encode--> int64 (D,)                    client; the caller reduces it
    sum of the clients, centered --aggregate--> int64 (D,)         server
                                 --decode--> mean, float64 (d,)    server

`encode` clips, rotates, scales, rounds under a norm that is checked exactly, and adds the client's
noise. The ring is the caller's: `encode` gives integers, to be reduced modulo 2**width, and
`aggregate` takes the representatives in [-2**(width-1), 2**(width-1)) of their sum.

A sum wraps with probability `wrap` at most, or construction fails. Wrapping could spoil a mean; the
privacy of a round does not depend on it, nor on anything else that happens after the noise.
Symbols and proofs: docs/spec/mechanism.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dp.clip import LEAST, MOST, Flat, check_vector
from dp.errors import InputRefused, IntegrityError, ParameterError, require
from dp.events import Release
from dp.layers import ByLayers
from dp.noise import whole
from dp.parties import ByAggregators, ByClients, ByServer
from dp.rotate import SEED_SIZE, padded_size, rotate, unrotate
from dp.round import MOST_BETA, conditional_round
from dp.sample import KEY_SIZE, Rand, draw
from dp.sensitivity import Sensitivity
from dp.wrap import Stray, either, energy

__all__ = [
    "ByAggregators",
    "ByClients",
    "ByLayers",
    "ByServer",
    "Decoded",
    "Mechanism",
    "most_units",
]

BETA = 0.6065306597126334  # exp(-1/2), written out: platforms differ in its last digit
MOST_CLIENTS = 1 << 20
_EXACT = 1 << 48  # units * (D + 512): float64 moves a coordinate by less than 1/16 of a unit
_MOVED = 17 / 16  # so far at most from a coordinate in exact arithmetic to the integer of it
_FAILURE_BITS = 40  # of refusing an honest total

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a round releases.

    Attributes
    ----------
    mean: float64 (d,), in the units of an update.
    within: the share of the clients whose update was within the clip bound, noisy and so possibly
        outside [0, 1]; None without a flag.
    """

    mean: _Floats
    within: float | None


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Everything public about a round; `repr` has all of it and is the same on every machine.

    Attributes
    ----------
    size: d, the coordinates of an update.
    clients: n, how many are invited. A sum has at most so many.
    clip: the L2 bound of one update, in its units. Updates beyond it are scaled down to it.
    units: the integer norm that `clip` is scaled to before rounding; more of them cost width and
        save noise. At most `most_units(D)`.
    width: bits of the ring, 2 to 64; to 62 where clients add no noise.
    noise: who adds which: `ByClients`, `ByLayers` whose excess can be removed, `ByServer`, or
        `ByAggregators`, who have added theirs to the total that they give.
    rotate: whether coordinates are mixed by a public random rotation, which a small ring needs.
    beta: the most that one try of conditional rounding fails with, 0 to 0.9 [Kairouz21, Thm 1].
    flag: units of one more coordinate, +flag for an update within `clip` and -flag for one beyond
        [Andrew21]; 0 for none.
    wrap: the most that any coordinate of the sum leaves the ring with, 2**-100 to 1/2.

    Raises `ParameterError` with the inequality that fails and, for the ring, with the bits needed.
    """

    size: int
    clients: int
    clip: float
    units: int
    width: int
    noise: ByClients | ByServer | ByAggregators
    rotate: bool = True
    beta: float = BETA
    flag: int = 0
    wrap: float = 2.0**-40

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_noise()
        if not self.fits(self.width):
            raise ParameterError(self._too_narrow(self.needed_width))

    @property
    def coordinates(self) -> int:
        """D: of an update before the flag, padded to a power of two if it is rotated."""
        return padded_size(self.size) if self.rotate else self.size

    @property
    def length(self) -> int:
        """Of what `encode` returns: D, and one more with a flag."""
        return self.coordinates + (self.flag > 0)

    @property
    def sensitivity(self) -> Sensitivity:
        """Of the integers of one client before noise, stage by stage."""
        rounded = self._rounded
        return rounded.extended(self.flag) if self.flag else rounded

    @property
    def event(self) -> Release:
        """What an accountant charges for one round."""
        parts = self.noise.parts if isinstance(self.noise, ByClients) else 1
        return Release(self.noise.noise, parts, self.sensitivity)

    @property
    def needed_width(self) -> int:
        """The least width that keeps the promise of `wrap`, or 65."""
        low, high = 1, 65
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(middle) else (middle, high)
        return high

    def fits(self, width: int) -> bool:
        """Whether a ring of `width` bits keeps the promise of `wrap`."""
        return self.log2_wrap(width) <= math.log2(self.wrap)

    def log2_wrap(self, width: int) -> float:
        """An upper bound on log2 of the probability that a coordinate of n clients' sum wraps."""
        edge, noise = 2.0 ** (width - 1), self._ring_noise()
        always = Stray(fixed=float(self.clients * self._rounded.largest), spread=0.0, noise=noise)
        log2 = always.log2_tail(edge)
        if self.rotate:
            log2 = min(log2, self._mixed(noise).log2_tail(edge))
        log2 += math.log2(self.coordinates)
        if self.flag:
            flags = Stray(fixed=float(self.clients * self.flag), spread=0.0, noise=noise)
            return either(log2, flags.log2_tail(edge))
        return min(0.0, log2)

    def encode(
        self, vector: _Floats, *, seed: bytes, rand: Rand, layer_key: bytes | None = None
    ) -> _Integers:
        """The client's integers, int64 (length,), noisy if the noise is `ByClients`.

        `vector` is float64 (d,). `seed` is the 32 public bytes of this round's rotation. Reads 32
        bytes of `rand` for the rounding and 32 for noise; they must be as secret as the update.
        `layer_key` is for `ByLayers`: 32 bytes of this sum alone, as secret, which `disclosed`
        takes later. Without it they come from `rand`, and nobody can remove the excess.

        Before noise, the sum of the squared integers is at most `sensitivity.squared`, exactly and
        whatever the update was. Raises `InputRefused` for a wrong shape or dtype, NaN and
        infinities, and `ParameterError` for a wrong seed or key.
        """
        self._check_update(vector, seed)
        layers = isinstance(self.noise, ByLayers)
        require(layers or layer_key is None, "layer_key is None but for ByLayers,")
        ball = Flat(self.clip)
        scaled = self._spread(ball.apply(vector), seed)
        scaled *= self.units / self.clip
        limit = int(self._rounded.squared)
        encoded = conditional_round(scaled, limit, self.beta, rand)
        if self.flag:
            encoded = np.append(encoded, self.flag if ball.holds(vector) else -self.flag)
        return encoded + self._client_noise(rand, layer_key)

    def excess_layers(self, clients: int) -> int:
        """How many layers of each client a sum of `clients` clients does not need."""
        layers = self._layers
        return len(layers.levels) - layers.kept(self._missing(clients))

    def disclosed(self, layer_key: bytes, clients: int) -> bytes | None:
        """What a client tells of its `layer_key` for a sum of `clients` clients, itself included.

        32 bytes, from which `excess` follows and nothing else; None where this client's noise is
        all needed. Raises `ParameterError` for a wrong key, a wrong number, and other noise.
        """
        return self._layers.disclosed(layer_key, self._missing(clients))

    def excess(self, disclosed: Iterable[bytes], clients: int) -> _Integers:
        """The noise that a sum of `clients` clients does not need: int64 (length,), to subtract.

        `disclosed` is what some of these clients told. Those who did not leave theirs in. Raises
        `ParameterError` as `disclosed` does.
        """
        return self._layers.excess(disclosed, self._missing(clients), self.length)

    def aggregate(self, total: _Integers, *, rand: Rand) -> _Integers:
        """The noisy total, int64 (length,): of `ByServer` with noise, else the total itself.

        Raises `ParameterError` for a wrong shape or dtype, `IntegrityError` for what is no residue
        of the ring.
        """
        self._check_total(total)
        self._check_ring(total)
        if isinstance(self.noise, ByServer):
            return total + self.noise.noise.sample(self.length, rand)
        return total

    def decode(self, total: _Integers, clients: int, *, seed: bytes) -> Decoded:
        """The mean of the updates of `clients` clients, from what `aggregate` returned.

        Raises `ParameterError` for a wrong shape, dtype or seed, more clients than were invited and
        fewer than the event counts on (`parts`); `IntegrityError` for what so many honest clients
        sum to with a probability of 2**-40 at most.
        """
        self._check_total(total)
        _check_seed(seed)
        count = self._count(clients)
        if not isinstance(self.noise, ByServer):
            self._check_ring(total)
        self._check_norm(total, count)
        scaled = total[: self.coordinates].astype(np.float64)
        scaled *= self.clip / self.units / count
        mean = unrotate(scaled, seed, self.size) if self.rotate else scaled
        return Decoded(mean, self._within(total, count))

    def is_likely(self, noise: _Integers) -> bool:
        """Whether integers (length,) are no larger than the noise in a total of all clients is but
        with a probability of 2**-40.
        """
        values = noise.astype(np.float64)
        return float(values @ values) <= self._energy(self.clients)

    @cached_property
    def _rounded(self) -> Sensitivity:
        stages = Sensitivity.clipped(self.clip, self.size)
        if self.rotate:
            stages = stages.padded(self.coordinates).rotated()
        return stages.scaled(Fraction(self.units) / Fraction(self.clip)).rounded(self.beta)

    def _mixed(self, noise: float) -> Stray:
        """A coordinate of the rotated sum, whose norm is at most n * units, over the seeds."""
        spread = float(self.clients * self.units) ** 2 / self.coordinates
        return Stray(fixed=self.clients * _MOVED, spread=spread, noise=noise)

    def _ring_noise(self) -> float:
        """`sigma_squared` of what is in the ring if nobody drops out."""
        if isinstance(self.noise, ByServer):
            return 0.0
        return float(self._copies(self.clients) * self.noise.noise.sigma_squared)

    def _energy(self, clients: int) -> float:
        spread = float(self._copies(clients) * self.noise.noise.sigma_squared)
        return energy(self.length, spread, _FAILURE_BITS)

    def _copies(self, clients: int) -> int:
        """Draws of the noise in the total of so many clients."""
        if isinstance(self.noise, ByClients):
            return clients
        return self.noise.copies if isinstance(self.noise, ByAggregators) else 1

    @property
    def _layers(self) -> ByLayers:
        require(isinstance(self.noise, ByLayers), "noise: ByLayers, to remove some of it,")
        assert isinstance(self.noise, ByLayers)
        return self.noise

    def _missing(self, clients: int) -> int:
        return self.clients - self._count(clients)

    def _count(self, clients: int) -> int:
        least = self.noise.parts if isinstance(self.noise, ByClients) else 1
        count = whole("clients", clients, least)
        require(count <= self.clients, f"clients <= {self.clients}, not {count},")
        return count

    def _client_noise(self, rand: Rand, layer_key: bytes | None) -> _Integers | int:
        if isinstance(self.noise, ByLayers):
            key = draw(KEY_SIZE, rand) if layer_key is None else layer_key
            return self.noise.sample(self.length, rand, key)
        if isinstance(self.noise, ByClients):
            return self.noise.noise.sample(self.length, rand)
        return 0

    def _spread(self, clipped: _Floats, seed: bytes) -> _Floats:
        return rotate(clipped, seed) if self.rotate else clipped

    def _within(self, total: _Integers, clients: int) -> float | None:
        return (int(total[-1]) / (self.flag * clients) + 1) / 2 if self.flag else None

    def _check_update(self, vector: _Floats, seed: bytes) -> None:
        check_vector(vector)
        if vector.size != self.size:
            raise InputRefused(f"the vector has {vector.size} coordinates, not {self.size}")
        _check_seed(seed)

    def _check_total(self, total: _Integers) -> None:
        shaped = type(total) is np.ndarray and total.shape == (self.length,)
        require(shaped and total.dtype == np.int64, f"total: an int64 array of ({self.length},)")

    def _check_ring(self, total: _Integers) -> None:
        edge = 1 << (self.width - 1)
        if int(total.max()) >= edge or int(total.min()) < -edge:
            raise IntegrityError(f"a coordinate of the total is not in the ring of {edge} * 2")

    def _check_norm(self, total: _Integers, clients: int) -> None:
        """Garbled totals are uniform, and have a far larger norm than the ring's `wrap` allows."""
        most = clients * self.sensitivity.l2 + math.sqrt(self._energy(clients))
        values = total.astype(np.float64)
        # the float error of the sum is below (length + 2) * 2**-53 of it
        if float(values @ values) > most * most * (1 + 2.0**-20):
            raise IntegrityError(f"the norm of the total is beyond {clients} clients and noise")

    def _check_numbers(self) -> None:
        for name, least in (("size", 1), ("clients", 1), ("units", 1), ("width", 2), ("flag", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        require(self.clients <= MOST_CLIENTS, f"clients <= 2**20, not {self.clients},")
        object.__setattr__(self, "clip", _real("clip", self.clip, LEAST, MOST))
        object.__setattr__(self, "beta", _real("beta", self.beta, 0.0, MOST_BETA))
        object.__setattr__(self, "wrap", _real("wrap", self.wrap, 2.0**-100, 0.5))
        require(type(self.rotate) is bool, f"rotate: bool, not {self.rotate!r},")
        most = most_units(self.coordinates)
        require(self.units <= most, f"units <= 2**48 / (D + 512) = {most}, not {self.units},")
        require(self.flag <= self.units, f"flag <= units = {self.units}, not {self.flag},")

    def _check_noise(self) -> None:
        kind = isinstance(self.noise, ByClients | ByServer | ByAggregators)
        name = type(self.noise).__name__
        require(kind, f"noise: ByClients | ByServer | ByAggregators, not {name},")
        widest = 64 if isinstance(self.noise, ByClients) else 62  # int64 has room for theirs
        require(self.width <= widest, f"width <= {widest}, not {self.width},")
        if isinstance(self.noise, ByClients):
            what = "parts + levels[-1]" if isinstance(self.noise, ByLayers) else "parts"
            require(self.noise.most <= self.clients, f"{what} <= clients = {self.clients}")

    def _too_narrow(self, needed: int) -> str:
        signal = self.clients * self.units / math.sqrt(self.coordinates)
        parts = (
            f"the sum of {self.clients} clients at {self.units} units each ({signal:.4g} per "
            f"coordinate{' if spread' if self.rotate else ''}), rounding by up to {self.clients}, "
            f"and noise of sigma {math.sqrt(self._ring_noise()):.4g}"
        )
        bits = f"{needed} bits are needed" if needed <= 64 else "no width up to 64 is enough"
        found = f"2**{self.log2_wrap(self.width):.1f} <= wrap = 2**{math.log2(self.wrap):.1f}"
        return f"P(wrap) <= {found} must hold in {self.width} bits, for {parts}: {bits}"


def most_units(coordinates: int) -> int:
    """The most units with which float64 is exact enough for D = `coordinates`."""
    return _EXACT // (coordinates + 512)


def _check_seed(seed: object) -> None:
    require(type(seed) is bytes and len(seed) == SEED_SIZE, f"seed: {SEED_SIZE} bytes")


def _real(name: str, value: object, least: float, most: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    holds = number and isinstance(value, int | float) and least <= value <= most
    require(holds, f"{least!r} <= {name} <= {most!r}, not {value!r},")
    assert isinstance(value, int | float)
    return float(value)
