"""The parties of one round: identities, roster, and the machines they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from secagg.context import Round
from secagg.errors import DecodeError
from secagg.frame import Endpoint, parse_header
from secagg.identity import AUTHORITY, SERVER, Identity, PartyId, Roster
from secagg.machine import Machine
from secagg.primitives.digest import Label, digest
from secagg.rand import Rand
from secagg.scheme import Floors, Scheme
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = ["Keeper", "Parties", "SharedRoster", "make_round"]


class Keeper(Protocol):
    """A key authority, as `secagg.schemes.ckks.KeyAuthority` is one."""

    @property
    def identity(self) -> Identity: ...
    def machine(
        self, scheme: Any, round: Round, *, snapshot: bytes | None = None, rand: Rand
    ) -> Machine[Any]: ...


class SharedRoster(Roster):
    """The roster of parties in one process, which verifies a signature that all are shown once.

    Only what verified is remembered, under the key, the signature and a digest of all it covers.
    """

    _most: ClassVar[int] = 1 << 15
    _verified: ClassVar[set[tuple[bytes | None, bytes, Label, bytes]]] = set()

    def verify(
        self, party: PartyId, signature: bytes, label: Label, *parts: bytes | memoryview
    ) -> None:
        """See `Roster`."""
        shown = self.public(party), bytes(signature), label, digest(label, *parts)
        if shown in self._verified:
            return
        super().verify(party, signature, label, *parts)
        if len(self._verified) >= self._most:
            self._verified.clear()
        self._verified.add(shown)


@dataclass(frozen=True)
class Parties:
    """Everybody's identity in one round of one scheme. Made by `make_round`."""

    scheme: Scheme
    round: Round
    identities: Mapping[PartyId, Identity]
    authority: Keeper | None = None

    @property
    def clients(self) -> tuple[PartyId, ...]:
        """The ids of the invited clients, ascending."""
        helpers = self.scheme.helpers
        return tuple(party for party in self.round.roster.ids if party not in helpers)

    @property
    def everybody(self) -> tuple[PartyId, ...]:
        """The server, its helpers, the clients, and the key authority of a scheme that has one."""
        third = () if self.authority is None else (AUTHORITY,)
        return (SERVER, *self.scheme.helpers, *self.clients, *third)

    @property
    def sides(self) -> tuple[PartyId, ...]:
        """One party of each kind."""
        return (self.clients[0], *(p for p in self.everybody if p not in self.clients))

    def machine(self, party: PartyId, rand: Rand) -> Machine[Any]:
        """A fresh machine of `party`."""
        if self.authority is not None and party == AUTHORITY:
            return self.authority.machine(self.scheme, self.round, rand=rand)
        identity = self.identities[party]
        if party == SERVER:
            return self.scheme.server(self.round, identity, rand=rand)
        if party in self.scheme.helpers:
            return self.scheme.helper(self.round, identity, rand=rand)
        return self.scheme.client(self.round, identity, party, floors=self._floors, rand=rand)

    def resume(self, party: PartyId, snapshot: bytes, rand: Rand) -> Machine[Any]:
        """The machine of `party` as it was at `snapshot`."""
        if self.authority is not None and party == AUTHORITY:
            return self.authority.machine(self.scheme, self.round, snapshot=snapshot, rand=rand)
        identity = self.identities[party]
        if party == SERVER:
            return self.scheme.resume_server(snapshot, self.round, identity, rand=rand)
        if party in self.scheme.helpers:
            return self.scheme.resume_helper(snapshot, self.round, identity, rand=rand)
        return self.scheme.resume_client(
            snapshot, self.round, identity, party, floors=self._floors, rand=rand
        )

    @property
    def _floors(self) -> Floors:
        return Floors(opened=self.scheme.opened, authority=self.scheme.authority)

    def endpoint(self, party: PartyId) -> Endpoint:
        """What signs as `party`: for adversaries."""
        return self.scheme._endpoint(self.round, self.identities[party], party)

    def accepted(self, receiver: PartyId) -> dict[int, type[Message]]:
        """The message types that `receiver` takes, by code."""
        return {kind.code: kind for kind in self.scheme.received_by(receiver)}

    def kind(self, receiver: PartyId, frame: bytes) -> type[Message] | None:
        """The message type that a frame claims to carry to `receiver`, if there is one."""
        try:
            return self.accepted(receiver).get(parse_header(frame).code)
        except DecodeError:
            return None

    def again(self, **changes: Any) -> Parties:
        """The same parties in another round, e.g. `again(number=2)` or `again(model=...)`."""
        return dataclasses.replace(self, round=dataclasses.replace(self.round, **changes))


def make_round(
    scheme: Scheme,
    rand: Rand | None = None,
    *,
    ids: Iterable[PartyId] | None = None,
    authority: Keeper | None = None,
) -> Parties:
    """Fresh identities for the server and `scheme.clients` clients, and a round that lists them.

    The clients are 1 … n, or `ids`. The roster lists share keys too, for schemes that need them.
    Without `rand` the same call makes the same round. authority: of a scheme that has one.
    """
    draw = rand or SeededRand("make_round")
    clients = range(1, scheme.clients + 1) if ids is None else ids
    everybody = (SERVER, *clients, *scheme.helpers)
    identities = {party: Identity.generate(draw) for party in everybody}
    keys = {party: identity for party, identity in identities.items() if party != SERVER}
    roster = SharedRoster(
        server=identities[SERVER].public,
        clients={party: identity.public for party, identity in keys.items()},
        share_keys={party: identity.share_key for party, identity in keys.items()},
        server_share_key=identities[SERVER].share_key if scheme.helpers else b"",
    )
    agreed = Round(session=draw(16), number=1, model=draw(32), roster=roster)
    if authority is not None:
        identities[AUTHORITY] = authority.identity
    return Parties(scheme, agreed, identities, authority)
