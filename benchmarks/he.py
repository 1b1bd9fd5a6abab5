"""`python -m benchmarks.he [--size D] [--clients N] [--repeats R] [--only ROW …]`: encrypted sums.

One run, in turns: our encrypted scheme, NVFLARE's settings of the same library (CKKS, degree 8192,
primes of 60, 40 and 40 bits, scale 2^40, one secret key that every client has), and pairwise masks.
Processor time; medians over the repeats.

The peer's row is `ckks_vector`, `serialize`, `ckks_vector_from`, `add_`, `decrypt` on vectors that
lie ready: what its encryptor, aggregator and decryptor spend their time in, and nothing around it.
"Encryption alone" is the same of ours, from residues to bytes to residues. "Whole round" has masks,
encoding, signatures and checks besides, as the row of pairwise masks has.

"Rounded" is a whole round in the approximate mode: CKKS, of which the authority releases integers.
"Norms" and "cosines" are whole rounds in which the server has 64 or 256 numbers and the weight of
each client opened before the sum, estimates from them each client's norm, or its cosine to a public
vector, and sums all; their seconds are of everything together.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar

import numpy as np
import tenseal
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import host
from benchmarks.table import Table
from protocols.authority import AuthorityKeeper
from protocols.plan import RoundPlan
from protocols.screening import NormScreen, PlanScreen, SketchScreen, observed
from protocols.simulate import Judge, Population, run_round
from secagg.event import Statistics
from secagg.primitives.ring import Words
from secagg.quantize import NormClip, RangeClip
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.ckks.cipher import KeyPair
from secagg.schemes.ckks.cipher_tenseal import TensealCipher
from secagg.schemes.ckks.layout import Layout, layout
from secagg.schemes.ckks.residues import add, pack_residues, unpack_residues
from secagg.schemes.secagg_plus import SecAggPlus

T = TypeVar("T")
Floats = NDArray[np.float32]

_DEGREE, _PRIMES, _SCALE = 8192, (60, 40, 40), 2.0**40
_BOUND = 1.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of one client, of the server, and of whoever decrypts; bytes; distance of the mean.

    decrypting: `who` does it. upload: bytes of one client, frames included. download: of the sum
    that one client decrypts, 0 where none does.
    """

    name: str
    exchanges: int
    client: float
    server: float
    decrypting: float
    who: str
    upload: int
    deviation: float
    download: int = 0

    @property
    def cycle(self) -> float:
        """Encrypt, add, decrypt: one client's, all additions, one decryption."""
        return self.client + self.server + self.decrypting


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    rng = np.random.default_rng(0)
    updates = {
        client: np.clip(rng.normal(0, 0.1, options.size), -_BOUND, _BOUND).astype(np.float32)
        for client in range(1, options.clients + 1)
    }
    authority = AuthorityKeeper(KeyAuthority.generate())
    runs = {
        "encryption alone": partial(_alone, updates),
        "NVFLARE's settings": partial(nvflare, updates),
        "whole round": partial(_encrypted, updates, authority),
        "pairwise masks": partial(_pairwise, updates),
        "rounded": partial(_rounded, updates, authority),
        "norms": partial(_screened, "norms", NormScreen(), updates, authority),
        "cosines": partial(_screened, "cosines", SketchScreen(), updates, authority),
    }
    chosen = [prepare() for name, prepare in runs.items() if name in (options.only or runs)]
    found = [[measure() for measure in chosen] for _ in range(options.repeats)]
    medians = {each[0].name: _median(list(each)) for each in zip(*found, strict=True)}
    console = Console(width=130)
    machine = host.describe()
    console.print(f"{machine.processor}, load {machine.load}, TenSEAL {tenseal.__version__}")
    console.print(_table(list(medians.values()), options.size, options.clients).rich())
    if {"NVFLARE's settings", "encryption alone", "whole round"} <= medians.keys():
        _compare(console, medians)


def _compare(console: Console, medians: Mapping[str, Cost]) -> None:
    peer, encrypted = medians["NVFLARE's settings"], medians["whole round"]
    alone = medians["encryption alone"]
    console.print(f"encryption alone: {peer.cycle / alone.cycle:.1f} times the throughput")
    console.print(f"whole round: {peer.cycle / encrypted.cycle:.1f} times the throughput")
    console.print(f"upload: {peer.upload / encrypted.upload:.1f} times fewer bytes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.he", description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="parameters of an update")
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows, by their names")
    return parser


def _alone(updates: Mapping[int, Floats]) -> Callable[[], Cost]:
    shape = layout(len(updates), len(updates[1]), 32)
    cipher = TensealCipher()
    pair = cipher.generate(shape.ring.keys)
    vectors = [np.rint(update * np.float64(2**20)) for update in updates.values()]
    residues = [vector.astype(np.int64).astype(np.uint32) for vector in vectors]
    return lambda: _alone_round(shape, cipher, pair, residues)


def _alone_round(
    shape: Layout, cipher: TensealCipher, pair: KeyPair, vectors: list[NDArray[np.uint32]]
) -> Cost:
    sent, client = [], []
    for vector in vectors:
        data, seconds = _timed(partial(_encrypt, shape, cipher, pair.public, vector))
        sent.append(data)
        client.append(seconds)
    total, server = _timed(lambda: _added(shape, sent))
    found, decrypting = _timed(lambda: _decrypt(shape, cipher, pair.secret, total, len(sent)))
    assert found is not None, "what was decrypted is no sum"
    assert np.array_equal(found, np.sum(vectors, axis=0, dtype=np.uint32))
    return Cost(
        name="encryption alone",
        exchanges=1,
        client=fmean(client),
        server=server,
        decrypting=decrypting,
        who="authority",
        upload=len(sent[0]),
        deviation=0.0,
    )


def _encrypt(
    shape: Layout, cipher: TensealCipher, public: bytes, vector: NDArray[np.uint32]
) -> bytes:
    slots = shape.slots(shape.padded_vector(vector))
    return pack_residues(cipher.encrypt(shape.ring, public, slots), shape.ring.keys)


def _added(shape: Layout, sent: list[bytes]) -> bytes:
    total = np.zeros(shape.words, "<u8")
    for data in sent:
        add(total, unpack_residues(data, shape.words, shape.ring.keys), shape.ring.keys)
    return pack_residues(total, shape.ring.keys)


def _decrypt(
    shape: Layout, cipher: TensealCipher, secret: bytes, total: bytes, summands: int
) -> Words | None:
    residues = unpack_residues(total, shape.words, shape.ring.keys)
    return shape.opened(cipher.decrypt(shape.ring, secret, residues), summands)


def _encrypted(updates: Mapping[int, Floats], authority: AuthorityKeeper) -> Callable[[], Cost]:
    plan = _plan(updates, scheme=authority.scheme)
    return lambda: _round("whole round", plan, updates, authority)


def _pairwise(updates: Mapping[int, Floats]) -> Callable[[], Cost]:
    plan = _plan(updates, scheme=SecAggPlus)
    return lambda: _round("pairwise masks", plan, updates, None)


def _rounded(updates: Mapping[int, Floats], authority: AuthorityKeeper) -> Callable[[], Cost]:
    plan = _plan(updates, scheme=authority.scheme, approximate=True)
    return lambda: _round("rounded", plan, updates, authority)


def _screened(
    name: str, screen: PlanScreen, updates: Mapping[int, Floats], authority: AuthorityKeeper
) -> Callable[[], Cost]:
    largest = max(float(np.linalg.norm(update)) for update in updates.values())
    clip = NormClip(1.01 * largest)
    plan = _plan(updates, clip=clip, scheme=authority.scheme, screen=screen)

    def judge(statistics: Statistics) -> frozenset[int]:
        seen = observed(plan, statistics, 0, known=[updates[1]])
        assert seen.clients == tuple(updates), "an honest client is beyond the bounds"
        return statistics.eligible

    return lambda: _round(name, plan, updates, authority, judge)


def _plan(updates: Mapping[int, Floats], **fields: object) -> RoundPlan:
    stated = {"clip": RangeClip(_BOUND), "width": 32, "corrupt": 0.0, "dropout": 0.2, **fields}
    return RoundPlan.for_update(updates[1], clients=len(updates), **stated)  # type: ignore[arg-type]


def _round(
    name: str,
    plan: RoundPlan,
    updates: Mapping[int, Floats],
    authority: AuthorityKeeper | None,
    judge: Judge | None = None,
) -> Cost:
    people = Population.generate(updates)
    given = {client: (update, 1) for client, update in updates.items()}
    outcome = run_round(plan, given, population=people, third=authority, judge=judge)
    assert outcome.exact, "a sum that is not exact is no result"
    return Cost(
        name=name,
        exchanges=len(plan.scheme.server_messages),
        client=fmean(cost.cpu for cost in outcome.clients.values()),
        server=outcome.server_cpu,
        decrypting=outcome.third_cpu,
        who="authority" if authority else "-",
        upload=outcome.clients[1].bytes_up,
        deviation=outcome.deviation,
    )


def nvflare(updates: Mapping[int, Floats]) -> Callable[[], Cost]:
    """A measurement of the peer; its keys are made here, once."""
    whole = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, _DEGREE, coeff_mod_bit_sizes=list(_PRIMES), n_threads=1
    )
    whole.global_scale = _SCALE
    public = tenseal.context_from(whole.serialize(save_secret_key=False), n_threads=1)

    def measure() -> Cost:
        with _quiet():
            return _nvflare_round(whole, public, updates)

    return measure


@contextmanager
def _quiet() -> Iterator[None]:
    """Native code warns on the standard output of every vector of more than one ciphertext."""
    sys.stdout.flush()
    shown = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(shown, 1)
        os.close(shown)


def _nvflare_round(
    whole: tenseal.Context, public: tenseal.Context, updates: Mapping[int, Floats]
) -> Cost:
    sent, client = {}, []
    for party, update in updates.items():
        sent[party], seconds = _timed(partial(_encrypted_by_peer, whole, update))
        client.append(seconds)
    total, server = _timed(lambda: _sum(public, list(sent.values())))
    mean, decrypting = _timed(lambda: tenseal.ckks_vector_from(whole, total).decrypt())
    exact = np.sum([update.astype(np.float64) for update in updates.values()], axis=0)
    return Cost(
        name="NVFLARE's settings",
        exchanges=1,
        client=fmean(client),
        server=server,
        decrypting=decrypting,
        who="each client",
        upload=len(sent[1]),
        download=len(total),
        deviation=float(np.abs(np.array(mean) - exact).max()) / len(updates),
    )


def _encrypted_by_peer(whole: tenseal.Context, update: Floats) -> bytes:
    data: bytes = tenseal.ckks_vector(whole, update).serialize()
    return data


def _sum(public: tenseal.Context, sent: list[bytes]) -> bytes:
    total = tenseal.ckks_vector_from(public, sent[0])
    for data in sent[1:]:
        total += tenseal.ckks_vector_from(public, data)
    summed: bytes = total.serialize()
    return summed


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def _median(costs: list[Cost]) -> Cost:
    first = costs[0]
    return Cost(
        name=first.name,
        exchanges=first.exchanges,
        client=median(cost.client for cost in costs),
        server=median(cost.server for cost in costs),
        decrypting=median(cost.decrypting for cost in costs),
        who=first.who,
        upload=first.upload,
        deviation=max(cost.deviation for cost in costs),
    )


def _table(costs: list[Cost], size: int, clients: int) -> Table:
    header = ["", "exchanges", "client s", "server s", "decrypting s", "by", "B/parameter"]
    header += ["mean off by"]
    rows = [
        [
            cost.name,
            str(cost.exchanges),
            f"{cost.client:.2f}",
            f"{cost.server:.2f}",
            f"{cost.decrypting:.2f}",
            cost.who,
            f"{cost.upload / size:.2f}",
            f"{cost.deviation:.1e}",
        ]
        for cost in costs
    ]
    return Table(f"{clients} clients, {size:,} parameters, 32-bit residues", header, rows)


if __name__ == "__main__":
    main()
