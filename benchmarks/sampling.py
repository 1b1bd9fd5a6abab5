"""Exact integer noise: samples per second and core, ours and OpenDP's in one process.

`python -m benchmarks.sampling [--count N] [--repeats N]`. OpenDP is measured where it is installed
(`pip install opendp`) and named as absent where it is not. Time is processor time; the best of the
repeats counts, and what is compared takes turns. Rounded normals of numpy stand for what is given
up for exactness and secrecy: they are neither exact nor of a cryptographic source.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from dp import DiscreteGaussian, Skellam
from dp.sample_rejection import discrete_gaussian
from dp.sample_table import Table, table

SIGMAS = (3, 800, 12_000)


@dataclass(frozen=True)
class Sampler:
    """`draw(count)` returns that many samples; `share` of the usual count keeps slow ones short."""

    name: str
    draw: Callable[[int], object]
    share: float = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("--count", type=int, default=1 << 20, help="samples at a time")
    parser.add_argument("--repeats", type=int, default=5, help="times that samplers take turns")
    parser.add_argument("--sigmas", type=int, nargs="+", default=SIGMAS)
    options = parser.parse_args()
    described = (f"{name} {_version(name)}" for name in ("numpy", "cryptography", "opendp"))
    print(f"python {platform.python_version()}, {', '.join(described)}; load {os.getloadavg()[0]}")
    print(f"samples/s, best of {options.repeats} turns of {options.count:,} (slow ones: fewer)")
    for sigma in options.sigmas:
        _show(sigma, options.count, options.repeats)


def _show(sigma: int, count: int, repeats: int) -> None:
    print(f"\nsigma = {sigma:,}")
    for kind in (Skellam, DiscreteGaussian):
        seconds = seconds_of(lambda kind=kind: Table(kind(sigma**2)))
        size = table(kind(sigma**2)).lower.size
        print(f"  {kind.__name__ + ': table, once':38} {seconds:>13.3f} s, {size:,} entries")
    samplers = [*ours(sigma), *opendp(sigma), rounded(sigma)]
    best = dict.fromkeys((sampler.name for sampler in samplers), 0.0)
    for _ in range(repeats):
        for sampler in samplers:
            drawn = max(1, int(count * sampler.share))
            rate = drawn / seconds_of(lambda drawn=drawn, sampler=sampler: sampler.draw(drawn))
            best[sampler.name] = max(best[sampler.name], rate)
    for name, rate in best.items():
        print(f"  {name:38} {rate:>13,.0f} /s")


def ours(sigma: int) -> list[Sampler]:
    noises = Skellam(sigma**2), DiscreteGaussian(sigma**2)
    tables = [
        Sampler(
            f"{type(noise).__name__}: table", lambda n, noise=noise: noise.sample(n, os.urandom)
        )
        for noise in noises
    ]
    exact = Fraction(sigma)
    rejection = Sampler(
        "DiscreteGaussian: rejection, reference",
        lambda n: [discrete_gaussian(exact, os.urandom) for _ in range(n)],
        share=1 / 2048,
    )
    return [*tables, rejection]


def opendp(sigma: int) -> list[Sampler]:
    try:
        peer = importlib.import_module("opendp.prelude")
    except ModuleNotFoundError:
        return []
    peer.enable_features("contrib")
    space = peer.vector_domain(peer.atom_domain(T=int)), peer.l2_distance(T=float)
    mechanism = peer.m.make_gaussian(*space, scale=float(sigma))
    return [Sampler("OpenDP make_gaussian, int", lambda n: mechanism([0] * n), share=1 / 128)]


def rounded(sigma: int) -> Sampler:
    generator = np.random.default_rng()
    return Sampler(
        "numpy, rounded normal (not exact)",
        lambda n: np.rint(generator.normal(0, sigma, n)).astype(np.int64),
    )


def seconds_of(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    main()
