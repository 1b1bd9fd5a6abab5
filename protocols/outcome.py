"""What there is to see of a round in one process: its frames, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.result import Result
from secagg.errors import Aborted, IntegrityError
from secagg.event import GroupStatistics, Statistics
from secagg.identity import PartyId
from secagg.machine import Discarded, PeerRejected

__all__ = ["ClientCost", "Frame", "Outcome"]


@dataclass(frozen=True)
class Frame:
    """One frame on its way. `receivers` has one entry, or all that a broadcast goes to."""

    number: int
    phase: str
    sender: PartyId
    receivers: tuple[PartyId, ...]
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class ClientCost:
    """What one client sent and received, in bytes of frames, and its CPU time in seconds."""

    bytes_up: int
    bytes_down: int
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a round went.

    Attributes
    ----------
    result: what the server released, or None.
    failure: why it released nothing, or None.
    exact: whether the sum, before any noise of the server is added and any excess of the clients
        is removed, is bit for bit that of the ring vectors of the clients that `result` claims to
        include. Two aggregators never show a sum without noise: what is left beside theirs is then
        as small as their noise, but once in 2**40 rounds.
    deviation: largest distance of a coordinate of the mean from the weighted mean of the included
        updates, computed in float64 without clipping, rounding or noise; NaN without a result.
    dropped: per phase, the clients that fell silent in it.
    stopped: clients, or the third party, that refused to go on, and why.
    rejected: peers that the server stopped listening to, or bytes that it threw away.
    clients: cost of each client.
    server_cpu, third_cpu: seconds of CPU time of the server, and of the third party if any.
    largest_frame: bytes of the largest frame.
    peak_memory: most bytes that the process, hence all parties together, ever held; None where
        the platform does not tell.
    statistics: what was opened before the sum, in a plan with a screen. groups: what was opened
        with it of groups, in a plan that does so.
    """

    result: Result | None
    failure: Aborted | IntegrityError | None
    exact: bool
    deviation: float
    dropped: Mapping[str, frozenset[PartyId]]
    stopped: Mapping[PartyId, Exception]
    rejected: tuple[PeerRejected | Discarded, ...]
    clients: Mapping[PartyId, ClientCost]
    server_cpu: float
    largest_frame: int
    peak_memory: int | None
    statistics: Statistics | None = None
    groups: GroupStatistics | None = None
    third_cpu: float = 0.0
