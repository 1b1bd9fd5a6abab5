"""Pairwise masks, two aggregators and encryption on one task, beside NVFLARE's settings.

Five clients, one of whom may collude and one be lost; updates within one `NormClip`, residues of 32
bits. Rounds are whole: encoding, proofs, masks, encryption, signatures, checks. They take turns in
one process, and the least of each time is kept: what other work on the machine takes is not in it.
Times of whoever sums are divided by the clients.

The peer's row is what `benchmarks.he` measures of it: its encryptor, aggregator and decryptor on
vectors that lie ready, and nothing around them.

What a scheme declares of itself is in `Declared`; nothing there is typed in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks import pine
from benchmarks.secagg_round import Tick
from protocols.authority import AuthorityKeeper
from protocols.helper import HelperKeeper
from protocols.outcome import Frame, Outcome
from protocols.plan import RoundPlan
from protocols.presets import two_aggregators
from protocols.simulate import phases, run_round
from protocols.third import ThirdParty
from secagg.identity import SERVER, THIRD
from secagg.primitives.field64 import field64
from secagg.quantize import NormClip
from secagg.schemes.ckks import KeyAuthority

__all__ = ["FULL", "QUICK", "Comparison", "Cost", "Declared", "Proofs", "Size", "measure", "steps"]

FULL: Sequence[int] = (100_000, 1_000_000)
QUICK: Sequence[int] = (3_000,)

_CLIENTS, _CORRUPT, _DROPOUT, _WIDTH = 5, 0.2, 0.2, 32
_SMALL = 1_000  # for what happens, not for what it costs
_BITS = 24  # of the norm bound in `benchmarks.pine`
_PEER = "NVFLARE's settings"
_START = (
    "import json, time; from benchmarks import pine; start = time.process_time(); "
    "pine.measure(300, 16); print(json.dumps(time.process_time() - start))"
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one client: its seconds, the server's and the third party's, and bytes of frames.

    messages: that it sends. between: bytes between server and third party. lost: the server's
    seconds where one client falls silent before its update; None where that is not measured.
    deviation: of the mean.
    """

    name: str
    messages: int
    client: float
    server: float
    third: float
    up: float
    down: float
    between: float
    deviation: float
    lost: float | None


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a scheme says of itself, and what its rounds show at any size.

    third: the party beside the server; "" for none. survivors, honest, opened: as `Floors` compares
    them. colluders: clients that read an update together with the server; 0 where the third party
    does. losses: phases in which a client may fall silent. exact: in how many of these a sum came
    out when one did, and was that of the updates that it names.
    """

    name: str
    third: str
    survivors: int
    honest: int
    opened: int
    colluders: int
    losses: int
    exact: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """All schemes at so many parameters."""

    size: int
    clients: int
    costs: Sequence[Cost]


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """Two aggregators, one report: compiled, and in numpy alone, at one size."""

    size: int
    compiled: pine.Cost
    plain: pine.Cost


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything on schemes. cold, cached: seconds of the first report in a process that compiles
    the kernels, and in one that finds them compiled; None without the extra `fast`.
    """

    sizes: Sequence[Size]
    declared: Sequence[Declared]
    proofs: Sequence[Proofs]
    cold: float | None
    cached: float | None


@dataclass(frozen=True)
class _Side:
    name: str
    plan: Callable[[int], RoundPlan]
    third: Callable[[], ThirdParty] | None = None
    who: str = ""


def steps(quick: bool, repeats: int) -> int:
    """How often `measure` ticks."""
    sizes = len(QUICK if quick else FULL)
    return sizes * (repeats * 4 + 1) + 3 + 1


def measure(quick: bool, repeats: int, tick: Tick) -> Comparison:
    """All of it. Raises `ModuleNotFoundError`, naming the extra, without TenSEAL."""
    peer, sides = _peer(), _sides()
    chosen = QUICK if quick else FULL
    sizes = [_at(size, sides, peer, repeats, tick) for size in chosen]
    declared = [_declared(side, tick) for side in sides]
    proofs = [_proofs(size, repeats, tick) for size in chosen]
    cold, cached = _starts()
    tick()
    return Comparison(sizes=sizes, declared=declared, proofs=proofs, cold=cold, cached=cached)


def _sides() -> Sequence[_Side]:
    authority = AuthorityKeeper(KeyAuthority.generate())
    return (
        _Side("SecAggPlus", _plan),
        _Side("TwoAggregators", _shared, HelperKeeper.generate, "helper"),
        _Side(
            "EncryptedExact",
            lambda size: _plan(size, scheme=authority.scheme),
            lambda: authority,
            "authority",
        ),
    )


def _plan(size: int, **fields: object) -> RoundPlan:
    return RoundPlan.for_update(
        np.zeros(size, np.float32),
        clients=_CLIENTS,
        clip=NormClip(1.0),
        width=_WIDTH,
        corrupt=_CORRUPT,
        dropout=_DROPOUT,
        **fields,  # type: ignore[arg-type]
    )


def _shared(size: int) -> RoundPlan:
    return two_aggregators(
        np.zeros(size, np.float32),
        clients=_CLIENTS,
        clip=NormClip(1.0),
        width=_WIDTH,
        corrupt=_CORRUPT,
        dropout=_DROPOUT,
    )


def _updates(size: int) -> dict[int, NDArray[np.float32]]:
    """By client, a vector of norm 0.9."""
    rng = np.random.default_rng(0)
    drawn = {client: rng.normal(size=size) for client in range(1, _CLIENTS + 1)}
    return {
        client: np.asarray(0.9 * vector / np.linalg.norm(vector), np.float32)
        for client, vector in drawn.items()
    }


# -- costs ------------------------------------------------------------------------------------


def _at(size: int, sides: Sequence[_Side], peer: ModuleType, repeats: int, tick: Tick) -> Size:
    """In turns; of the first side too, nothing that is computed once for a plan is in its time."""
    updates = _updates(size)
    plans = {side.name: side.plan(size) for side in sides}
    _warm_up(sides)
    tick()
    found: dict[str, list[Cost]] = {}
    for _ in range(repeats):
        for side in sides:
            found.setdefault(side.name, []).append(_cost(side, plans[side.name], updates))
            tick()
        found.setdefault(_PEER, []).append(_peer_cost(peer, updates))
        tick()
    return Size(size=size, clients=_CLIENTS, costs=[_least(costs) for costs in found.values()])


def _warm_up(sides: Sequence[_Side]) -> None:
    updates = _updates(_SMALL)
    for side in sides:
        _round(side, side.plan(_SMALL), updates)


def _cost(side: _Side, plan: RoundPlan, updates: Mapping[int, NDArray[np.float32]]) -> Cost:
    frames: list[Frame] = []
    outcome = _round(side, plan, updates, on_frame=frames.append)
    between = sum(len(frame.data) for frame in frames if THIRD in (frame.sender, *frame.receivers))
    sent = [frame for frame in frames if frame.sender not in (SERVER, THIRD)]
    phase = max(sent, key=lambda frame: len(frame.data)).phase
    lost = _round(side, plan, updates, drops={1: phase})
    clients = outcome.clients.values()
    return Cost(
        name=side.name,
        messages=len(plan.scheme.server_messages),
        client=fmean(cost.cpu for cost in clients),
        server=outcome.server_cpu / _CLIENTS,
        third=outcome.third_cpu / _CLIENTS,
        up=fmean(cost.bytes_up for cost in clients),
        down=fmean(cost.bytes_down for cost in clients),
        between=between / _CLIENTS,
        deviation=outcome.deviation,
        lost=lost.server_cpu / _CLIENTS,
    )


def _round(
    side: _Side,
    plan: RoundPlan,
    updates: Mapping[int, NDArray[np.float32]],
    *,
    drops: Mapping[int, str] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> Outcome:
    """A round whose sum is exact; any other is no result."""
    given = {client: (update, 1) for client, update in updates.items()}
    third = side.third() if side.third else None
    outcome = run_round(plan, given, drops=drops, third=third, on_frame=on_frame)
    if not outcome.exact:
        raise RuntimeError(f"{side.name}: no exact sum: {outcome.failure}")
    return outcome


def _peer_cost(peer: ModuleType, updates: Mapping[int, NDArray[np.float32]]) -> Cost:
    """One client's; every client decrypts, which is not the server's work, nor a third party's."""
    cost = peer.nvflare(updates)()
    return Cost(
        name=_PEER,
        messages=cost.exchanges,
        client=cost.client + cost.decrypting,
        server=cost.server / _CLIENTS,
        third=0.0,
        up=cost.upload,
        down=cost.download,
        between=0.0,
        deviation=cost.deviation,
        lost=None,
    )


def _peer() -> ModuleType:
    try:
        from benchmarks import he  # noqa: PLC0415  behind an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the peer is missing: pip install 'secagg[he]'") from error
    return he


def _least(costs: Sequence[Cost]) -> Cost:
    lost = [cost.lost for cost in costs if cost.lost is not None]
    return replace(
        costs[0],
        client=min(cost.client for cost in costs),
        server=min(cost.server for cost in costs),
        third=min(cost.third for cost in costs),
        lost=min(lost, default=None),
    )


# -- what is declared -------------------------------------------------------------------------


def _declared(side: _Side, tick: Tick) -> Declared:
    plan, updates = side.plan(_SMALL), _updates(_SMALL)
    scheme = plan.scheme
    losses = phases(scheme)
    outcomes = [_round(side, plan, updates, drops={1: phase}) for phase in losses]
    tick()
    return Declared(
        name=side.name,
        third=side.who,
        survivors=scheme.survivors,
        honest=scheme.honest_inputs,
        opened=scheme.opened,
        colluders=0 if side.who else 1 + scheme.survivors - scheme.honest_inputs,
        losses=len(losses),
        exact=sum(outcome.exact for outcome in outcomes),
    )


# -- proofs -----------------------------------------------------------------------------------


def _proofs(size: int, repeats: int, tick: Tick) -> Proofs:
    compiled = pine.best(size, _BITS, repeats)
    with pine.without_kernels():
        plain = pine.best(size, _BITS, repeats)
    tick()
    return Proofs(size=size, compiled=compiled, plain=plain)


def _starts() -> tuple[float | None, float | None]:
    """With an empty folder for compiled kernels, and with what that has left."""
    if not field64().compiled:
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        return _start(folder), _start(folder)


def _start(folder: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _START],
        env={**os.environ, "NUMBA_CACHE_DIR": folder},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(done.stdout))
