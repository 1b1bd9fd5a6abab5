"""Our own scale: what a client and the server take, beside what the machine allows."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cost import Cost, summarize
from benchmarks.physical import Work, client_work, server_work
from benchmarks.pipe import RemoteServer, Report
from benchmarks.secagg_round import Cohort, Parties, Tick, drive
from benchmarks.workload import Workload

__all__ = ["FULL", "QUICK", "Scale", "Target", "measure"]

_MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True)
class Target:
    """The most that a round may take; None where there is no target.

    Seconds of CPU, bytes uploaded per coordinate, server memory in vectors beside 100 MB.
    """

    client_cpu: float | None = None
    server_cpu: float | None = None
    upload: float | None = None
    vectors: float | None = None


NO_TARGET = Target()

FULL = {
    Workload(100, 1_000_000, 0.1): Target(client_cpu=0.35, server_cpu=3, upload=4.1, vectors=4),
    Workload(1000, 100_000, 0.1, corrupt=0.1, dropout=0.2): Target(server_cpu=10),
}
QUICK = {Workload(10, 10_000, 0.1): NO_TARGET}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One measured round, and the work in it that is unavoidable.

    memory: bytes of the server's process beyond its imports, at most.
    """

    workload: Workload
    target: Target
    degree: int
    cost: Cost
    server_phases: dict[str, float]
    memory: int
    client_work: Work
    server_work: Work

    @property
    def upload(self) -> float:
        """Bytes that a client uploads per coordinate, everything counted."""
        return self.cost.upload / self.workload.dimension

    @property
    def vector(self) -> int:
        """Bytes of one vector of residues."""
        return self.workload.dimension * self.workload.encoding.dtype.itemsize

    @property
    def memory_target(self) -> int | None:
        """The most bytes of memory, if there is a target."""
        vectors = self.target.vectors
        return None if vectors is None else round(vectors * self.vector) + 100 * _MEGABYTE


def measure(workload: Workload, target: Target, tick: Tick) -> Scale:
    """Run one round: the clients in this process, the server in a child."""
    parties = Parties.generate(workload.ids)
    with RemoteServer(workload, parties) as server:
        cohort = Cohort(workload, parties, tick)
        drive(server, cohort, workload.lost)
        mean, report = server.result()
    return _scale(workload, target, cohort, report, workload.error(mean))


def _scale(
    workload: Workload,
    target: Target,
    cohort: Cohort,
    report: Report,
    error: float,
) -> Scale:
    server_cpu = sum(report.cpu.values())
    return Scale(
        workload=workload,
        target=target,
        degree=workload.scheme.neighbourhood.degree,
        cost=summarize(cohort.accounts.values(), server_cpu=server_cpu, error=error),
        server_phases=report.cpu,
        memory=report.memory_peak - report.memory_before,
        client_work=client_work(workload),
        server_work=server_work(workload),
    )
