"""A site in a round over a network: what it adds, and the profile that it takes away."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from secagg import SERVER, DecodeError, Identity, Machine, Rand, SecAggError
from secagg.primitives.ring import word

from apiwatch.agreement import Agreement, Sum, announced, shared_digest
from apiwatch.calibration import Calibration
from apiwatch.channel import Address, Channel, Kind
from apiwatch.class_round import ClassRound, Listed, Opening, What
from apiwatch.coordinator import largest
from apiwatch.errors import ApiwatchError, ParameterError, RoundFailed
from apiwatch.event import Field
from apiwatch.explain import Usual
from apiwatch.ledger import Ledger, Sent
from apiwatch.pending import Pending
from apiwatch.settings import Settings
from apiwatch.shared_classes import SharedClasses
from apiwatch.site_classes import Named, SiteClasses, give_names
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
    """profile: this site's. counted, calibrated: the sites in the sums of the profile. digest: of
    what all of them share. named: the class sums, where they were taken. missing: why there are
    none, though the profile is there.
    """

    profile: Profile
    counted: frozenset[int] = frozenset()
    calibrated: frozenset[int] = frozenset()
    digest: str = ""
    named: Named | None = None
    missing: ApiwatchError | None = None


@dataclass(kw_only=True)
class Site:
    """Takes part in one learning of an agreement.

    counts: the fields that it gathered, or None for a round of names alone. before: the profile
    that this adds to, if any. last: the one that it takes the place of. pending: examples of this
    site. examples: more of them, for a round of names. patience: seconds to wait for the server.
    """

    agreement: Agreement
    identity: Identity
    me: int
    settings: Settings
    counts: Counter[Field] | None
    before: Profile | None = None
    last: Profile | None = None
    pending: Pending | None = None
    examples: Sequence[tuple[str, str]] = ()
    patience: float = 300.0
    told: Callable[[str], None] = _silent
    rand: Rand = os.urandom
    _seen: list[str] = field(default_factory=list)
    _left: list[Sent] = field(default_factory=list)
    _classes: bytes = b""
    _most: int = 0
    _bytes: int = 0

    def __post_init__(self) -> None:
        expected = self.agreement.roster.clients.get(self.me)
        if expected is None and self.identity.public in self.agreement.left:
            raise ParameterError(f"site {self.me} has left the agreement: it is heard no more")
        if expected != self.identity.public:
            raise ParameterError(f"the key is not that of the agreement's site {self.me}")
        if self.settings.digest != self.agreement.settings:
            raise ParameterError("the settings are not those of the agreement")
        for known in (self.before, self.last):
            self._refuse_older_than(known)
        if self.before is not None:
            self._check(self.before)
        if self.counts is None and self.before is None:
            raise ParameterError("logs, or a profile to add names to, must be given")
        if self.examples and self.pending is None:
            raise ParameterError("a file for examples until they are in a sum must be given")
        if self.pending is not None and self.pending.era != self.agreement.era:
            raise ParameterError("a file for examples in the agreement's era must be given")

    def _refuse_older_than(self, known: Profile | None) -> None:
        """An agreement that came back would take in again who has left."""
        if known is None or known.table.settings != self.settings:
            return
        if known.era not in ("", *self.agreement.eras):
            raise ParameterError(
                "an agreement that knows of everybody who has left must be given: the profile is "
                "of a later one than this, or of another"
            )

    def _check(self, before: Profile) -> None:
        if before.table.settings != self.settings:
            raise ParameterError("the profile is under other settings than the agreement")
        if before.era not in ("", self.agreement.era):
            raise ParameterError(
                "a site has left that is in the profile: all logs must be given anew, without "
                "`--more`, to a round of profile and names"
            )

    async def join(self, address: Address, tls: ssl.SSLContext | None = None) -> Joined:
        """All sums. Raises `RoundFailed` where the server, or the round, gives up, and
        `ParameterError` where what the server sums is not what this site has.
        """
        address.check(tls)
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
        channel = Channel(reader, writer)
        try:
            joined = await self._learn(channel)
        finally:
            await channel.close()
        joined.profile.ledger += Ledger(tuple(self._left))
        joined.profile.era = self.agreement.era
        return joined

    async def _learn(self, channel: Channel) -> Joined:
        channel.send(Kind.HELLO, self.me.to_bytes(4, "big"))
        with _ending():
            content = await self._within(channel.expect(Kind.SESSION, 128))
        opening = self._opened(content)
        sites, before = frozenset(self.agreement.roster.ids), self.agreement.digest
        joined: Joined | None = None
        if self.counts is not None:
            with _ending():
                joined, before = await self._profile_of(channel, opening.session, self.counts)
            sites = joined.calibrated
        if What.CLASSES not in opening.what:
            assert joined is not None
            return joined
        opened = ClassRound(
            agreement=self.agreement,
            session=opening.session,
            sites=sites,
            before=before,
            shared=opening.shared,
            number=2 if joined else 0,
        )
        try:
            with _ending():
                return await self._named(channel, opened, joined)
        except ApiwatchError as error:
            if joined is None:
                raise
            return replace(joined, missing=error)

    def _opened(self, content: bytes) -> Opening:
        """What the server says first.

        Raises `ParameterError` where what it sums is not what this site has come for.
        """
        opening = Opening.read(content)
        if opening.agreement != self.agreement.digest:
            raise RoundFailed(
                "the server has another agreement: take the one that is in force; after `round "
                "leave` give all logs anew, without `--more`"
            )
        if (What.PROFILE in opening.what) != (self.counts is not None):
            needs = "one log or more" if What.PROFILE in opening.what else "no log"
            raise ParameterError(f"{needs} must be given to this round of the server's")
        if What.CLASSES in opening.what:
            self._most = SharedClasses.most_bytes()
            if self.pending is not None:
                self.pending.add(self.examples)
        elif self.examples:
            raise ParameterError("no examples must be given to this round of the server's")
        return opening

    async def _profile_of(
        self, channel: Channel, session: bytes, counts: Counter[Field]
    ) -> tuple[Joined, bytes]:
        """Both sums of the profile, and what names them."""
        own = Table.learn(counts, self.settings)
        vector = np.concatenate([own.counts, own.bits])
        counted, total = await self._sum(channel, self.agreement.counting(session), lambda: vector)
        table, sites = self._relied_on(own, counted, total)
        measured = Calibration.learn(counts, table)
        second = self.agreement.calibrating(session, counted, total)
        vector = measured.sums.reshape(-1)
        calibrated, sums = await self._sum(channel, second, lambda: vector)
        shared = Calibration(self.settings, sums.reshape(measured.sums.shape))
        calibration = shared if self.me in calibrated else shared + measured
        joined = Joined(
            profile=self._profile(Usual.learn(counts), table, sites, calibration),
            counted=counted,
            calibrated=calibrated,
            digest=shared_digest(self.settings.digest, total[: own.counts.size], sums),
        )
        return joined, announced(second.round.model, calibrated, sums)

    async def _named(self, channel: Channel, opened: ClassRound, joined: Joined | None) -> Joined:
        """The class sums, and a profile with the names in it."""
        made = joined.profile if joined else self.before
        assert made is not None
        mine = SiteClasses(opened, self.me, self.pending)
        included, total = await self._sum(
            channel, opened.listing(), lambda: mine.heard(self._classes, made)
        )
        listed = mine.listed(included, total)
        named = Named(shared=listed.shared, sites=frozenset(), names=listed.names)
        if listed.names:
            named = await self._learnt(channel, mine, listed)
        give_names(made, named.shared, mine.left(named.sites))
        return replace(joined or Joined(profile=made), named=named)

    async def _learnt(self, channel: Channel, mine: SiteClasses, listed: Listed) -> Named:
        vector = mine.vector(listed)
        included, total = await self._sum(channel, listed.summing(), lambda: vector)
        learnt = mine.learnt(listed, included, total, vector)
        shared = learnt.shared
        if not learnt.has_level:
            counts = mine.responses(learnt)
            _, total = await self._sum(channel, learnt.leveling(), lambda: counts)
            shared = learnt.leveled(total)
        return Named(shared=shared, sites=included, names=listed.names)

    def _relied_on(
        self, own: Table, counted: frozenset[int], total: _Integers
    ) -> tuple[Table, _Integers]:
        """The table that this site counts by, and how many sites set each cell of it."""
        cells = own.counts.size
        everybody, sites = Table(self.settings, total[:cells]), total[cells:]
        if self.me not in counted:
            everybody, sites = everybody + own, sites + own.bits
        table = own.supported(everybody, sites)
        return (self.before.table + table if self.before else table), sites

    def _profile(
        self, usual: Usual, table: Table, sites: _Integers, calibration: Calibration
    ) -> Profile:
        before = self.before
        if before is None:
            return Profile(
                table=table,
                calibration=calibration,
                sites=sites,
                usual=usual,
                threshold=_UNSET,
                ledger=self.last.ledger if self.last else Ledger(),
            )
        before.table = table
        before.calibration = before.calibration + calibration
        before.sites = np.maximum(before.sites, sites)
        before.usual = Usual(before.usual.shapes | usual.shapes)
        return before

    async def _sum(
        self, channel: Channel, this: Sum, vector: Callable[[], _Integers | None]
    ) -> tuple[frozenset[int], _Integers]:
        """One sum, as a part of it or, where others went on without this site, as a listener.

        vector: what this site adds, or None as long as the server has not sent what it needs.
        """
        machine: Machine[Any] | None = None
        if self.me in this.round.roster.clients:
            machine = this.scheme.client(
                this.round, self.identity, self.me, floors=this.floors, rand=self.rand
            )
        most = max(largest(this.scheme, this.scheme.client_messages), _sum_bytes(this), self._most)
        own: _Integers | None = None
        while True:
            if own is None and (own := vector()) is not None and machine is not None:
                machine.submit(self._checked(own, this))
            if machine is not None:
                self._send(channel, this, machine)
            kind, content = await self._within(channel.receive(most))
            if kind is Kind.SUM:
                included, total = _summed(this, content)
                self._note(this, included)
                return included, total
            if kind is Kind.CLASSES:
                self._classes = content
            if kind is Kind.FRAME and machine is not None and not machine.ended:
                try:
                    machine.receive(SERVER, content)
                except DecodeError:
                    continue  # of the sum before, or nobody's

    def _checked(self, own: _Integers, this: Sum) -> NDArray[np.unsignedinteger[Any]]:
        if own.min() < 0 or own.max() > this.bound:
            raise ParameterError(f"0 <= vector <= {this.bound} must hold at site {self.me}")
        words: NDArray[np.unsignedinteger[Any]] = own.astype(word(this.scheme.width))
        return words

    def _note(self, this: Sum, included: frozenset[int]) -> None:
        """That this sum is over, and what has left for it."""
        if self.me in this.round.roster.clients:
            sent = Sent(
                what=this.what,
                coordinates=this.scheme.length,
                bytes_up=self._bytes,
                sites=len(included),
                lost=this.scheme.clients - len(included),
            )
            self._left.append(sent)
        self._bytes = 0

    def _send(self, channel: Channel, this: Sum, machine: Machine[Any]) -> None:
        for _, frame in machine.to_send():
            channel.send(Kind.FRAME, frame)
            self._bytes += len(frame)
        step = f"sum {this.round.number}: {machine.phase}"
        if step not in self._seen:
            self._seen.append(step)
            self.told(step)

    async def _within(self, coming: Awaitable[_T]) -> _T:
        async with asyncio.timeout(self.patience):
            return await coming


@contextmanager
def _ending() -> Iterator[None]:
    """Whatever ends a round is a `RoundFailed`."""
    try:
        yield
    except _GONE as error:
        raise RoundFailed(f"the server is gone: {error or type(error).__name__}") from None
    except SecAggError as error:
        raise RoundFailed(f"the round ended: {error}") from error


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
