"""Requests for numbers that no honest server makes, and clients that lie: named, or of no use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("tenseal")

from secagg import wire
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    ParameterError,
    RemoteProtocolError,
)
from secagg.event import Failed, Finished, PeerRejected, Statistics
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import AUTHORITY, SERVER
from secagg.machine import Machine
from secagg.primitives.ring import unpack
from secagg.scheme import Floors
from secagg.schemes.ckks import EncryptedScreened, KeyAuthority, SlotScreen
from secagg.schemes.ckks.binding import seal_seed, sign
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.params import tenseal_cipher
from secagg.schemes.ckks.residues import add, pack_residues, unpack_residues
from secagg.schemes.ckks.screened.blind import blind
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand
from secagg.wire import Columns


@dataclass(frozen=True, kw_only=True)
class FewDraws(SlotScreen):
    """INSECURE: of few combinations, so that tests are fast; a block is in none of them in one case
    of 2^16. The nonce of these rounds is fixed.
    """

    draws: ClassVar[int] = 16


KEEPER = KeyAuthority.generate(SeededRand("keeper"))
LENGTH, BOUND = 5001, 1 << 18
SCREEN = FewDraws(bound=BOUND, max_weight=9, rows=16)
SIZES: dict[str, Any] = {"clients": 5, "length": LENGTH, "width": 32, "dropout": 0.4}
SCHEME = KEEPER.scheme(**SIZES, corrupt=0.0, screen=SCREEN)
assert isinstance(SCHEME, EncryptedScreened)
KEYS = SCHEME.layout.ring.keys
WHO = make_round(SCHEME, SeededRand("hostile"), authority=KEEPER)


def vector(party: int, size: float = 1.0) -> np.ndarray:
    """An update of `size` times its share of the bound, after the weight `party`."""
    drawn = np.random.default_rng(party).normal(size=LENGTH)
    drawn *= size * BOUND * party / 9 / np.linalg.norm(drawn)
    drawn = np.trunc(drawn)
    drawn[0] = party
    return drawn.astype(np.int64).astype(np.uint32)


def upload(party: int, value: np.ndarray, who: Parties = WHO) -> Upload:
    machine = who.machine(party, SeededRand(repr(("client", party))))
    machine.submit(value)
    ((_, frame),) = machine.to_send()
    return wire.decode(Upload, frame[HEADER_SIZE:-SIGNATURE_SIZE], who.scheme.limits)


UPLOADS = {party: upload(party, vector(party)) for party in WHO.clients}


def server_after(uploads: dict[int, Upload]) -> Machine[Any]:
    """The server with these uploads, whose query waits to be sent."""
    machine = WHO.machine(SERVER, SeededRand("server"))
    for party, message in uploads.items():
        machine.receive(party, WHO.endpoint(party).seal(SERVER, message))
    if len(uploads) < SCHEME.clients:
        machine.deadline()
    return machine


def events(machine: Machine[Any]) -> list[Any]:
    found = []
    while (event := machine.next_event()) is not None:
        found.append(event)
    return found


def query_of(machine: Machine[Any]) -> tuple[bytes, Query]:
    ((to, frame),) = machine.to_send()
    assert to == AUTHORITY
    return frame, wire.decode(Query, frame[HEADER_SIZE:-SIGNATURE_SIZE], SCHEME.limits)


@lru_cache(maxsize=1)
def honest() -> Query:
    return query_of(server_after(UPLOADS))[1]


def changed(query: Query, **fields: Any) -> Query:
    kept = {name: getattr(query, name) for name in ("contributors", "nonce", "blinded")}
    return Query(**{**kept, **fields})


def asked(machine: Machine[Any], message: wire.Message) -> Any:
    machine.receive(SERVER, WHO.endpoint(SERVER).seal(AUTHORITY, message))
    server = WHO.endpoint(SERVER)
    ((_, frame),) = machine.to_send()
    return server.open(server.authenticate(frame), frame).message


def authority() -> Machine[Any]:
    return WHO.machine(AUTHORITY, SeededRand("authority"))


def listed(*included: int) -> wire.Table:
    rows = {party: (UPLOADS[party].sealed, UPLOADS[party].signature) for party in included}
    return CONTRIBUTORS.table(rows)


def summed(*included: int) -> bytes:
    total = np.zeros(SCHEME.layout.words, "<u8")
    for party in included:
        add(total, unpack_residues(UPLOADS[party].vector, total.size, KEYS), KEYS)
    return pack_residues(total, KEYS)


# -- a round ---------------------------------------------------------------------------------


def played(uploads: dict[int, Upload], accepted: set[int] | None = None) -> list[Any]:
    """A round with an honest server and authority, and what the server reports."""
    server, third, found = server_after(uploads), authority(), []
    while not server.ended:
        for _, frame in server.to_send():
            third.receive(SERVER, frame)
            ((_, reply),) = third.to_send()
            server.receive(AUTHORITY, reply)
        found += events(server)
        if found and isinstance(found[-1], Statistics):
            server.submit(accepted) if accepted else server.deadline()
    return found + events(server)


def test_numbers_are_those_of_the_vectors_and_the_sum_is_of_whom_the_server_accepts() -> None:
    statistics, finished = played(UPLOADS, {1, 2, 4})
    assert isinstance(statistics, Statistics)
    assert statistics.weights is not None
    assert statistics.weights.tolist() == [1, 2, 3, 4, 5]
    assert statistics.eligible == frozenset(WHO.clients)
    slot_map = SCHEME.opened_map(statistics.seed)
    for party, rows in zip(statistics.clients, statistics.rows, strict=True):
        signed = vector(party).view(np.int32).astype(np.float64)
        due = slot_map.of_reals(signed[None, 1:])[0] * slot_map.scale
        assert np.array_equal(rows, np.rint(due).astype(np.int64))
    assert isinstance(finished, Finished)
    assert finished.aggregate is not None
    assert finished.aggregate.included == {1, 2, 4}
    assert finished.aggregate.refused == {3, 5}
    assert finished.aggregate.dropped == {"upload": frozenset()}
    due = vector(1) + vector(2) + vector(4)
    assert np.array_equal(finished.aggregate.total, due)


@pytest.mark.parametrize(
    "lie",
    ["large", "weightless", "heavy", "other seed", "noise"],
)
def test_who_would_spoil_a_sum_is_left_out_of_it(lie: str) -> None:
    """All of these end a round of the plain encrypted scheme, or move its mean without bounds."""
    values = {"large": vector(2, 8.0), "weightless": vector(2), "heavy": vector(2)}
    value = values.get(lie, vector(2))
    value[0] = {"weightless": 0, "heavy": 10}.get(lie, 2)
    sent = upload(2, value)
    if lie == "other seed":
        sealed = seal_seed(bytes(32), SCHEME.share_key[:32], WHO.endpoint(2))
        sent = Upload(sealed=sealed, signature=sign(sealed, WHO.endpoint(2)), vector=sent.vector)
    if lie == "noise":
        junk = np.arange(SCHEME.layout.words, dtype="<u8") % KEYS.primes[0]
        sent = Upload(
            sealed=sent.sealed, signature=sent.signature, vector=pack_residues(junk, KEYS)
        )
    found = played({**UPLOADS, 2: sent})
    finished = found[-1]
    assert isinstance(finished, Finished)
    assert finished.aggregate is not None
    assert finished.aggregate.included == {1, 3, 4, 5}
    assert finished.aggregate.refused == {2}
    due = sum(vector(party) for party in (1, 3, 4, 5))
    assert np.array_equal(finished.aggregate.total, due)
    named = [event.peer for event in found if isinstance(event, PeerRejected)]
    assert named == ([2] if lie in ("other seed", "noise") else [])


def noisy(sent: Upload, share: float, block: int = 0) -> Upload:
    """The upload with noise on some coefficients: this share of what a plaintext's unit has."""
    residues = unpack_residues(sent.vector, SCHEME.layout.words, KEYS)
    noise = int(share * KEYS.modulus) // SCHEME.layout.ring.plain
    primes = np.array(KEYS.primes[:-1], np.uint64)[:, None]
    rows = residues.reshape(-1, 2, KEYS.count, KEYS.degree)[block, 0, :, :60]
    rows += np.array([[noise % int(prime)] for prime in primes[:, 0]], np.uint64)
    rows %= primes
    packed = pack_residues(residues, KEYS)
    return Upload(sealed=sent.sealed, signature=sent.signature, vector=packed)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize(("share", "liars"), [(0.4, (1, 2)), (0.499, (2,)), (0.07, (1, 4))])
def test_noise_that_would_add_up_is_left_out_by_name(
    share: float, liars: tuple[int, ...], block: int
) -> None:
    """Two that are readable by themselves, and are not in a sum; or one at the edge, with luck."""
    sent = {party: noisy(UPLOADS[party], share, block) for party in liars}
    found = played({**UPLOADS, **sent})
    assert [event.peer for event in found if isinstance(event, PeerRejected)] == list(liars)
    honest_ones = set(WHO.clients).difference(liars)
    assert found[-1].aggregate.included == honest_ones
    due = sum(vector(party) for party in honest_ones)
    assert np.array_equal(found[-1].aggregate.total, due)


def test_noise_that_passes_cannot_add_up_even_if_all_clients_have_it() -> None:
    share = 0.45 / (1 << SCHEME.layout.spare_bits)
    found = played({party: noisy(sent, share) for party, sent in UPLOADS.items()})
    assert found[-1].aggregate.included == set(WHO.clients)
    assert np.array_equal(found[-1].aggregate.total, sum(vector(party) for party in WHO.clients))


def test_too_few_that_pass_end_the_round_by_name() -> None:
    large = {party: upload(party, vector(party, 40.0)) for party in (1, 2, 3)}
    statistics, failed = played({**UPLOADS, **large})
    assert statistics.eligible == {4, 5}
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Aborted)
    assert "2 clients passed, at least 3" in str(failed.error)


@pytest.mark.parametrize(
    ("accepted", "says"),
    [({1, 2}, "2 accepted, at least 3"), ({1, 2, 77}, "within the bounds"), ([1, 2, 3], "a set")],
    ids=repr,
)
def test_decisions_that_are_none_are_refused_and_another_may_follow(
    accepted: Any, says: str
) -> None:
    server = server_after(UPLOADS)
    _, query = query_of(server)
    shown = asked(authority(), query)
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, shown))
    with pytest.raises(InputRefused, match=says):
        server.submit(accepted)
    server.submit({1, 2, 3})
    assert [to for to, _ in server.to_send()] == [AUTHORITY]


# -- what the authority shows ----------------------------------------------------------------


def test_a_query_is_answered_once_and_a_sum_after_it() -> None:
    third = authority()
    assert asked(third, honest()).values.peers == [1, 2, 3, 4, 5]
    again = changed(honest(), nonce=bytes(32))
    with pytest.raises(RemoteProtocolError, match="second, different"):
        third.receive(SERVER, WHO.endpoint(SERVER).seal(AUTHORITY, again))
    third = authority()
    asked(third, honest())
    request = Request(contributors=listed(1, 3, 5), vector=summed(1, 3, 5))
    opened = asked(third, request)
    assert isinstance(opened, Opened)
    total = unpack(opened.total, LENGTH, 32)
    assert np.array_equal(total, vector(1) + vector(3) + vector(5))
    assert third.ended


def test_no_sum_is_opened_before_numbers_are_shown() -> None:
    request = Request(contributors=listed(1, 3, 5), vector=summed(1, 3, 5))
    with pytest.raises(RemoteProtocolError, match="Request is not due"):
        asked(authority(), request)


def test_no_sum_is_opened_over_clients_of_whom_nothing_was_shown() -> None:
    """The same request is answered after a query about all five."""
    blinded = np.split(unpack_residues(honest().blinded, words(5), KEYS), 5)
    three = changed(
        honest(),
        contributors=listed(1, 2, 3),
        blinded=pack_residues(np.concatenate(blinded[:3]), KEYS),
    )
    third = authority()
    assert asked(third, three).values.peers == [1, 2, 3]
    request = Request(contributors=listed(2, 3, 4), vector=summed(2, 3, 4))
    with pytest.raises(RemoteProtocolError, match="of whom nothing was shown"):
        asked(third, request)


def words(clients: int) -> int:
    return clients * SCHEME.combinations * KEYS.words


@pytest.mark.parametrize("included", [(), (1,), (1, 2)], ids=repr)
def test_numbers_of_fewer_than_the_least_are_not_shown(included: tuple[int, ...]) -> None:
    """Nor of a single client: the request is the same, and its list is short."""
    blinded = np.split(unpack_residues(honest().blinded, words(5), KEYS), 5)
    some = [np.zeros(0, "<u8"), *(blinded[party - 1] for party in included)]
    query = changed(
        honest(),
        contributors=listed(*included),
        blinded=pack_residues(np.concatenate(some), KEYS),
    )
    with pytest.raises(RemoteProtocolError, match="at least 3 are needed"):
        asked(authority(), query)


def test_signatures_for_another_context_are_no_list() -> None:
    other = WHO.again(number=2)
    stale = upload(3, vector(3), other)
    rows = {party: (UPLOADS[party].sealed, UPLOADS[party].signature) for party in (1, 2, 4, 5)}
    table = CONTRIBUTORS.table({**rows, 3: (stale.sealed, stale.signature)})
    with pytest.raises(RemoteProtocolError, match="contributor 3 is not for this context"):
        asked(authority(), changed(honest(), contributors=table))


@pytest.mark.parametrize("how", ["short", "long", "empty", "beyond"])
def test_combinations_of_another_size_reach_no_native_code(how: str) -> None:
    data = honest().blinded
    wrong = {"short": data[:-1], "long": data[:-1] + bytes(1 << 16), "empty": b"", "beyond": b""}
    blinded = b"\xff" * len(data) if how == "beyond" else wrong[how]
    with pytest.raises((RemoteProtocolError, DecodeError, ParameterError)) as caught:
        asked(authority(), changed(honest(), blinded=blinded))
    assert "CipherFailed" not in repr(caught.value)


def test_ciphertexts_of_another_client_or_key_are_unreadable() -> None:
    """In the place of client 2's: client 1's, which would be read by the wrong mask."""
    split = np.split(unpack_residues(honest().blinded, words(5), KEYS), 5)
    for other in (split[0], np.zeros_like(split[0]), foreign()):
        blinded = pack_residues(np.concatenate([split[0], other, *split[2:]]), KEYS)
        shown = asked(authority(), changed(honest(), blinded=blinded))
        assert shown.unreadable.peers == [2]
        assert shown.values.peers == [1, 3, 4, 5]


def foreign() -> np.ndarray:
    """Ciphertexts of zeros under the key of another project."""
    key = KeyAuthority.generate(SeededRand("stranger")).scheme(**SIZES, screen=SCHEME.screen)
    zeros = np.zeros((SCHEME.combinations, KEYS.degree), "<u8")
    return tenseal_cipher().encrypt(SCHEME.layout.ring, key.public_key, zeros)


def test_another_map_than_the_declared_one_shows_noise() -> None:
    """Numbers of a single slot, asked for in the place of the map's: the mask stays on them.

    The zeros are spared, so the authority answers; a server that can do that learns what is
    uniform, of all that is not in the span of the map.
    """
    shape = SCHEME.layout
    plain = np.uint64(shape.ring.plain)
    seed = SCHEME.seed(WHO.endpoint(SERVER).context, honest().nonce)
    slot_map = SCHEME.opened_map(seed)
    cipher, secret = tenseal_cipher(), KEEPER._pairs[KEYS].secret
    own = unpack_residues(UPLOADS[2].vector, shape.words, KEYS)
    masked = cipher.decrypt(shape.ring, secret, own)
    wanted = slot_map.combined(masked, plain)
    wanted[:, : shape.room - shape.zeros] = 0
    wanted[:, 0] = masked[0, 0]  # coordinate 0, and nothing else
    forged = cipher.encrypt(shape.ring, SCHEME.public_key, wanted)
    split = np.split(unpack_residues(honest().blinded, words(5), KEYS), 5)
    blinded = pack_residues(np.concatenate([split[0], forged, *split[2:]]), KEYS)
    shown = asked(authority(), changed(honest(), blinded=blinded))
    assert shown.values.peers == [1, 2, 3, 4, 5]
    numbers = np.frombuffer(shown.values.by_peer("value")[2], "<u8")
    # coordinate 0 is in the span: the row of the weight is of this slot. The others are not, and
    # those of half of the rows that have no part of this slot are 0: all are for one seed in 2**16
    assert int(numbers[0]) == 2
    centered = np.minimum(numbers[1:], plain - numbers[1:])
    assert np.max(centered) > 2.0 ** (int(plain).bit_length() - 9)


def test_what_the_authority_decrypts_is_uniform_to_it_but_for_zeros() -> None:
    """Two different vectors under the same blinds and masks differ; under fresh ones nothing does
    that it could test: every slot is some vector's, by some blind.
    """
    shape = SCHEME.layout
    residues = unpack_residues(honest().blinded, words(5), KEYS)
    slots = tenseal_cipher().decrypt(shape.ring, KEEPER._pairs[KEYS].secret, residues)
    one = slots.reshape(5, SCHEME.combinations, KEYS.degree)[1]
    blinds = blind(SeededRand("any")(32), SCHEME.combinations, shape)
    assert not blinds[:, shape.room - shape.zeros :].any()
    assert np.unique(blinds[:, : shape.room - shape.zeros]).size > 0.99 * blinds[:, :-2].size
    used = one[:, : shape.room - shape.zeros]
    assert np.unique(used).size > 0.99 * used.size
    assert 0.48 < used.astype(np.float64).mean() / shape.ring.plain < 0.52


def test_blinds_differ_between_clients_and_are_no_part_of_a_repr() -> None:
    machine = server_after(UPLOADS)
    state = machine._state
    seeds = state.blinds.column("seed")
    assert len(set(seeds)) == 5
    assert not any(seed.hex() in repr(state) or repr(seed) in repr(state) for seed in seeds)


# -- what the server takes -------------------------------------------------------------------


def test_answers_of_others_than_the_authority_are_not_taken() -> None:
    server = server_after(UPLOADS)
    _, query = query_of(server)
    shown = asked(authority(), query)
    server.receive(3, WHO.endpoint(3).seal(SERVER, shown))
    (event,) = events(server)
    assert isinstance(event, PeerRejected)
    assert "only the key authority" in event.reason
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, shown))
    assert isinstance(events(server)[0], Statistics)


@pytest.mark.parametrize("how", ["fewer", "strangers", "twice", "beyond", "cells"])
def test_numbers_that_no_authority_shows_end_the_round_by_name(how: str) -> None:
    server = server_after(UPLOADS)
    _, query = query_of(server)
    shown = asked(authority(), query)
    cells = {peer: (cell,) for peer, cell in shown.values.by_peer("value").items()}
    size, unreadable = SCHEME.limits.cell, set()
    if how in ("fewer", "strangers"):
        del cells[2]
    if how in ("strangers", "twice"):
        unreadable = {77} if how == "strangers" else {2}
    if how == "beyond":
        cells[2] = (b"\xff" * size,)
    if how == "cells":
        size -= 8
        cells = {peer: (cell[:-8],) for peer, (cell,) in cells.items()}
    forged = Shown(values=Columns(value=size).table(cells), unreadable=wire.ids(unreadable))
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, forged))
    found = events(server)
    assert isinstance(found[-1], Failed)
    assert isinstance(found[-1].error, Aborted)
    assert found[-1].error.culprits == {AUTHORITY}


def test_an_authority_that_does_not_answer_is_missing() -> None:
    server = server_after(UPLOADS)
    query_of(server)
    server.deadline()
    (failed,) = events(server)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Aborted)
    assert failed.error.missing == {AUTHORITY}


def test_a_sum_that_is_withheld_fails_by_name() -> None:
    server = server_after(UPLOADS)
    _, query = query_of(server)
    shown = asked(authority(), query)
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, shown))
    server.deadline()
    refused = Refused(culprits=wire.ids([4]))
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, refused))
    failed = events(server)[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Aborted)
    assert failed.error.culprits == {4}


# -- what a client insists on ----------------------------------------------------------------


def test_a_client_opens_nothing_unless_its_floors_say_so() -> None:
    silent = Floors(authority=SCHEME.authority)
    allowed = replace(silent, opened=SCHEME.opened)
    assert SCHEME.client(WHO.round, WHO.identities[1], 1, floors=allowed)
    with pytest.raises(ParameterError, match="opened <= 0 must hold for this client"):
        SCHEME.client(WHO.round, WHO.identities[1], 1, floors=silent)
    floors = replace(allowed, opened_of=2)
    with pytest.raises(ParameterError, match="opened_of >= 2"):
        SCHEME.client(WHO.round, WHO.identities[1], 1, floors=floors)


def test_contexts_with_and_without_a_screen_are_different_ones() -> None:
    plain = KEEPER.scheme(**SIZES, corrupt=0.0)
    more = KEEPER.scheme(**SIZES, corrupt=0.0, screen=FewDraws(bound=BOUND, rows=32))
    contexts = {
        WHO.round.context(scheme.code, scheme.encoded()) for scheme in (SCHEME, plain, more)
    }
    assert len(contexts) == 3
    with pytest.raises(ParameterError, match="screen is a SlotScreen"):
        KEEPER.scheme(**SIZES, screen=type("Any", (), {"plain_bits": 40})())


def test_a_query_of_another_parameter_set_is_of_another_context() -> None:
    """Or of another project: its frame is thrown away, and the right one is answered after."""
    more = KEEPER.scheme(**SIZES, corrupt=0.0, screen=FewDraws(bound=BOUND, max_weight=9, rows=32))
    stranger = KeyAuthority.generate(SeededRand("stranger"))
    foreign_scheme = stranger.scheme(**SIZES, corrupt=0.0, screen=SCREEN)
    third = authority()
    for scheme in (more, foreign_scheme):
        astray = Parties(scheme, WHO.round, WHO.identities, KEEPER)
        frame = astray.endpoint(SERVER).seal(AUTHORITY, honest())
        with pytest.raises(DecodeError, match="another round"):
            third.receive(SERVER, frame)
    assert asked(third, honest()).values.peers == [1, 2, 3, 4, 5]
