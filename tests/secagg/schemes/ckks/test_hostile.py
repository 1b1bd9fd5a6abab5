"""Aggregators, clients and authorities that lie: a sum of enough contributors, or a named error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tenseal")

from secagg import wire
from secagg.errors import (
    Aborted,
    CipherFailed,
    DecodeError,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import AUTHORITY, SERVER, Identity
from secagg.machine import Failed, Finished, Machine, PeerRejected
from secagg.primitives.ring import unpack
from secagg.schemes.ckks import EncryptedExact, KeyAuthority
from secagg.schemes.ckks.binding import open_seeds, seal_seed, sign
from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.params import tenseal_cipher
from secagg.schemes.ckks.residues import Residues, add, pack_residues, unpack_residues
from secagg.schemes.ckks.ring import PlainRing
from secagg.testing.network import Network, plain_sum, run
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand

KEEPER = KeyAuthority.generate(SeededRand("keeper"))
SCHEME = KEEPER.scheme(clients=5, length=9, width=24, corrupt=0.0, dropout=0.4)
KEYS = SCHEME.layout.ring.keys
VECTORS = {party: np.arange(9, dtype=np.uint32) * party for party in range(1, 6)}


def parties(scheme: EncryptedExact = SCHEME, **changes: Any) -> Parties:
    made = make_round(scheme, SeededRand("hostile"), authority=KEEPER)
    return made.again(**changes) if changes else made


def uploads(who: Parties) -> dict[int, Upload]:
    found = {}
    for party in who.clients:
        machine = who.machine(party, SeededRand(repr(("client", party))))
        machine.submit(VECTORS[party])
        ((_, frame),) = machine.to_send()
        body = frame[HEADER_SIZE:-SIGNATURE_SIZE]
        found[party] = wire.decode(Upload, body, who.scheme.limits)
    return found


WHO = parties()
UPLOADS = uploads(WHO)


def summed(*included: int) -> bytes:
    words = SCHEME.layout.words
    total = np.zeros(words, "<u8")
    for party in included:
        add(total, unpack_residues(UPLOADS[party].vector, words, KEYS), KEYS)
    return pack_residues(total, KEYS)


def listed(*included: int) -> wire.Table:
    rows = {party: (UPLOADS[party].sealed, UPLOADS[party].signature) for party in included}
    return CONTRIBUTORS.table(rows)


def ask(
    contributors: wire.Table, vector: bytes, who: Parties = WHO
) -> tuple[Machine[Any], list[Any]]:
    """The authority after this request, and what it answered."""
    machine = who.machine(AUTHORITY, SeededRand("authority"))
    request = Request(contributors=contributors, vector=vector)
    machine.receive(SERVER, who.endpoint(SERVER).seal(AUTHORITY, request))
    server = who.endpoint(SERVER)
    frames = machine.to_send()
    answers = [server.open(server.authenticate(frame), frame).message for _, frame in frames]
    return machine, answers


# -- what the authority opens ------------------------------------------------------------------


@pytest.mark.parametrize("included", [(1, 2, 3, 4, 5), (1, 3, 5), (2, 3, 4, 5)])
def test_a_sum_with_its_list_is_opened(included: tuple[int, ...]) -> None:
    machine, (answer,) = ask(listed(*included), summed(*included))
    assert isinstance(answer, Opened)
    total = unpack(answer.total, SCHEME.length, SCHEME.width)
    assert total.tolist() == plain_sum(SCHEME, VECTORS, frozenset(included)).tolist()
    assert isinstance(machine.next_event(), Finished)


@pytest.mark.parametrize("included", [(), (1,), (1, 2)])
def test_fewer_than_the_least_are_refused(included: tuple[int, ...]) -> None:
    """Of one client's ciphertext too, if that is all that the list has."""
    with pytest.raises(RemoteProtocolError, match="at least 3 are needed"):
        ask(listed(*included), summed(*included))


@pytest.mark.parametrize("shown", [(1,), (1, 2), (1, 2, 3, 4), (1, 1, 1), (1, 2, 2), ()])
def test_ciphertexts_of_others_than_the_list_are_not_opened(shown: tuple[int, ...]) -> None:
    """A single client's ciphertext under a full list: the masks do not cancel."""
    machine, (answer,) = ask(listed(1, 2, 3), summed(*shown))
    assert answer == Refused(culprits=wire.ids(()))
    event = machine.next_event()
    assert isinstance(event, Failed)
    assert isinstance(event.error, IntegrityError)


def test_one_block_of_a_single_client_is_seen() -> None:
    """The rest of the vector is honest; each block has zeros of its own."""
    scheme = KEEPER.scheme(clients=5, length=9000, width=24, corrupt=0.0, dropout=0.4)
    who = parties(scheme)
    keys, words = scheme.layout.ring.keys, scheme.layout.words
    assert scheme.layout.blocks >= 2
    vector = np.arange(9000, dtype=np.uint32)
    sent = {}
    for party in (1, 2, 3):
        machine = who.machine(party, SeededRand(party))
        machine.submit(vector)
        ((_, frame),) = machine.to_send()
        sent[party] = wire.decode(Upload, frame[HEADER_SIZE:-SIGNATURE_SIZE], scheme.limits)
    blocks = {party: unpack_residues(each.vector, words, keys) for party, each in sent.items()}
    total = np.zeros(words, "<u8")
    for each in blocks.values():
        add(total, each, keys)
    table = CONTRIBUTORS.table({p: (each.sealed, each.signature) for p, each in sent.items()})
    _, (answer,) = ask(table, pack_residues(total, keys), who)
    assert isinstance(answer, Opened)
    total[: keys.words] = blocks[1][: keys.words]
    _, (answer,) = ask(table, pack_residues(total, keys), who)
    assert answer == Refused(culprits=wire.ids(()))


def test_a_second_request_is_refused() -> None:
    machine, answers = ask(listed(1, 2, 3), summed(1, 2, 3))
    assert isinstance(answers[0], Opened)
    second = Request(contributors=listed(1, 2, 3, 4), vector=summed(1, 2, 3, 4))
    with pytest.raises(RemoteProtocolError, match="second, different"):
        machine.receive(SERVER, WHO.endpoint(SERVER).seal(AUTHORITY, second))
    assert machine.to_send() == []


def test_the_same_request_again_changes_nothing() -> None:
    machine = WHO.machine(AUTHORITY, SeededRand("authority"))
    request = Request(contributors=listed(1, 2, 3), vector=summed(1, 2, 3))
    frame = WHO.endpoint(SERVER).seal(AUTHORITY, request)
    machine.receive(SERVER, frame)
    assert len(machine.to_send()) == 1
    machine.receive(SERVER, frame)
    assert machine.to_send() == []


def test_two_machines_release_the_same_value_for_one_input() -> None:
    """Decryption is exact: no noise of a ciphertext, fresh or not, is in what leaves."""
    one, other = (ask(listed(1, 2, 3), summed(1, 2, 3))[1] for _ in range(2))
    assert one == other
    again = uploads(WHO)
    words = SCHEME.layout.words
    total = np.zeros(words, "<u8")
    for party in (1, 2, 3):
        add(total, unpack_residues(again[party].vector, words, KEYS), KEYS)
    assert pack_residues(total, KEYS) != summed(1, 2, 3)
    rows = {party: (again[party].sealed, again[party].signature) for party in (1, 2, 3)}
    assert ask(CONTRIBUTORS.table(rows), pack_residues(total, KEYS))[1] == one


def test_a_signature_for_another_context_is_no_contribution() -> None:
    """A list of an earlier round, and one with a row of it."""
    other = parties(number=2)
    with pytest.raises(RemoteProtocolError, match="not for this context"):
        ask(listed(1, 2, 3), summed(1, 2, 3), other)
    stale = uploads(other)[3]
    rows = {p: (UPLOADS[p].sealed, UPLOADS[p].signature) for p in (1, 2)}
    with pytest.raises(RemoteProtocolError, match="contributor 3 is not for this context"):
        ask(CONTRIBUTORS.table({**rows, 3: (stale.sealed, stale.signature)}), summed(1, 2, 3))


def test_rows_by_the_aggregator_itself_or_by_strangers_do_not_count() -> None:
    rows = {p: (UPLOADS[p].sealed, UPLOADS[p].signature) for p in (1, 2)}
    server = WHO.endpoint(SERVER)
    sealed = seal_seed(bytes(32), SCHEME.share_key[:32], server)
    for stranger in (SERVER, AUTHORITY, 77):
        table = CONTRIBUTORS.table({**rows, stranger: (sealed, sign(sealed, server))})
        with pytest.raises(RemoteProtocolError, match=f"contributor {stranger} is not a client"):
            ask(table, summed(1, 2))


def test_a_seed_that_was_sealed_for_another_client_opens_nothing() -> None:
    """A client hands in what another one sealed: named, and nothing is opened."""
    stolen = UPLOADS[1].sealed
    rows = {p: (UPLOADS[p].sealed, UPLOADS[p].signature) for p in (1, 2)}
    row = (stolen, sign(stolen, WHO.endpoint(3)))
    _, (answer,) = ask(CONTRIBUTORS.table({**rows, 3: row}), summed(1, 2, 3))
    assert answer == Refused(culprits=wire.ids([3]))


@pytest.mark.parametrize(
    "vector", [bytes(SCHEME.layout.size - 1), bytes(SCHEME.layout.size + 1), b""], ids=len
)
def test_a_vector_of_another_size_ends_the_authority(vector: bytes) -> None:
    with pytest.raises((RemoteProtocolError, DecodeError)):
        ask(listed(1, 2, 3), vector)


def test_residues_beyond_their_prime_reach_no_native_code() -> None:
    with pytest.raises(RemoteProtocolError, match="not below its prime"):
        ask(listed(1, 2, 3), b"\xff" * SCHEME.layout.size)


def test_only_the_server_asks() -> None:
    machine = WHO.machine(AUTHORITY, SeededRand("authority"))
    request = Request(contributors=listed(1, 2, 3), vector=summed(1, 2, 3))
    with pytest.raises(DecodeError, match="does not speak to"):
        machine.receive(1, WHO.endpoint(1).seal(AUTHORITY, request))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, SCHEME.layout.words - 1), st.integers(1, (1 << KEYS.bits) - 1))
def test_a_changed_sum_is_opened_as_what_it_was_or_not_at_all(at: int, change: int) -> None:
    """Little enough is noise, and rounded away; more is in every slot, and so in the zeros."""
    words = SCHEME.layout.words
    residues = unpack_residues(summed(1, 2, 3), words, KEYS)
    prime = KEYS.primes[at // KEYS.degree % KEYS.count]
    residues[at] = (int(residues[at]) + change) % prime
    _, (answer,) = ask(listed(1, 2, 3), pack_residues(residues, KEYS))
    if isinstance(answer, Opened):
        total = unpack(answer.total, SCHEME.length, SCHEME.width)
        assert total.tolist() == plain_sum(SCHEME, VECTORS, frozenset((1, 2, 3))).tolist()
    else:
        assert answer == Refused(culprits=wire.ids(()))


@pytest.mark.parametrize(("change", "kind"), [(1, Opened), (1 << (KEYS.bits - 1), Refused)])
def test_both_occur(change: int, kind: type[wire.Message]) -> None:
    residues = unpack_residues(summed(1, 2, 3), SCHEME.layout.words, KEYS)
    residues[5] = (int(residues[5]) + change) % KEYS.primes[0]
    _, (answer,) = ask(listed(1, 2, 3), pack_residues(residues, KEYS))
    assert isinstance(answer, kind)


def test_what_one_client_encrypts_is_masked() -> None:
    """Decrypted by itself it is noise; only without its own stream is it the client's vector."""
    seeds = open_seeds(listed(1, 2, 3), WHO.endpoint(AUTHORITY))
    shape = SCHEME.layout
    residues = unpack_residues(UPLOADS[2].vector, shape.words, KEYS)
    secret = KEEPER._pairs[KEYS].secret
    masked = tenseal_cipher().decrypt(shape.ring, secret, residues)
    assert shape.opened(masked, 1) is None
    assert np.unique(masked).size > 0.9 * masked.size
    for party, expected in ((2, VECTORS[2].tolist()), (1, None)):
        without = masked.copy()
        add_masks(without, shape.ring.plain, minus=[seeds[party] or b""])
        found = shape.opened(without, 1)
        assert (None if found is None else found.tolist()) == expected


def test_what_the_authority_decrypts_says_no_more_than_the_sum() -> None:
    """Without the masks of the list it has the signed sums, the same for all that sum alike."""
    shape = SCHEME.layout
    top = (1 << SCHEME.width - 1) // 3
    inputs = [(top, -top, 5), (1, 2, 2), (-top, top, 5), (5, 0, 0)]
    seen = []
    for values in inputs:
        total = np.zeros((shape.blocks, shape.ring.keys.degree), "<u8")
        seeds = [bytes([at]) * 32 for at in range(3)]
        for value, seed in zip(values, seeds, strict=True):
            vector = np.full(SCHEME.length, value & ((1 << SCHEME.width) - 1), np.uint32)
            slots = shape.slots(shape.padded_vector(vector))
            add_masks(slots, shape.ring.plain, plus=[seed])
            total = (total + slots) % np.uint64(shape.ring.plain)
        add_masks(total, shape.ring.plain, minus=seeds)
        found = shape.opened(total, 3)
        assert found is not None
        assert found.tolist() == [5] * SCHEME.length
        seen.append(total.tobytes())
    assert len(set(seen)) == 1


# -- what the aggregator takes -----------------------------------------------------------------


def told(change: Callable[[Upload], Upload]) -> list[Any]:
    """What the server says of client 2's upload, changed and then signed by client 2."""
    server = WHO.machine(SERVER, SeededRand("server"))
    server.receive(2, WHO.endpoint(2).seal(SERVER, change(UPLOADS[2])))
    events = []
    while (event := server.next_event()) is not None:
        events.append(event)
    return events


def changed(**fields: Any) -> Callable[[Upload], Upload]:
    return lambda upload: Upload(
        **{
            "sealed": upload.sealed,
            "signature": upload.signature,
            "vector": upload.vector,
            **fields,
        }
    )


def test_an_honest_upload_is_taken() -> None:
    assert told(lambda upload: upload) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"vector": UPLOADS[2].vector[:-1]}, "malformed Upload"),
        ({"vector": b"\xff" * SCHEME.layout.size}, "not below its prime"),
        ({"signature": bytes(64)}, "not for this context"),
        ({"sealed": UPLOADS[1].sealed}, "not for this context"),
    ],
    ids=["truncated", "beyond", "unsigned", "swapped"],
)
def test_a_malformed_upload_rejects_its_sender(fields: dict[str, Any], reason: str) -> None:
    (event,) = told(changed(**fields))
    assert isinstance(event, PeerRejected)
    assert event.peer == 2
    assert reason in event.reason


def test_a_ciphertext_of_other_parameters_never_meets_the_others() -> None:
    """Another number of slots, another project: other contexts, whose frames are thrown away."""
    wider = KEEPER.scheme(clients=5, length=9, width=40, corrupt=0.0, dropout=0.4)
    stranger = KeyAuthority.generate(SeededRand("stranger"))
    foreign = stranger.scheme(clients=5, length=9, width=24, corrupt=0.0, dropout=0.4)
    inputs = {party: VECTORS[party] for party in WHO.clients}
    for scheme in (wider, foreign):
        astray = Parties(scheme, WHO.round, WHO.identities, KEEPER)
        network = Network(WHO, astray={2: astray}, rand=SeededRand("astray"))
        for party, vector in inputs.items():
            lost = party == 2
            network.submit(party, vector.astype("<u8") if lost and scheme is wider else vector)
        network.finish({})
        aggregate = network.result().aggregate
        assert aggregate is not None
        assert aggregate.included == frozenset({1, 3, 4, 5})
        assert aggregate.total.tolist() == plain_sum(SCHEME, VECTORS, aggregate.included).tolist()


def test_drop_outs_are_free() -> None:
    """Whoever is missing, nobody else sends a byte more."""
    everybody = run(SCHEME, VECTORS, parties=WHO)
    few = run(SCHEME, {p: VECTORS[p] for p in (1, 2, 4)}, parties=WHO)
    for party in (1, 2, 4):
        assert few.sent[party] == everybody.sent[party]
    assert few.aggregate is not None
    assert few.aggregate.included == frozenset({1, 2, 4})
    assert few.aggregate.dropped == {"upload": frozenset({3, 5})}


def test_clients_cannot_play_the_authority() -> None:
    server = WHO.machine(SERVER, SeededRand("server"))
    for party in WHO.clients:
        server.receive(party, WHO.endpoint(party).seal(SERVER, UPLOADS[party]))
    assert server.expected == {AUTHORITY}
    forged = Opened(total=bytes(27))
    server.receive(4, WHO.endpoint(4).seal(SERVER, forged))
    event = server.next_event()
    assert isinstance(event, PeerRejected)
    assert "only the key authority" in event.reason
    assert server.expected == {AUTHORITY}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Refused(culprits=wire.ids(())), IntegrityError),
        (Refused(culprits=wire.ids([3])), Aborted),
        (Refused(culprits=wire.ids([3, 77])), Aborted),
        (Opened(total=b"short"), Aborted),
    ],
    ids=["garbage", "culprits", "stranger", "malformed"],
)
def test_without_a_sum_the_round_fails_by_name(answer: Any, kind: type[Exception]) -> None:
    server = WHO.machine(SERVER, SeededRand("server"))
    for party in WHO.clients:
        server.receive(party, WHO.endpoint(party).seal(SERVER, UPLOADS[party]))
    server.receive(AUTHORITY, WHO.endpoint(AUTHORITY).seal(SERVER, answer))
    events = []
    while (event := server.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, kind)
    assert server.ended


def test_the_authority_is_no_client() -> None:
    """Its upload does not count towards the least number of inputs; a third client's does."""
    endpoint = WHO.endpoint(AUTHORITY)
    sealed = seal_seed(bytes(32), SCHEME.share_key[:32], endpoint)
    upload = changed(sealed=sealed, signature=sign(sealed, endpoint))(UPLOADS[3])
    for third, asked in ((AUTHORITY, []), (3, [AUTHORITY])):
        server = WHO.machine(SERVER, SeededRand("server"))
        for party in (1, 2):
            server.receive(party, WHO.endpoint(party).seal(SERVER, UPLOADS[party]))
        sent = upload if third == AUTHORITY else UPLOADS[3]
        server.receive(third, WHO.endpoint(third).seal(SERVER, sent))
        rejected = server.next_event()
        assert (isinstance(rejected, PeerRejected) and rejected.peer) == (
            third == AUTHORITY and third
        )
        server.deadline()
        assert [to for to, _ in server.to_send()] == asked


def test_an_authority_that_is_silent_is_missing() -> None:
    server = WHO.machine(SERVER, SeededRand("server"))
    for party in WHO.clients:
        server.receive(party, WHO.endpoint(party).seal(SERVER, UPLOADS[party]))
    server.deadline()
    event = server.next_event()
    assert isinstance(event, Failed)
    assert isinstance(event.error, Aborted)
    assert event.error.missing == {AUTHORITY}


AGGREGATOR = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tenseal", "zstandard"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
from secagg.schemes.ckks.params import EncryptedExact
from secagg.schemes.ckks.residues import unpack_residues
from secagg.errors import DecodeError, ParameterError
from secagg.schemes.ckks import KeyAuthority
try:
    KeyAuthority.generate().scheme(clients=5, length=9, width=24)
except ParameterError as error:
    print(error)
print(any("tenseal" in name for name in sys.modules if sys.modules[name]))
"""


def test_the_aggregator_needs_no_native_code() -> None:
    """Without TenSEAL installed the package imports; who needs it is told how to get it."""
    done = subprocess.run(
        [sys.executable, "-c", AGGREGATOR], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["TenSEAL is missing: pip install 'secagg[he]'", "False"]


# -- what is refused before a round ------------------------------------------------------------


def fields(**changes: Any) -> dict[str, Any]:
    names = ("clients", "length", "width", "authority_identity", "share_key", "public_key")
    return {**{name: getattr(SCHEME, name) for name in names}, "corrupt": 0.0, **changes}


def test_keys_that_do_not_fit_are_refused() -> None:
    assert EncryptedExact(**fields())
    other = Identity.generate(SeededRand("other"))
    for changes in (
        {"public_key": b""},
        {"public_key": SCHEME.public_key[:-1]},
        {"public_key": b"\xff" * len(SCHEME.public_key)},
        {"width": 40},
        {"share_key": other.share_key},
        {"authority_identity": other.public},
        {"dropout": 0.8},
        {"corrupt": 0.6},
    ):
        with pytest.raises(ParameterError):
            EncryptedExact(**fields(**changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 0), ("width", "x"), ("clients", 1.5), ("clients", "5"), ("clients", -3),
     ("length", 0), ("length", None)],
)  # fmt: skip
def test_sizes_are_checked_before_a_key_is_made(name: str, value: Any) -> None:
    unused = KeyAuthority.generate(SeededRand("unused"), cipher=Broken)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=rf"{name}.* must"):
        unused.scheme(**{"clients": 5, "length": 9, "width": 24, name: value})
    assert KEEPER.scheme(clients=5, length=9, width=24, corrupt=0.0).width == 24


def test_another_authority_opens_nothing() -> None:
    stranger = KeyAuthority.generate(SeededRand("stranger"))
    with pytest.raises(ParameterError, match="another authority"):
        stranger.machine(SCHEME, WHO.round)
    assert KEEPER.machine(SCHEME, WHO.round).me == AUTHORITY


def test_secrets_of_an_authority_are_not_shown() -> None:
    assert KEEPER.identity.to_bytes().hex()[:16] not in repr(KEEPER)
    assert "secret" not in repr(KEEPER)
    with pytest.raises(TypeError):
        KEEPER.__reduce_ex__(2)


class Broken:
    """A cipher that fails as native code does."""

    def __init__(self) -> None:
        self.calls = 0

    def decrypt(self, ring: PlainRing, secret: bytes, residues: Residues) -> Slots:
        self.calls += 1
        raise CipherFailed("the native code died")


def test_a_cipher_that_fails_opens_nothing_and_leaves_the_authority_as_it_was() -> None:
    broken = Broken()
    secret = KEEPER._pairs[KEYS].secret
    machine = SCHEME.authority_machine(WHO.round, KEEPER.identity, secret, broken)  # type: ignore[arg-type]
    before = machine.snapshot()
    request = Request(contributors=listed(1, 2, 3), vector=summed(1, 2, 3))
    with pytest.raises(CipherFailed):
        machine.receive(SERVER, WHO.endpoint(SERVER).seal(AUTHORITY, request))
    assert broken.calls == 1
    assert machine.to_send() == []
    whole = KEEPER.machine(SCHEME, WHO.round, snapshot=before)
    whole.receive(SERVER, WHO.endpoint(SERVER).seal(AUTHORITY, request))
    assert isinstance(whole.next_event(), Finished)


def test_a_client_submits_once() -> None:
    machine = WHO.machine(1, SeededRand("once"))
    machine.submit(VECTORS[1])
    with pytest.raises(LocalProtocolError):
        machine.submit(VECTORS[1])


def test_one_input_looks_different_every_time() -> None:
    alike = uploads(WHO)[1].vector, UPLOADS[1].vector
    same = np.mean(np.frombuffer(alike[0], np.uint8) == np.frombuffer(alike[1], np.uint8))
    assert same < 0.05
