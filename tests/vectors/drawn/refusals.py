"""Frames that must be refused, made from the recorded rounds and signed where that is the point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from drawn.codes import Code

from secagg import SERVER, Identity, PartyId
from secagg.primitives.digest import Label

__all__ = ["refusals"]

Json = dict[str, Any]
Body = Callable[[bytes], bytes]

_HEADER, _SIGNATURE = 45, 64


@dataclass(frozen=True)
class Forge:
    """The frames and the signing keys of one recorded round."""

    name: str
    vector: Json

    def find(self, code: int, client: PartyId) -> tuple[int, bytes]:
        """Place and bytes of the message of a type to or from a client."""
        for place, entry in enumerate(self.vector["frames"]):
            data = bytes.fromhex(entry["frame"])
            if data[4] == code and client in (entry["from"], *entry["to"]):
                return place, data
        raise AssertionError(f"no message {code} of client {client}")

    def signed(self, head: bytes, body: bytes, signer: PartyId | None = None) -> bytes:
        """The frame, signed by the sender in its header or by another."""
        sender = int.from_bytes(head[37:41], "little") if signer is None else signer
        private = bytes.fromhex(self.vector["identities"][str(sender)])
        return head + body + Identity.from_bytes(private).sign(Label.FRAME, head, body)

    def attestation(self, client: PartyId) -> bytes:
        """What a client signs of the members it masks under."""
        private = bytes.fromhex(self.vector["identities"][str(client)])
        members = bytes.fromhex(self.vector["derived"]["members"])
        return Identity.from_bytes(private).sign(Label.ATTEST, members)

    def case(
        self,
        name: str,
        place: int,
        to: PartyId,
        sender: PartyId,
        frame: bytes,
        error: str,
        says: str,
    ) -> Json:
        """One entry of the file."""
        return {
            "name": name,
            "round": self.name,
            "at": place,
            "to": to,
            "from": sender,
            "frame": frame.hex(),
            "error": error,
            "says": says,
        }

    def rebodied(
        self, name: str, code: int, client: PartyId, change: Body, says: str, later: int = 0
    ) -> Json:
        """A message whose author signs another body: its own fault."""
        place, data = self.find(code, client)
        head, body = data[:_HEADER], data[_HEADER:-_SIGNATURE]
        sender = int.from_bytes(head[37:41], "little")
        to = SERVER if sender else client
        frame = self.signed(head, change(body))
        error = "RemoteProtocolError"
        return self.case(name, place + later, to, sender, frame, error, says)


def refusals(rounds: Mapping[str, Json]) -> Json:
    """All cases. Ed25519 is deterministic, so the same rounds give the same frames."""
    forge = Forge("round_width_20", rounds["round_width_20"])
    honest = Forge("round_semi_honest", rounds["round_semi_honest"])
    cases = [
        *_envelopes(forge, Code.COHORT, SERVER, 1),
        *_envelopes(forge, Code.ADVERT, 1, SERVER),
        *_encodings(forge),
        *_adverts(forge),
        *_cohorts(forge),
        *_inboxes(forge),
        *_survivors(forge),
        *_to_server(forge),
        *_order(forge),
        *_semi_honest(honest),
    ]
    return {
        "kind": "refusals",
        "description": "Deliver `frame` to `to`, as from `from`, in the place of frame number `at` "
        "of the round. `error` names what a client raises; a server reports Discarded for "
        "DecodeError, PeerRejected for RemoteProtocolError and, once the round is over, Failed for "
        "IntegrityError. `says` is part of this library's text and no part of the format.",
        "cases": cases,
    }


# -- the envelope: nobody is to blame ---------------------------------------------------------


def _envelopes(forge: Forge, code: int, sender: PartyId, to: PartyId) -> Iterator[Json]:
    place, data = forge.find(code, sender or to)
    head, body, signature = data[:_HEADER], data[_HEADER:-_SIGNATURE], data[-_SIGNATURE:]
    side = "client" if to else "server"

    def case(name: str, frame: bytes, says: str, claimed: PartyId = sender) -> Json:
        title = f"{side}: {name}"
        return forge.case(title, place, to, claimed, frame, "DecodeError", says)

    def with_head(at: int, new: bytes, signer: PartyId = sender) -> bytes:
        return forge.signed(head[:at] + new + head[at + len(new) :], body, signer)

    other_code = bytes((Code.ADVERT if to else Code.COHORT,))
    other_party = (2).to_bytes(4, "little")
    nobody, everybody = (77).to_bytes(4, "little"), b"\xff" * 4
    stranger = "does not speak" if to else "not on the roster"
    yield case("no bytes", b"", "at least 109 bytes")
    yield case("a header without a signature", data[:108], "at least 109 bytes")
    yield case("other magic", with_head(0, b"sa"), "not a frame")
    yield case("version 0", with_head(2, b"\0"), "wire version 0")
    yield case("version 2", with_head(2, b"\2"), "wire version 2")
    yield case("another scheme", with_head(3, b"\3"), "scheme 3")
    yield case("a type for the other side", with_head(4, other_code), "is not for this party")
    yield case("a type that does not exist", with_head(4, b"\x0a"), "is not for this party")
    yield case("another context", with_head(5, bytes((head[5] ^ 1,))), "another round")
    yield case("another receiver", with_head(41, other_party), "frame for party 2")
    yield case("a sender outside the roster", with_head(37, nobody, 2), stranger, 77)
    if to == SERVER:
        yield case("addressed to everybody", with_head(41, everybody), "frame for party 4294967295")
    else:
        from_client = with_head(37, other_party, 2)
        yield case("another client speaks as the server", from_client, "does not speak", 2)
    yield case("the transport names another sender", data, "delivered a frame of", 3)
    yield case("a body over its bound", forge.signed(head, body + bytes(1)), "are possible")
    yield case("a body changed on its way", head + _flip(body, 0) + signature, "does not verify")
    yield case("a signature changed", head + body + _flip(signature, 63), "does not verify")
    yield case("another party's signature", with_head(0, b"SA", 2), "does not verify")


# -- bodies that are not canonical: their author is to blame ----------------------------------


def _encodings(forge: Forge) -> Iterator[Json]:
    def survivors(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Survivors: {name}", Code.SURVIVORS, 1, change, says)

    def masked(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Masked: {name}", Code.MASKED, 1, change, says)

    yield survivors("a trailing byte", lambda body: body + bytes(1), "trailing")
    yield survivors("a missing byte", lambda body: body[:-1], "shorter than its fields")
    yield survivors("more rows than it counts", lambda body: _counted(body, 2), "trailing")
    yield survivors("more rows than clients", lambda body: _counted(body, 6), "at most 5")
    yield survivors("a row twice", lambda body: _rows(68, body, 0, 0, 1), "strictly ascending")
    yield survivors("out of order", lambda body: _rows(68, body, 1, 0, 2), "strictly ascending")
    yield masked("a padding bit", lambda body: _flip(body, len(body) - 1, 0x80), "padding")
    yield masked("a missing byte", lambda body: body[:-1], "shorter than its fields")


# -- what a client insists on -----------------------------------------------------------------

_ADVERT_ROW = 4 + 32 + 32 + 64


def _cohorts(forge: Forge) -> Iterator[Json]:
    def cohort(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Cohort: {name}", Code.COHORT, 1, change, says)

    def pick(*rows: int) -> Body:
        return lambda body: _rows(_ADVERT_ROW, body, *rows)

    def flip(row: int, column: int) -> Body:
        return lambda body: _flip(body, 4 + row * _ADVERT_ROW + column)

    def stranger(body: bytes) -> bytes:
        return body[:-_ADVERT_ROW] + (9).to_bytes(4, "little") + body[-_ADVERT_ROW + 4 :]

    yield cohort("without the receiver", pick(1, 2, 3, 4), "left out")
    yield cohort("fewer than the survivors", pick(0, 1), "at least 3 must remain")
    yield cohort("a client that was not invited", stranger, "cannot be there")
    yield cohort("another mask key of the receiver", flip(0, 4), "replaced this client's advert")
    yield cohort("another share key of the receiver", flip(0, 36), "replaced this client's advert")
    yield cohort("another mask key of a neighbour", flip(1, 4), "not its own")
    yield cohort("another share key of a neighbour", flip(1, 36), "not its own")
    yield cohort("another signature of a neighbour", flip(1, 68), "not its own")


_MEMBER_ROW = 4 + 32
_PARCEL_ROW = 4 + 16 + 16 + 16 + 112


def _inboxes(forge: Forge) -> Iterator[Json]:
    """The members are 1, 3, 4 and 5, so client 1 has three parcels."""

    def inbox(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Inbox: {name}", Code.INBOX, 1, change, says)

    def split(body: bytes) -> tuple[bytes, bytes]:
        end = 4 + 4 * _MEMBER_ROW
        return body[:end], body[end:]

    def fewer_parcels(body: bytes) -> bytes:
        members, parcels = split(body)
        return members + _rows(_PARCEL_ROW, parcels, 0, 1)

    def fewer_members(body: bytes) -> bytes:
        members, parcels = split(body)
        return _rows(_MEMBER_ROW, members, 0, 1) + _rows(_PARCEL_ROW, parcels, 0)

    def without_receiver(body: bytes) -> bytes:
        members, parcels = split(body)
        return _rows(_MEMBER_ROW, members, 1, 2, 3) + parcels

    def edge(body: bytes) -> bytes:
        members, parcels = split(body)
        return members + _flip(parcels, 4 + 4)

    own = "replaced this client's shares"
    yield inbox("another digest of the receiver's shares", lambda body: _flip(body, 8), own)
    yield inbox("without the receiver", without_receiver, "left out")
    yield inbox("fewer than the survivors", fewer_members, "at least 3 must remain")
    yield inbox("a parcel too few", fewer_parcels, "do not match the neighbours")
    yield inbox("another edge tag", edge, "does not agree on the edge")


def _survivors(forge: Forge) -> Iterator[Json]:
    """Those included are 1, 3 and 5: client 2 never shared, client 4 never sent its input."""

    def survivors(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Survivors: {name}", Code.SURVIVORS, 1, change, says)

    def these(*clients: PartyId) -> Body:
        rows = (party.to_bytes(4, "little") + forge.attestation(party) for party in clients)
        return lambda _: len(clients).to_bytes(4, "little") + b"".join(rows)

    def consents(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Consents: {name}", Code.CONSENTS, 1, change, says)

    def stranger(body: bytes) -> bytes:
        return body[:72] + (4).to_bytes(4, "little") + body[76:]

    other = "masked under other members"
    yield survivors("without the receiver", these(3, 4, 5), "left out")
    yield survivors("a client that never shared", these(1, 2, 3, 5), "cannot be there")
    yield survivors("fewer than the survivors", these(1, 3), "at least 3 must remain")
    yield survivors("another attestation", lambda body: _flip(body, 4 + 68 + 4), other)
    yield consents("one too few", lambda body: _rows(68, body, 0, 1), "exactly 3")
    yield consents("of a client that is not included", stranger, "not included")
    yield consents("another signature", lambda body: _flip(body, 8), "did not consent")


# -- what a server insists on -----------------------------------------------------------------


def _adverts(forge: Forge) -> Iterator[Json]:
    order_8 = 39382357235489614581723060781553021112529911719440698176882885853963445705823
    low, over = order_8.to_bytes(32, "little"), (2**255 - 19 + 9).to_bytes(32, "little")

    def advert(name: str, change: Body, says: str) -> Json:
        return forge.rebodied(f"Advert: {name}", Code.ADVERT, 1, change, says)

    yield advert("a mask key of low order", lambda body: low + body[32:], "low order")
    yield advert("a share key of low order", lambda body: body[:32] + low, "low order")
    yield advert("a mask key over the prime", lambda body: over + body[32:], "not canonical")
    yield advert("a share key over the prime", lambda body: body[:32] + over, "not canonical")


def _to_server(forge: Forge) -> Iterator[Json]:
    def message(name: str, code: int, change: Body, says: str) -> Json:
        return forge.rebodied(name, code, 1, change, says)

    def other_vector(body: bytes) -> bytes:
        return _flip(body, _SIGNATURE, 0x01)

    def dealt_none(body: bytes) -> bytes:
        return body[:4] + (2).to_bytes(4, "little") + body[8:]

    parcels = "not for exactly the advertised neighbours"
    yield message("Masked: another attestation", Code.MASKED, lambda b: _flip(b, 0), "not verify")
    yield message("Shares: a parcel too few", Code.SHARES, _one_parcel_less, parcels)
    yield message("Consent: another transcript", Code.CONSENT, lambda b: _flip(b, 0), "transcript")
    yield message("Unmask: a dealer that never dealt", Code.UNMASK, dealt_none, "dealt none")
    place, data = forge.find(Code.MASKED, 1)
    frame = forge.signed(data[:_HEADER], other_vector(data[_HEADER:-_SIGNATURE]))
    says = "the masks do not cancel"
    yield forge.case("Masked: another vector", place, SERVER, 1, frame, "IntegrityError", says)


def _one_parcel_less(body: bytes) -> bytes:
    return body[:32] + _rows(_PARCEL_ROW, body[32:], 0, 1, 2)


def _order(forge: Forge) -> Iterator[Json]:
    """Messages that are in order by themselves, at another time."""

    def moved(name: str, code: int, sender: PartyId, place: int, error: str, says: str) -> Json:
        _, data = forge.find(code, sender or 1)
        to = SERVER if sender else 1
        return forge.case(name, place, to, sender, data, error, says)

    last = len(forge.vector["frames"]) - 1
    second = "a second, different"
    yield forge.rebodied("Advert: a second one", Code.ADVERT, 1, _other_byte, second, later=1)
    yield forge.rebodied("Cohort: a second one", Code.COHORT, 1, _other_byte, second, later=6)
    masked, survivors = "server: Masked before its phase", "client: Survivors before its phase"
    yield moved(masked, Code.MASKED, 1, 1, "RemoteProtocolError", "not due")
    yield moved(survivors, Code.SURVIVORS, SERVER, 5, "Aborted", "came too early")
    late = forge.signed(forge.find(Code.SHARES, 1)[1][:37] + _from_2(), bytes(36))
    yield forge.case("server: Shares too late", last, SERVER, 2, late, "DecodeError", "too late")


def _from_2() -> bytes:
    return (2).to_bytes(4, "little") + bytes(4)


def _other_byte(body: bytes) -> bytes:
    return _flip(body, 8)


def _semi_honest(forge: Forge) -> Iterator[Json]:
    """Without a consent round nobody takes its messages."""
    place, data = forge.find(Code.SURVIVORS, 11)
    consents = forge.signed(data[:4] + bytes((Code.CONSENTS,)) + data[5:_HEADER], bytes(4))
    says = "is not for this party"
    name = "semi-honest client: Consents"
    yield forge.case(name, place, 11, SERVER, consents, "DecodeError", says)
    place, data = forge.find(Code.UNMASK, 11)
    consent = forge.signed(data[:4] + bytes((Code.CONSENT,)) + data[5:_HEADER], bytes(32))
    yield forge.case("semi-honest server: Consent", place, SERVER, 11, consent, "DecodeError", says)
    cohort = "Cohort: a trailing byte within the bound"
    yield forge.rebodied(cohort, Code.COHORT, 11, lambda body: body + bytes(1), "trailing")


# -- bytes ------------------------------------------------------------------------------------


def _flip(data: bytes, at: int, mask: int = 0xFF) -> bytes:
    return data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]


def _counted(body: bytes, count: int) -> bytes:
    return count.to_bytes(4, "little") + body[4:]


def _rows(size: int, body: bytes, *places: int) -> bytes:
    """The list with these of its rows."""
    rows = (body[4 + place * size :][:size] for place in places)
    return len(places).to_bytes(4, "little") + b"".join(rows)
