"""A site in a round over a network: what it adds, and the profile that it takes away."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from secagg import SERVER, DecodeError, Identity, Machine, Rand, SecAggError
from secagg.primitives.ring import word

from apiwatch.agreement import Agreement, Sum, shared_digest
from apiwatch.calibration import Calibration
from apiwatch.channel import Address, Channel, Kind
from apiwatch.coordinator import largest
from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.event import Field
from apiwatch.explain import Usual
from apiwatch.settings import Settings
from apiwatch.store import Profile
from apiwatch.table import Table

__all__ = ["Joined", "Site"]

_T = TypeVar("_T")
_Integers = NDArray[np.int64]
_UNSET = 10.0  # standard deviations: until `threshold` is told how many alerts are wanted
_GONE = (EOFError, ConnectionError, TimeoutError)


def _silent(line: str) -> None:
    """Nobody listens."""
    del line


@dataclass(frozen=True, kw_only=True)
class Joined:
    """profile: this site's. counted, calibrated: the sites in the sums. digest: of what all of
    them share.
    """

    profile: Profile
    counted: frozenset[int]
    calibrated: frozenset[int]
    digest: str


@dataclass(kw_only=True)
class Site:
    """Takes part in one learning of an agreement, with the fields that it gathered.

    before: the profile that this adds to, if any. patience: seconds to wait for the server.
    """

    agreement: Agreement
    identity: Identity
    me: int
    settings: Settings
    counts: Counter[Field]
    before: Profile | None = None
    patience: float = 300.0
    told: Callable[[str], None] = _silent
    rand: Rand = os.urandom
    _seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.agreement.roster.clients.get(self.me) != self.identity.public:
            raise ParameterError(f"the key is not that of the agreement's site {self.me}")
        if self.settings.digest != self.agreement.settings:
            raise ParameterError("the settings are not those of the agreement")
        if self.before is not None and self.before.table.settings != self.settings:
            raise ParameterError("the profile is under other settings than the agreement")
        self._own = Table.learn(self.counts, self.settings)

    async def join(self, address: Address, tls: ssl.SSLContext | None = None) -> Joined:
        """Both sums. Raises `RoundFailed` where the server, or the round, gives up."""
        address.check(tls)
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
        channel = Channel(reader, writer)
        try:
            return await self._learn(channel)
        except _GONE as error:
            raise RoundFailed(f"the server is gone: {error or type(error).__name__}") from None
        except SecAggError as error:
            raise RoundFailed(f"the round ended: {error}") from error
        finally:
            await channel.close()

    async def _learn(self, channel: Channel) -> Joined:
        channel.send(Kind.HELLO, self.me.to_bytes(4, "big"))
        session = await self._within(channel.expect(Kind.SESSION, 64))
        vector = np.concatenate([self._own.counts, self._own.bits])
        counted, total = await self._sum(channel, self.agreement.counting(session), vector)
        table, sites = self._relied_on(counted, total)
        own = Calibration.learn(self.counts, table)
        second = self.agreement.calibrating(session, counted, total)
        calibrated, sums = await self._sum(channel, second, own.sums.reshape(-1))
        shared = Calibration(self.settings, sums.reshape(own.sums.shape))
        calibration = shared if self.me in calibrated else shared + own
        return Joined(
            profile=self._profile(table, sites, calibration),
            counted=counted,
            calibrated=calibrated,
            digest=shared_digest(self.settings.digest, total[: self._own.counts.size], sums),
        )

    def _relied_on(self, counted: frozenset[int], total: _Integers) -> tuple[Table, _Integers]:
        """The table that this site counts by, and how many sites set each cell of it."""
        cells, own = self._own.counts.size, self._own
        everybody, sites = Table(self.settings, total[:cells]), total[cells:]
        if self.me not in counted:
            everybody, sites = everybody + own, sites + own.bits
        table = own.supported(everybody, sites)
        return (self.before.table + table if self.before else table), sites

    def _profile(self, table: Table, sites: _Integers, calibration: Calibration) -> Profile:
        usual = Usual.learn(self.counts)
        before = self.before
        if before is None:
            return Profile(
                table=table, calibration=calibration, sites=sites, usual=usual, threshold=_UNSET
            )
        before.table = table
        before.calibration = before.calibration + calibration
        before.sites = np.maximum(before.sites, sites)
        before.usual = Usual(before.usual.shapes | usual.shapes)
        return before

    async def _sum(
        self, channel: Channel, this: Sum, vector: _Integers
    ) -> tuple[frozenset[int], _Integers]:
        """One sum, as a part of it or, where others went on without this site, as a listener."""
        if vector.max() > this.bound:
            raise ParameterError(f"0 <= vector <= {this.bound} must hold at site {self.me}")
        machine: Machine[Any] | None = None
        if self.me in this.round.roster.clients:
            machine = this.scheme.client(
                this.round, self.identity, self.me, floors=this.floors, rand=self.rand
            )
            machine.submit(vector.astype(word(this.scheme.width)))
        most = largest(this.scheme, this.scheme.client_messages)
        while True:
            if machine is not None:
                self._send(channel, this, machine)
            kind, content = await self._within(channel.receive(max(most, _sum_bytes(this))))
            if kind is Kind.SUM:
                return _summed(this, content)
            if kind is Kind.FRAME and machine is not None and not machine.ended:
                try:
                    machine.receive(SERVER, content)
                except DecodeError:
                    continue  # of the sum before, or nobody's

    def _send(self, channel: Channel, this: Sum, machine: Machine[Any]) -> None:
        for _, frame in machine.to_send():
            channel.send(Kind.FRAME, frame)
        step = f"sum {this.round.number}: {machine.phase}"
        if step not in self._seen:
            self._seen.append(step)
            self.told(step)

    async def _within(self, coming: Awaitable[_T]) -> _T:
        async with asyncio.timeout(self.patience):
            return await coming


def _sum_bytes(this: Sum) -> int:
    return 4 + 8 * len(this.round.roster.clients) + 8 * this.scheme.length


def _summed(this: Sum, content: bytes) -> tuple[frozenset[int], _Integers]:
    """Of the server's message. Raises `RoundFailed` for one that is no sum of this round."""
    count = int.from_bytes(content[:4], "big")
    if len(content) != 4 + 8 * count + 8 * this.scheme.length:
        raise RoundFailed("the server's sum has another length than the agreement's")
    numbers = np.frombuffer(content, "<i8", offset=4).astype(np.int64)
    included = frozenset(numbers[:count].tolist())
    if len(included) != count or not included <= set(this.round.roster.ids):
        raise RoundFailed("the server's sum is of sites that were not asked")
    return included, numbers[count:]
