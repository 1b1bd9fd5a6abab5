"""What a malicious server can say to one client: one tampered table per attack, and its end.

Each script twists one honest message; `Hostile` tells it in an otherwise honest round. Scripts may
use every identity but the victim's and the peer's: the adversary is the server, and all clients
that collude with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from secagg.errors import RemoteProtocolError, SecAggError
from secagg.identity import SERVER, PartyId
from secagg.primitives import agreement
from secagg.primitives.digest import Label
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    PARCELS,
    SURVIVORS,
    VOTES,
    Advert,
    Cohort,
    Consent,
    Consents,
    Inbox,
    Survivors,
)
from secagg.testing.adversaries import Hostile, Lie, Outgoing, on, replacing
from secagg.testing.parties import Parties
from secagg.testing.secagg_plus.cells import LOW_ORDER, Cells, rows_of, signed_advert, table_of
from secagg.wire import Columns, Message

__all__ = ["SERVER_ATTACKS", "Scene", "ServerAttack"]


@dataclass(frozen=True)
class Scene:
    """Who is who in an attack: the liar, its victim, an honest peer, and one that colludes."""

    liar: Hostile
    victim: PartyId
    peer: PartyId
    accomplice: PartyId

    @property
    def parties(self) -> Parties:
        return self.liar.parties

    def key(self) -> bytes:
        """A public key whose private half the adversary knows."""
        return agreement.public_key(self.liar.rand(32))

    def noise(self, size: int) -> bytes:
        return self.liar.rand(size)

    def advert(self, client: PartyId, mask_key: bytes, share_key: bytes) -> dict[str, bytes]:
        """A row of the cohort that `client`, who must collude, signed."""
        signature = signed_advert(self.parties, client, mask_key, share_key)
        return {"mask_key": mask_key, "share_key": share_key, "signature": signature}


Change = Callable[[Cells, Scene], object]


@dataclass(frozen=True)
class ServerAttack:
    """One tampered table, told to one client; the error that must end that client."""

    name: str
    message: type[Message]
    field: str
    columns: Columns
    change: Change
    error: type[SecAggError]
    says: str

    def lie(self, victim: PartyId, peer: PartyId, accomplice: PartyId) -> Lie:
        """The lie, to be told by the server."""

        def twist(liar: Hostile, out: Outgoing) -> Message:
            cells = rows_of(getattr(out.message, self.field))
            self.change(cells, Scene(liar, victim, peer, accomplice))
            changes = {self.field: table_of(self.columns, cells)}
            return dataclasses.replace(out.message, **changes)  # type: ignore[type-var]

        return on(self.message, replacing(twist), to=victim)


def _leave_few(cells: Cells, scene: Scene) -> None:
    """One fewer than the scheme's floor, the victim among them."""
    others = [peer for peer in cells if peer != scene.victim]
    for peer in others[scene.parties.scheme.survivors - 2 :]:
        del cells[peer]


def _swap(column: str) -> Change:
    def change(cells: Cells, scene: Scene) -> None:
        one, other = cells[scene.peer], cells[scene.accomplice]
        one[column], other[column] = other[column], one[column]

    return change


def _swap_rows(cells: Cells, scene: Scene) -> None:
    one, other = scene.peer, scene.accomplice
    cells[one], cells[other] = cells[other], cells[one]


def _stranger(cells: Cells, scene: Scene) -> None:
    """Somebody uninvited in the accomplice's place; one more row would not fit the frame."""
    cells[max(scene.parties.clients) + 1] = cells.pop(scene.accomplice)


def _without(who: str) -> Change:
    return lambda cells, scene: cells.pop(getattr(scene, who))


def _random(who: str, column: str) -> Change:
    def change(cells: Cells, scene: Scene) -> None:
        row = cells[getattr(scene, who)]
        row[column] = scene.noise(len(row[column]))

    return change


def _resigned_by_server(cells: Cells, scene: Scene) -> None:
    mask_key, share_key = scene.key(), scene.key()
    advert = Advert(mask_key=mask_key, share_key=share_key)
    signature = scene.liar.seal(SERVER, advert)[-64:]
    cells[scene.peer] = {"mask_key": mask_key, "share_key": share_key, "signature": signature}


def _from_another_round(cells: Cells, scene: Scene) -> None:
    """A genuine advert of the peer, but for another model."""
    mask_key, share_key = scene.key(), scene.key()
    elsewhere = scene.parties.again(model=bytes(32))
    signature = signed_advert(elsewhere, scene.peer, mask_key, share_key)
    cells[scene.peer] = {"mask_key": mask_key, "share_key": share_key, "signature": signature}


def _low_order(mask: bool) -> Change:
    def change(cells: Cells, scene: Scene) -> None:
        keys = (LOW_ORDER, scene.key()) if mask else (scene.key(), LOW_ORDER)
        cells[scene.accomplice] = scene.advert(scene.accomplice, *keys)

    return change


def _own_key(column: str) -> Change:
    def change(cells: Cells, scene: Scene) -> None:
        cells[scene.victim][column] = scene.key()

    return change


def _forged_vote(cells: Cells, scene: Scene) -> None:
    cells[next(peer for peer in cells if peer != scene.victim)]["signature"] = scene.noise(64)


def _vote_on_another_set(cells: Cells, scene: Scene) -> None:
    """A genuine consent of one that colludes, to something else."""
    consent = Consent(transcript=scene.noise(32))
    voter = next(peer for peer in cells if peer != scene.victim)
    cells[voter]["signature"] = scene.parties.endpoint(voter).seal(SERVER, consent)[-64:]


def _vote_of_a_stranger(cells: Cells, scene: Scene) -> None:
    cells[max(scene.parties.clients) + 1] = cells.pop(max(cells))


def _one_vote_less(cells: Cells, _: Scene) -> None:
    cells.pop(max(cells))


def _one_vote_more(cells: Cells, scene: Scene) -> None:
    voter = next(peer for peer in scene.parties.clients if peer not in cells)
    cells[voter] = {"signature": scene.noise(64)}


def _attested_elsewhere(cells: Cells, scene: Scene) -> None:
    """A genuine attestation of the peer's, to members of another round."""
    endpoint = scene.parties.endpoint(scene.peer)
    cells[scene.peer]["attestation"] = endpoint.attest(Label.ATTEST, scene.noise(32))


def _on_cohort(name: str, change: Change, says: str) -> ServerAttack:
    return ServerAttack(name, Cohort, "adverts", ADVERTS, change, RemoteProtocolError, says)


def _on_members(name: str, change: Change, says: str) -> ServerAttack:
    return ServerAttack(name, Inbox, "members", MEMBERS, change, RemoteProtocolError, says)


def _on_parcels(name: str, change: Change, says: str) -> ServerAttack:
    return ServerAttack(name, Inbox, "parcels", PARCELS, change, RemoteProtocolError, says)


def _on_survivors(name: str, change: Change, says: str) -> ServerAttack:
    return ServerAttack(name, Survivors, "included", SURVIVORS, change, RemoteProtocolError, says)


def _on_votes(name: str, change: Change, says: str) -> ServerAttack:
    return ServerAttack(name, Consents, "votes", VOTES, change, RemoteProtocolError, says)


_NOT_ITS_OWN = "is not its own"
_OTHER_MEMBERS = "masked under other members"

SERVER_ATTACKS: tuple[ServerAttack, ...] = (
    _on_cohort("peer's mask key replaced", _random("peer", "mask_key"), _NOT_ITS_OWN),
    _on_cohort("peer's share key replaced", _random("peer", "share_key"), _NOT_ITS_OWN),
    _on_cohort("peer's signature replaced", _random("peer", "signature"), _NOT_ITS_OWN),
    _on_cohort("two mask keys swapped", _swap("mask_key"), _NOT_ITS_OWN),
    _on_cohort("two adverts swapped", _swap_rows, _NOT_ITS_OWN),
    _on_cohort("peer's advert signed by the server", _resigned_by_server, _NOT_ITS_OWN),
    _on_cohort("peer's advert of another round", _from_another_round, _NOT_ITS_OWN),
    _on_cohort("own mask key replaced", _own_key("mask_key"), "replaced this client's advert"),
    _on_cohort("own share key replaced", _own_key("share_key"), "replaced this client's advert"),
    _on_cohort("own advert left out", _without("victim"), "left out but was addressed"),
    _on_cohort("uninvited client", _stranger, "cannot be there"),
    _on_cohort("hardly any adverts", _leave_few, "must remain"),
    _on_cohort("mask key of low order", _low_order(mask=True), "low order"),
    _on_cohort("share key of low order", _low_order(mask=False), "low order"),
    _on_members("own shares replaced", _random("victim", "manifest"), "this client's shares"),
    _on_members("own shares left out", _without("victim"), "left out but was addressed"),
    _on_members("a member without an advert", _stranger, "cannot be there"),
    _on_members("hardly any members", _leave_few, "must remain"),
    _on_parcels("parcel left out", _without("peer"), "parcels do not match"),
    _on_parcels("parcel of a stranger", _stranger, "parcels do not match"),
    _on_parcels("edge tag replaced", _random("peer", "edge_tag"), "does not agree on the edge"),
    _on_parcels("two edge tags swapped", _swap("edge_tag"), "does not agree on the edge"),
    _on_survivors("self left out", _without("victim"), "left out but was addressed"),
    _on_survivors("a survivor that is no member", _stranger, "cannot be there"),
    _on_survivors("hardly any survivors", _leave_few, "must remain"),
    _on_survivors("attestation forged", _random("peer", "attestation"), _OTHER_MEMBERS),
    _on_survivors("attestations swapped", _swap("attestation"), _OTHER_MEMBERS),
    _on_survivors("attested other members", _attested_elsewhere, _OTHER_MEMBERS),
    _on_votes("a consent forged", _forged_vote, "did not consent"),
    _on_votes("a consent to another set", _vote_on_another_set, "did not consent"),
    _on_votes("a consent of a stranger", _vote_of_a_stranger, "not included"),
    _on_votes("a consent too few", _one_vote_less, "must be shown"),
    _on_votes("a consent too many", _one_vote_more, "must be shown"),
)
