"""The server of a round over a network. It learns the sums, and of no site what it added.

Phases end when all have answered or the time is over; a site that was killed is one that does not
answer, and nobody waits for one whose connection is gone. A connection speaks for a site once a
frame that the site signed has come over it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from secagg import Discarded, Failed, Finished, Identity, Machine, PeerRejected, Rand
from secagg.frame import OVERHEAD
from secagg.scheme import Scheme
from secagg.wire import Message, size_bound

from apiwatch.agreement import Agreement, Sum, announced, shared_digest
from apiwatch.channel import Address, Channel, Kind
from apiwatch.class_round import ClassRound, Opening, What, largest_sums
from apiwatch.errors import ApiwatchError, ParameterError, RoundFailed
from apiwatch.shared_classes import SharedClasses

__all__ = ["Coordinator", "Outcome", "largest"]

_HELLO_SECONDS = 10.0
_WAITING = 64  # frames in the queue; beyond them connections wait
_Integers = NDArray[np.int64]
_Announced = tuple[frozenset[int], _Integers]


def _silent(line: str) -> None:
    """Nobody listens."""
    del line


def _forgotten(shared: SharedClasses) -> None:
    """Nobody keeps them."""
    del shared


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """counted, calibrated: the sites in each sum of the profile. digest: of what follows from both.
    named: the sites in the class sums. names: how many examples of each they were to have, in this
    round. classes: the digest of the class sums of all rounds. missing: why there are none, though
    the profile is there. bytes_up: of frames, per site. rejected: sites that broke the protocol.
    """

    counted: tuple[int, ...] = ()
    calibrated: tuple[int, ...] = ()
    digest: str = ""
    named: tuple[int, ...] = ()
    names: dict[str, int] = field(default_factory=dict)
    classes: str = ""
    missing: str = ""
    bytes_up: dict[int, int] = field(default_factory=dict)
    rejected: tuple[int, ...] = ()


@dataclass(kw_only=True)
class Coordinator:
    """Serves one learning of an agreement.

    what: is summed. shared: the class sums so far. kept: gets those with this round in them, before
    any site does. wait: seconds for sites to come. phase: seconds for each later step. told: hears
    of progress.
    """

    agreement: Agreement
    identity: Identity
    what: What = What.PROFILE
    shared: SharedClasses = field(default_factory=SharedClasses)
    kept: Callable[[SharedClasses], None] = _forgotten
    wait: float = 60.0
    phase: float = 30.0
    told: Callable[[str], None] = _silent
    rand: Rand = os.urandom
    _channels: dict[int, Channel] = field(default_factory=dict)
    _open: dict[asyncio.Task[None], Channel] = field(default_factory=dict)
    _sent: dict[int, int] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)
    _rejected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.identity.public != self.agreement.roster.server:
            raise ParameterError("the key is not that of the agreement's server")
        if self.shared.is_blank:
            self.shared = SharedClasses(era=self.agreement.era)
        if self.shared.era != self.agreement.era:
            raise ParameterError("class sums with no site in them that left must be given")
        self._session = self.rand(16)
        opening = Opening.of(self._session, self.what, self.agreement.digest, self.shared.digest)
        self._opening = opening.content
        self._frames: asyncio.Queue[tuple[int, bytes | None, Channel]] = asyncio.Queue(_WAITING)
        first = self.agreement.counting(self._session)
        everybody = frozenset(self.agreement.roster.ids)
        second = self.agreement.calibrating(self._session, everybody, np.zeros(0, np.int64))
        schemes: tuple[Scheme, ...] = (first.scheme, second.scheme)
        if What.CLASSES in self.what:
            schemes += tuple(s.scheme for s in largest_sums(self.agreement, self._session))
        self._most = max(largest(scheme, scheme.server_messages) for scheme in schemes)

    async def serve(self, address: Address, tls: ssl.SSLContext | None = None) -> Outcome:
        """Listen until both sums are there. Raises `RoundFailed` where one does not come out."""
        address.check(tls)
        server = await asyncio.start_server(self._accept, address.host, address.port, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.told(f"listening on {address.host}:{port}")
        try:
            return await self._learn()
        finally:
            server.close()
            await self._ended()

    async def _ended(self) -> None:
        """Until every connection is gone; what they still wanted to say is heard by nobody."""
        unheard = asyncio.create_task(self._unheard())
        await asyncio.gather(*(self._closed(channel) for channel in self._open.values()))
        if self._open:
            await asyncio.wait(self._open)
        unheard.cancel()

    async def _unheard(self) -> None:
        while True:
            await self._frames.get()

    async def _closed(self, channel: Channel) -> None:
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(channel.drained(), self.phase)
        await channel.close()

    async def _learn(self) -> Outcome:
        outcome, number = Outcome(), 0
        everybody, before = frozenset(self.agreement.roster.ids), self.agreement.digest
        if What.PROFILE in self.what:
            outcome, before = await self._profile()
            everybody, number = frozenset(outcome.calibrated), 2
        if What.CLASSES in self.what:
            opened = ClassRound(
                agreement=self.agreement,
                session=self._session,
                sites=everybody,
                before=before,
                shared=self.shared.digest,
                number=number,
            )
            try:
                outcome = await self._classes(opened, outcome)
            except ApiwatchError as error:
                if not number:
                    raise
                outcome = replace(outcome, missing=str(error))
        return replace(
            outcome,
            bytes_up=dict(sorted(self._sent.items())),
            rejected=tuple(sorted(self._rejected)),
        )

    async def _profile(self) -> tuple[Outcome, bytes]:
        """Both sums of the profile, and what names them."""
        first = self.agreement.counting(self._session)
        counted, total = await self._sum(first, self.wait)
        second = self.agreement.calibrating(self._session, counted, total)
        self._broadcast(counted, total)
        calibrated, sums = await self._sum(second, self.phase)
        self._broadcast(calibrated, sums)
        cells = 1 << self.agreement.cells
        outcome = Outcome(
            counted=tuple(sorted(counted)),
            calibrated=tuple(sorted(calibrated)),
            digest=shared_digest(self.agreement.settings, total[:cells], sums),
        )
        return outcome, announced(second.round.model, calibrated, sums)

    async def _classes(self, opened: ClassRound, outcome: Outcome) -> Outcome:
        """The sums of names. What came out of them is kept before it is told: see `Pending`."""
        told = await self._sum(opened.listing(), self.phase if opened.number else self.wait)
        self._broadcast(*told)
        listed = opened.listed(*told, self.shared)
        if not listed.names:
            return replace(outcome, classes=self.shared.sums_digest)
        told = await self._sum(listed.summing(), self.phase)
        learnt = listed.summed(*told)
        named, shared = told[0], learnt.shared
        if not learnt.has_level:
            self._broadcast(*told)
            told = await self._sum(learnt.leveling(), self.phase)
            shared = learnt.leveled(told[1])
        self.kept(shared)
        self._broadcast(*told)
        return replace(
            outcome,
            named=tuple(sorted(named)),
            names=dict(listed.names),
            classes=shared.sums_digest,
        )

    async def _sum(self, this: Sum, wait: float) -> _Announced:
        machine = this.scheme.server(this.round, self.identity, rand=self.rand)
        clock = asyncio.get_running_loop().time
        phase, ends = machine.phase, clock() + wait
        while not machine.ended:
            if machine.phase != phase:
                phase, ends = machine.phase, clock() + self.phase
                self.told(f"sum {this.round.number}: {phase}")
            try:
                async with asyncio.timeout_at(ends):
                    site, frame, channel = await self._frames.get()
            except TimeoutError:
                machine.deadline()
            else:
                self._take(machine, site, frame, channel)
            self._relay(machine)
        return self._outcome(machine)

    def _take(
        self, machine: Machine[Any], site: int, frame: bytes | None, channel: Channel
    ) -> None:
        if frame is None:
            if self._channels.get(site) is channel:
                self._lost.add(site)
        else:
            self._receive(machine, site, frame, channel)
        waited_for = machine.expected
        if not machine.ended and (machine.satisfied or (waited_for and waited_for <= self._lost)):
            machine.deadline()

    def _receive(self, machine: Machine[Any], site: int, frame: bytes, channel: Channel) -> None:
        machine.receive(site, frame)
        if self._events(machine):
            return
        # the site has signed it, but anybody may send again what was overheard: a connection keeps
        # its site until it is gone
        if site not in self._channels or site in self._lost:
            self._channels[site] = channel
            self._lost.discard(site)
            if What.CLASSES in self.what:
                channel.send(Kind.CLASSES, self.shared.content)
        if self._channels[site] is channel:
            self._sent[site] = self._sent.get(site, 0) + len(frame)

    def _events(self, machine: Machine[Any]) -> list[Discarded]:
        """What was discarded; rejected sites are remembered, and the end is left for later."""
        found: list[Discarded] = []
        while not machine.ended and (event := machine.next_event()) is not None:
            if isinstance(event, PeerRejected):
                self._rejected.add(event.peer)
                self.told(f"site {event.peer} broke the protocol: {event.reason}")
            elif isinstance(event, Discarded):
                found.append(event)
        return found

    def _relay(self, machine: Machine[Any]) -> None:
        for site, frame in machine.to_send():
            if site in self._channels:
                self._channels[site].send(Kind.FRAME, frame)

    def _outcome(self, machine: Machine[Any]) -> _Announced:
        while (event := machine.next_event()) is not None:
            if isinstance(event, PeerRejected):
                self._rejected.add(event.peer)
            if isinstance(event, Failed):
                raise RoundFailed(f"the sum ended without output: {event.error}") from event.error
            if isinstance(event, Finished) and event.aggregate is not None:
                aggregate = event.aggregate
                return aggregate.included, aggregate.total.astype(np.int64)
        raise RoundFailed("the sum ended without output or reason")

    def _broadcast(self, included: frozenset[int], total: _Integers) -> None:
        sites = np.array(sorted(included), "<i8")
        content = len(sites).to_bytes(4, "big") + sites.tobytes() + total.astype("<i8").tobytes()
        for channel in self._channels.values():
            channel.send(Kind.SUM, content)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end. What is wrong with it is that connection's alone."""
        channel = Channel(reader, writer)
        if len(self._open) >= 4 * len(self.agreement.roster.clients):
            await channel.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = channel
        with suppress(EOFError, OSError, TimeoutError):
            async with asyncio.timeout(_HELLO_SECONDS):
                site = int.from_bytes(await channel.expect(Kind.HELLO, 4), "big")
            channel.send(Kind.SESSION, self._opening)
            await self._forward(site, channel)
        await channel.close()
        del self._open[task]

    async def _forward(self, site: int, channel: Channel) -> None:
        """Its frames, and that it is over, in their order."""
        try:
            while True:
                frame = await channel.expect(Kind.FRAME, self._most)
                await self._frames.put((site, frame, channel))
        finally:
            await self._frames.put((site, None, channel))


def largest(scheme: Scheme, kinds: tuple[type[Message], ...]) -> int:
    """Bytes that no frame of these kinds exceeds."""
    return OVERHEAD + max(size_bound(kind, scheme.limits) for kind in kinds)
