"""`secagg.frame`: no byte of a frame can be changed, moved to another round or redirected."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from secagg.errors import DecodeError
from secagg.frame import HEADER_SIZE, OVERHEAD, VERSION, Endpoint, Header, parse_header
from secagg.identity import BROADCAST, SERVER, Identity, Roster
from secagg.primitives.digest import Label
from secagg.wire import IDS, Fixed, Limits, Message, Rows, Table, declare, encode, field, ids

CONTEXT = bytes(range(32))
IDENTITIES = {party: Identity.generate(random.Random(party).randbytes) for party in range(4)}
ROSTER = Roster(IDENTITIES[0].public, {p: IDENTITIES[p].public for p in (1, 2, 3)})


@declare(code=1, phase="talk")
class Word(Message):
    """Client to server."""

    text: bytes = field(Fixed(4))


@declare(code=2, phase="talk")
class Listing(Message):
    """Server to client."""

    who: Table = field(Rows(IDS))


DOWN: Mapping[int, type[Message]] = {2: Listing}
UP: Mapping[int, type[Message]] = {1: Word}


def endpoint(me: int, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "scheme": 5,
        "context": CONTEXT,
        "me": me,
        "identity": IDENTITIES[me],
        "roster": ROSTER,
        "accepts": UP if me == SERVER else DOWN,
        "limits": Limits(parties=3),
    }
    return Endpoint(**{**fields, **changes})


SERVER_END, CLIENT_END = endpoint(SERVER), endpoint(1)
WORD = CLIENT_END.seal(SERVER, Word(text=b"text"))
LISTING = SERVER_END.seal(1, Listing(who=ids([1, 2])))


def signed(header: bytes, body: bytes, by: int) -> bytes:
    return header + body + IDENTITIES[by].sign(Label.FRAME, header, body)


# -- the layout --------------------------------------------------------------------------------


def test_a_frame_is_header_body_signature() -> None:
    assert WORD[:5] == b"SA" + bytes((VERSION, 5, 1))
    assert WORD[5:37] == CONTEXT
    assert WORD[37:41] == (1).to_bytes(4, "little")
    assert WORD[41:45] == (SERVER).to_bytes(4, "little")
    assert WORD[45:49] == b"text"
    assert len(WORD) == OVERHEAD + 4
    assert HEADER_SIZE == 45
    assert OVERHEAD == 109


def test_a_header_is_parsed_as_it_was_written() -> None:
    for header in (
        Header(scheme=5, code=1, context=CONTEXT, sender=1, receiver=SERVER),
        Header(scheme=255, code=255, context=bytes(32), sender=2**32 - 2, receiver=BROADCAST),
    ):
        assert parse_header(header.encode() + bytes(64)) == header
        assert len(header.encode()) == HEADER_SIZE


@pytest.mark.parametrize("size", [0, 1, 44, 45, 64, OVERHEAD - 1])
def test_less_than_an_empty_frame_is_refused(size: int) -> None:
    parse_header(WORD[:OVERHEAD])
    with pytest.raises(DecodeError, match=f"at least {OVERHEAD} bytes, got {size}"):
        parse_header(WORD[:size])


def test_an_honest_frame_opens() -> None:
    sources: list[Any] = [WORD, bytearray(WORD), memoryview(WORD)]
    for source in sources:
        header = SERVER_END.authenticate(source)
        opened = SERVER_END.open(header, source)
        assert (opened.sender, opened.message) == (1, Word(text=b"text"))
        assert opened.signature == WORD[-64:]
    header = CLIENT_END.authenticate(LISTING)
    assert CLIENT_END.open(header, LISTING).message == Listing(who=ids([1, 2]))


# -- tampering ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [1, 0x80, 0xFF])
def test_every_changed_byte_is_refused(mask: int) -> None:
    accepted = []
    for frame, end in ((WORD, SERVER_END), (LISTING, CLIENT_END)):
        end.authenticate(frame)
        for at in range(len(frame)):
            changed = bytearray(frame)
            changed[at] ^= mask
            try:
                accepted.append((at, end.authenticate(bytes(changed))))
            except DecodeError:
                continue
    assert accepted == []


def test_every_cut_and_every_extension_is_refused() -> None:
    for size in range(len(WORD)):
        with pytest.raises(DecodeError):
            SERVER_END.authenticate(WORD[:size])
    with pytest.raises(DecodeError):
        SERVER_END.authenticate(WORD + b"\0")
    with pytest.raises(DecodeError):
        SERVER_END.authenticate(b"\0" + WORD)


HEADERS: list[tuple[str, dict[str, Any], str]] = [
    ("scheme 6", {"scheme": 6}, "scheme 6, this round runs scheme 5"),
    ("another context", {"context": bytes(32)}, "another round"),
    ("another client", {"receiver": 2}, "for party 2, this is party 0"),
    ("type of the other side", {"code": 2}, "type 2 is not for this party"),
    ("unknown type", {"code": 77}, "type 77 is not for this party"),
    ("stranger", {"sender": 9}, "party 9 is not on the roster"),
    ("another sender", {"sender": 2}, "signature of party 2 does not verify"),
    ("everybody as sender", {"sender": BROADCAST}, "not on the roster"),
]


@pytest.mark.parametrize(
    ("changes", "reason"), [row[1:] for row in HEADERS], ids=[r[0] for r in HEADERS]
)
def test_a_well_signed_frame_of_another_place_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    """The signature is right each time: every header field is checked for its own sake."""
    fields: dict[str, Any] = {
        "scheme": 5, "code": 1, "context": CONTEXT, "sender": 1, "receiver": SERVER,
    }  # fmt: skip
    SERVER_END.authenticate(signed(Header(**fields).encode(), b"text", by=1))
    with pytest.raises(DecodeError, match=reason):
        SERVER_END.authenticate(signed(Header(**{**fields, **changes}).encode(), b"text", by=1))


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(0, 0x54, "not a frame"), (1, 0x42, "not a frame"), (2, 2, "version 2"), (2, 0, "version 0")],
)
def test_another_magic_or_version_is_refused(at: int, value: int, reason: str) -> None:
    header = bytearray(WORD[:HEADER_SIZE])
    header[at] = value
    with pytest.raises(DecodeError, match=reason):
        SERVER_END.authenticate(signed(bytes(header), b"text", by=1))


def test_a_signature_for_another_purpose_is_refused() -> None:
    header, body = WORD[:HEADER_SIZE], b"text"
    forged = header + body + IDENTITIES[1].sign(Label.SNAPSHOT, header, body)
    with pytest.raises(DecodeError, match="does not verify"):
        SERVER_END.authenticate(forged)


def test_a_byte_cannot_move_from_header_to_body() -> None:
    whole = WORD[: HEADER_SIZE + 4]
    moved = IDENTITIES[1].sign(Label.FRAME, whole[: HEADER_SIZE + 1], whole[HEADER_SIZE + 1 :])
    with pytest.raises(DecodeError, match="does not verify"):
        SERVER_END.authenticate(whole + moved)


# -- sizes -------------------------------------------------------------------------------------


def test_a_frame_over_the_bound_of_its_type_is_refused_unread() -> None:
    header = WORD[:HEADER_SIZE]
    with pytest.raises(DecodeError, match=f"{OVERHEAD + 5} bytes, at most {OVERHEAD + 4}"):
        SERVER_END.authenticate(signed(header, b"text!", by=1))
    short = signed(header, b"tex", by=1)
    with pytest.raises(DecodeError, match="shorter than its fields"):
        SERVER_END.open(SERVER_END.authenticate(short), short)


def test_the_bound_follows_the_limits() -> None:
    most = SERVER_END.seal(1, Listing(who=ids([1, 2, 3])))
    CLIENT_END.authenticate(most)
    over = SERVER_END.seal(1, Listing(who=ids([1, 2, 3, 4])))
    with pytest.raises(DecodeError, match="at most"):
        CLIENT_END.authenticate(over)


def test_a_huge_frame_costs_no_memory() -> None:
    huge = LISTING[:HEADER_SIZE] + bytes(5_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="at most"):
            CLIENT_END.authenticate(huge)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_signed_count_of_four_billion_rows_is_refused_unallocated() -> None:
    frame = signed(LISTING[:HEADER_SIZE], b"\xff" * 4 + bytes(4), by=SERVER)
    header = CLIENT_END.authenticate(frame)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="4294967295 rows, at most 3"):
            CLIENT_END.open(header, frame)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# -- who speaks to whom ------------------------------------------------------------------------


def test_a_broadcast_of_the_server_reaches_every_client() -> None:
    frame = SERVER_END.seal(BROADCAST, Listing(who=ids([1])))
    for me in (1, 2, 3):
        assert endpoint(me).authenticate(frame).sender == SERVER


def test_a_frame_for_one_client_is_for_no_other() -> None:
    CLIENT_END.authenticate(LISTING)
    with pytest.raises(DecodeError, match="for party 1, this is party 2"):
        endpoint(2).authenticate(LISTING)


def test_a_client_cannot_broadcast() -> None:
    """The server hands client signatures on, as made for itself: one made for everybody would
    pass here, fail at every other client, and end their round."""
    frame = CLIENT_END.seal(BROADCAST, Word(text=b"text"))
    with pytest.raises(DecodeError, match=f"frame for party {BROADCAST}, this is party 0"):
        SERVER_END.authenticate(frame)


def test_a_client_cannot_play_the_server() -> None:
    forged = endpoint(2).seal(1, Listing(who=ids([1, 2])))
    CLIENT_END.authenticate(LISTING)
    with pytest.raises(DecodeError, match="party 2 does not speak to party 1"):
        CLIENT_END.authenticate(forged)


def test_nobody_hears_itself() -> None:
    for me, other, message in ((SERVER, 1, Word(text=b"text")), (1, SERVER, Listing(who=ids([])))):
        with pytest.raises(DecodeError, match=f"party {me} does not speak to party {me}"):
            endpoint(me).authenticate(endpoint(me).seal(me, message))
        endpoint(me).authenticate(endpoint(other).seal(me, message))


# -- signatures handed on ----------------------------------------------------------------------


def test_a_signature_can_be_checked_by_others() -> None:
    endpoint(2).verify(1, SERVER, Word(text=b"text"), WORD[-64:])


@pytest.mark.parametrize(
    ("sender", "receiver", "text", "end"),
    [
        (2, SERVER, b"text", endpoint(3)),
        (1, BROADCAST, b"text", endpoint(3)),
        (1, 3, b"text", endpoint(3)),
        (1, SERVER, b"Text", endpoint(3)),
        (1, SERVER, b"text", endpoint(3, context=bytes(32))),
        (1, SERVER, b"text", endpoint(3, scheme=6)),
    ],
    ids=["sender", "receiver", "client", "body", "context", "scheme"],
)
def test_a_signature_handed_on_is_bound_to_its_frame(
    sender: int, receiver: int, text: bytes, end: Endpoint
) -> None:
    with pytest.raises(DecodeError, match="does not verify"):
        end.verify(sender, receiver, Word(text=text), WORD[-64:])


def test_an_attestation_stands_alone_for_one_party_purpose_and_text() -> None:
    attested = CLIENT_END.attest(Label.ATTEST, CONTEXT)
    endpoint(3).check_attested(1, attested, Label.ATTEST, CONTEXT)
    for party, label, text in (
        (2, Label.ATTEST, CONTEXT),
        (SERVER, Label.ATTEST, CONTEXT),
        (1, Label.FRAME, CONTEXT),
        (1, Label.ATTEST, bytes(32)),
        (1, Label.ATTEST, CONTEXT + b"\0"),
    ):
        with pytest.raises(DecodeError, match="does not verify"):
            endpoint(3).check_attested(party, attested, label, text)


def test_nothing_secret_is_in_a_repr() -> None:
    private = IDENTITIES[1].to_bytes().hex()
    opened = SERVER_END.open(SERVER_END.authenticate(WORD), WORD)
    for text in (repr(CLIENT_END), repr(opened)):
        assert private[:8] not in text
        assert str(IDENTITIES[1].to_bytes())[2:10] not in text
    assert WORD[-64:].hex()[:8] not in repr(opened)
    assert encode(opened.message) == b"text"
