"""One round of ours, every machine metered on its own; only bytes pass between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost import Account, Cost, Meter, summarize
from benchmarks.workload import Workload
from secagg import Finished, Identity, Machine, Roster, Round

__all__ = ["Cohort", "LocalServer", "Parties", "ServerSide", "Tick", "drive", "run"]

Tick = Callable[[], None]
"""Called after every piece of work, to move a progress bar."""

_MODEL = bytes(32)
_MASKED = 2  # the exchanges are adverts, shares, masked, consent, unmask


class ServerSide(Protocol):
    """A server, in this process or in another."""

    @property
    def ended(self) -> bool:
        """Whether the round is over."""
        ...

    def receive(self, sender: int, frame: bytes) -> None:
        """Take one frame."""
        ...

    def close_phase(self) -> Iterable[tuple[int, bytes]]:
        """What to deliver next; lets the deadline pass if somebody is still awaited."""
        ...


@dataclass(frozen=True)
class Parties:
    """The keys of a round and its public name."""

    server: Identity
    clients: Mapping[int, Identity]
    session: bytes

    @classmethod
    def generate(cls, ids: Iterable[int]) -> Parties:
        """Fresh keys for a server and these clients."""
        clients = {client: Identity.generate(os.urandom) for client in ids}
        return cls(Identity.generate(os.urandom), clients, os.urandom(16))

    @property
    def round(self) -> Round:
        """The round of these parties."""
        public = {client: identity.public for client, identity in self.clients.items()}
        return name_round(Roster(self.server.public, public), self.session)


def name_round(roster: Roster, session: bytes) -> Round:
    """Round 1 of a session, from an all-zero model digest."""
    return Round(session=session, number=1, model=_MODEL, roster=roster)


class LocalServer:
    """A server machine with a meter per phase; decoding the sum is its last."""

    def __init__(self, workload: Workload, round: Round, identity: Identity) -> None:
        self._workload = workload
        self.meters: dict[str, Meter] = {"start": Meter(), "decode": Meter()}
        scheme = workload.scheme
        with self.meters["start"]:
            self._machine: Machine[Any] = scheme.server(round, identity)

    @property
    def cpu(self) -> float:
        """Processor seconds over all phases."""
        return sum(meter.seconds for meter in self.meters.values())

    @property
    def ended(self) -> bool:
        return self._machine.ended

    def receive(self, sender: int, frame: bytes) -> None:
        with self._meter():
            self._machine.receive(sender, frame)

    def close_phase(self) -> list[tuple[int, bytes]]:
        with self._meter():
            frames = self._machine.to_send()
            if not frames:
                self._machine.deadline()
                frames = self._machine.to_send()
        return frames

    def mean(self) -> NDArray[np.float64]:
        """The released mean. Any event but the end makes the measurement worthless: it raises."""
        events = []
        while (event := self._machine.next_event()) is not None:
            events.append(event)
        match events:
            case [Finished(aggregate=aggregate)] if aggregate is not None:
                with self.meters["decode"]:
                    clients = len(aggregate.included)
                    mean, _ = self._workload.encoding.decode(aggregate.total, clients)
                return mean
        raise RuntimeError(f"the round did not go as planned: {events}")

    def _meter(self) -> Meter:
        return self.meters.setdefault(self._machine.phase, Meter())


class Cohort:
    """All clients of a round, each with its own account; quantization is a client's work."""

    def __init__(self, workload: Workload, parties: Parties, tick: Tick) -> None:
        self._workload = workload
        self._tick = tick
        self.accounts = {client: Account() for client in workload.ids}
        self._machines: dict[int, Machine[Any]] = {}
        scheme = workload.scheme  # its parameters are computed once for a training, not per round
        for client, account in self.accounts.items():
            with account.cpu:  # with a roster of its own: clients share no cache of keys
                machine = scheme.client(parties.round, parties.clients[client], client)
            self._machines[client] = machine

    def send_to(self, server: ServerSide) -> None:
        """Everything that the clients have to say, one client after another."""
        for client, machine in self._machines.items():
            account = self.accounts[client]
            if machine.phase == "masked" and not machine.expected:
                self._submit(client, machine)
            with account.cpu:
                frames = machine.to_send()
            for _, frame in frames:
                account.sent += len(frame)
                server.receive(client, frame)
            self._tick()

    def receive(self, client: int, frame: bytes) -> None:
        """Deliver one frame, unless the client is lost."""
        if (machine := self._machines.get(client)) is None:
            return
        account = self.accounts[client]
        account.received += len(frame)
        with account.cpu:
            machine.receive(0, frame)

    def lose(self, clients: Iterable[int]) -> None:
        """Let these clients vanish; what they sent stays sent."""
        for client in clients:
            self._machines.pop(client, None)
            self.accounts.pop(client, None)

    def _submit(self, client: int, machine: Machine[Any]) -> None:
        workload = self._workload
        update, weight = workload.update(client), workload.weight(client)
        with self.accounts[client].cpu:
            vector = workload.encoding.encode(update.astype(np.float64), weight, os.urandom)
            machine.submit(vector)


def drive(server: ServerSide, cohort: Cohort, lost: Iterable[int]) -> None:
    """Carry bytes until the server has ended; `lost` clients vanish once they have shared."""
    for exchange in count():
        if server.ended:
            return
        if exchange == _MASKED:
            cohort.lose(lost)
        cohort.send_to(server)
        for client, frame in server.close_phase():
            cohort.receive(client, frame)


def run(workload: Workload, tick: Tick) -> Cost:
    """One round with the server in this process."""
    parties = Parties.generate(workload.ids)
    server = LocalServer(workload, parties.round, parties.server)
    cohort = Cohort(workload, parties, tick)
    drive(server, cohort, workload.lost)
    error = workload.error(server.mean())
    return summarize(cohort.accounts.values(), server_cpu=server.cpu, error=error)
