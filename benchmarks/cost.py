"""What a round costs each party: processor time, bytes, and how wrong the result is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, median
from types import TracebackType

__all__ = ["Account", "Cost", "Meter", "median_cost", "summarize"]


class Meter:
    """Processor seconds of all threads of this process, added up over `with meter:` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = time.process_time()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += time.process_time() - self._since


@dataclass
class Account:
    """One client's costs. Bytes are of messages, without what a transport adds."""

    cpu: Meter = field(default_factory=Meter)
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One round. CPU in seconds, bytes per client; clients are those that stayed to the end.

    error: largest absolute difference between the released mean and the exact one.
    """

    server_cpu: float
    client_cpu_mean: float
    client_cpu_max: float
    upload: float
    download: float
    error: float


def summarize(accounts: Iterable[Account], *, server_cpu: float, error: float) -> Cost:
    """The cost of a round from the accounts of its surviving clients."""
    kept = list(accounts)
    return Cost(
        server_cpu=server_cpu,
        client_cpu_mean=fmean(account.cpu.seconds for account in kept),
        client_cpu_max=max(account.cpu.seconds for account in kept),
        upload=fmean(account.sent for account in kept),
        download=fmean(account.received for account in kept),
        error=error,
    )


def median_cost(costs: Iterable[Cost]) -> Cost:
    """Median of the times of repeated rounds; the error is the worst of them."""
    rounds = list(costs)

    def middle(name: str) -> float:
        return float(median(getattr(cost, name) for cost in rounds))

    return Cost(
        server_cpu=middle("server_cpu"),
        client_cpu_mean=middle("client_cpu_mean"),
        client_cpu_max=middle("client_cpu_max"),
        upload=middle("upload"),
        download=middle("download"),
        error=max(cost.error for cost in rounds),
    )
