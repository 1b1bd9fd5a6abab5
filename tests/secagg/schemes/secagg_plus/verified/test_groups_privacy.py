"""Two sets of inputs with equal sums of groups give a malicious server one and the same view.

The proof of docs/spec/verified.md, run on whole rounds: masks are uniform, so if for other inputs
there are other masks under which everything that the server receives is the same, byte for byte,
it cannot tell the inputs apart. Masks are shifted where the streams are made, below the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.event import GroupStatistics
from secagg.identity import SERVER, PartyId
from secagg.primitives import prg, seal
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words
from secagg.schemes.secagg_plus import client as plain_client
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import Consent, Consents, Unmask
from secagg.schemes.secagg_plus.verified import OpenedMap, SecAggPlusVerified, derive
from secagg.schemes.secagg_plus.verified.hearing import proof_of
from secagg.schemes.secagg_plus.verified.messages import (
    ACCEPTED,
    DIGESTS,
    Accepted,
    Claim,
    Closing,
    Dispute,
    Draw,
    Edges,
    Sketches,
    Strike,
)
from secagg.testing import Hostile, Lie, SeededRand, Vanish, make_round, run
from secagg.testing.adversaries import Outgoing, honest, on, replacing
from secagg.testing.faults import Fault
from secagg.testing.network import Frame, Network, RunResult
from secagg.testing.secagg_plus.cells import rows_of, table_of
from secagg.testing.secagg_plus.courtroom import group_statistics
from secagg.testing.secagg_plus.toy import FixedGroups, ToyScreen
from secagg.testing.secagg_plus.verified import flipped
from secagg.wire import Message

Edge = tuple[PartyId, PartyId]

CORRUPT = 5
"""Its input and its masks are known to the server, and are the same in both rounds."""


def scheme(kind: type[SecAggPlusVerified] = SecAggPlusVerified) -> SecAggPlusVerified:
    """Twelve clients in three groups of four; few rows, so that the map has a kernel."""
    screen = ToyScreen(bound=1 << 13, rows=6, tables=1, buckets=4, group=4)
    return kind(clients=12, length=20, width=32, corrupt=1 / 12, dropout=1 / 3, screen=screen)


# -- rounds of which the masks can be shifted -----------------------------------------------------


@dataclass
class Masks:
    """Mask streams (length,) that are off by a shift, by their keys; and whose keys these are.

    An edge is a pair of ids in ascending order; the self mask of i is (i, i).
    """

    keys: dict[Edge, bytes] = field(default_factory=dict)
    shifts: dict[Edge, Words] = field(default_factory=dict)
    parcels: dict[tuple[bytes, bytes, bytes], bytes] = field(default_factory=dict)

    def shift(self, edge: Edge, by: Words) -> None:
        """The lower end adds the mask, the other one subtracts it."""
        self.shifts[edge] = self.shifts.get(edge, np.zeros_like(by)) + by

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """From now on, all mask streams come from here; and parcels repeat themselves."""
        encryptor, pair, own = prg.encryptor, transcript.mask_key, transcript.self_mask_key

        def shifted(key: bytes) -> Any:
            edge = next((edge for edge, known in self.keys.items() if known == key), None)
            by = None if edge is None else self.shifts.get(edge)
            return encryptor(key) if by is None else _Shifted(encryptor(key), by)

        def pair_key(secret: bytes, members: bytes, one: PartyId, other: PartyId) -> bytes:
            key = pair(secret, members, one, other)
            return self.keys.setdefault((min(one, other), max(one, other)), key)

        def own_key(seed: bytes, members: bytes, dealer: PartyId) -> bytes:
            return self.keys.setdefault((dealer, dealer), own(seed, members, dealer))

        def sealed(plaintext: bytes, recipient: bytes, info: bytes) -> bytes:
            name = plaintext, recipient, info
            if name not in self.parcels:
                self.parcels[name] = seal.seal(*name)
            return self.parcels[name]

        patch.setattr(prg, "encryptor", shifted)
        patch.setattr(transcript, "mask_key", pair_key)
        patch.setattr(transcript, "self_mask_key", own_key)
        patch.setattr(plain_client, "seal", sealed)


class _Shifted:
    """A stream cipher context whose key stream, as words, is off by `by` (length,)."""

    def __init__(self, source: Any, by: Words) -> None:
        stream = np.frombuffer(source.update(bytes(by.nbytes)), by.dtype)
        self._bytes, self._at = (stream + by).tobytes(), 0

    def update(self, zeros: bytes) -> bytes:
        self._at += len(zeros)
        return self._bytes[self._at - len(zeros) : self._at]

    def update_into(self, zeros: bytes, buffer: bytearray) -> None:
        buffer[: len(zeros)] = self.update(zeros)


Play = Callable[[Mapping[PartyId, Words]], RunResult]


def left_alone(*faults: Fault) -> Play:
    def play(inputs: Mapping[PartyId, Words]) -> RunResult:
        return run(scheme(), inputs, parties=make_round(scheme()), faults=faults)

    return play


def refusing(*refused: PartyId) -> Play:
    """They answered, and the server says that they did not."""

    def play(inputs: Mapping[PartyId, Words]) -> RunResult:
        parties = make_round(scheme())
        network = Network(parties, rand=SeededRand("run"))
        for party, value in inputs.items():
            network.submit(party, value)
        network.settle()
        network.submit(SERVER, set(parties.clients) - set(refused))
        network.finish({})
        return network.result()

    return play


# -- other inputs, and the masks that hide the difference -----------------------------------------


def kernel(opened_map: OpenedMap, rng: np.random.Generator) -> Words:
    """A vector (20,) that is not zero and of which the map makes zero: 2**31 times one that is even
    in every row, found by elimination modulo 2.
    """
    matrix = opened_map.of_words(list(np.eye(20, dtype=np.uint32))) & 1
    rows = np.concatenate([matrix, np.eye(20, dtype=np.uint32)], axis=1)
    for column in range(matrix.shape[1]):
        ones = np.flatnonzero(rows[:, column])
        if ones.size:
            rows[ones[1:]] ^= rows[ones[0]]
            rows = np.delete(rows, ones[0], axis=0)
    mixed = rng.integers(0, 2, len(rows)) @ rows[:, matrix.shape[1] :] % 2
    mixed = mixed if mixed.any() else rows[0, matrix.shape[1] :]
    return mixed.astype(np.uint32) << np.uint32(31)


def differences(
    result: RunResult, opened_map: OpenedMap, rng: np.random.Generator
) -> dict[PartyId, Words]:
    """How other inputs differ: anything for who is not in the sum; else so that the map makes the
    same of every group, and the sum is the same.
    """
    found = {p: rng.integers(0, 1 << 32, 20).astype(np.uint32) for p in result.parties.clients}
    found[CORRUPT] = np.zeros(20, np.uint32)
    groups = group_statistics(result).groups
    across = [kernel(opened_map, rng) for _ in groups[1:]]
    for group, rest in zip(
        groups, [-np.sum(across, axis=0, dtype=np.uint32), *across], strict=True
    ):
        *others, last = (peer for peer in group if peer != CORRUPT)
        found[last] = rest - np.sum([found[peer] for peer in others], axis=0, dtype=np.uint32)
    return found


def shift_masks(masks: Masks, result: RunResult, by: Mapping[PartyId, Words]) -> None:
    """Each client's masks come to `by` more, and nothing is shifted of which L was said."""
    groups = group_statistics(result).groups
    first = [next(peer for peer in group if peer != CORRUPT) for group in groups]
    for group, chosen in zip(groups, first, strict=True):
        honest = [peer for peer in group if peer != CORRUPT]
        for peer in honest:
            move(masks, chosen, peer, by[peer])
        move(masks, first[0], chosen, np.sum([by[p] for p in honest], axis=0, dtype=np.uint32))
    included = {peer for group in groups for peer in group}
    for peer in by.keys() - included:
        masks.shift((peer, peer), by[peer])


def move(masks: Masks, chosen: PartyId, peer: PartyId, by: Words) -> None:
    """The mask of `peer` with `chosen` comes to `by` more for it, and to as much less there."""
    if peer < chosen:
        masks.shift((peer, chosen), by)
    elif chosen < peer:
        masks.shift((chosen, peer), -by)


def heard(result: RunResult) -> list[Frame]:
    """All that the server, and the client it colludes with, receive or send."""
    return [f for f in result.frames if f.receiver in (SERVER, CORRUPT) or f.sender == SERVER]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "play",
    [
        left_alone(),
        left_alone(Vanish(7, Sketches)),
        left_alone(Vanish(7, Consent), Vanish(2, Unmask)),
        refusing(7),
    ],
    ids=["all stay", "one leaves", "two leave late", "one is said to have left"],
)
def test_nothing_but_sums_of_groups_can_be_told(
    play: Play, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, rng = Masks(), np.random.default_rng(seed)
    masks.install(monkeypatch)
    inputs = {p: rng.integers(0, 999, 20).astype(np.uint32) for p in range(1, 13)}
    result = play(inputs)
    opened_map = scheme().opened_map(group_statistics(result).seed)
    by = differences(result, opened_map, rng)
    shift_masks(masks, result, by)
    other = play({peer: inputs[peer] - by[peer] for peer in inputs})
    assert heard(other) == heard(result)
    assert other.aggregate is not None
    assert result.aggregate is not None
    assert other.aggregate.total.tolist() == result.aggregate.total.tolist()
    opened = opened_map.of_words([by[p] for p in sorted(by) if p != CORRUPT])
    assert opened.any(axis=1).all(), "what the map makes of each honest input is another"


@pytest.mark.parametrize("change", ["a group", "the map", "the sum"])
def test_sums_that_differ_are_told_apart(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive twin: where anything that is opened differs, so does what the server hears."""
    masks, rng = Masks(), np.random.default_rng(9)
    masks.install(monkeypatch)
    inputs = {p: rng.integers(0, 999, 20).astype(np.uint32) for p in range(1, 13)}
    result = left_alone()(inputs)
    by = differences(result, scheme().opened_map(group_statistics(result).seed), rng)
    shift_masks(masks, result, by)
    one, two = (next(p for p in g if p != CORRUPT) for g in group_statistics(result).groups[:2])
    more = np.ones(20, np.uint32)
    if change == "a group":  # and the sum is the same
        by[one], by[two] = by[one] + more, by[two] - more
        move(masks, one, two, -more)
    elif change == "the map":
        move(masks, one, two, more)
    else:
        by[one] = by[one] + more
    other = left_alone()({peer: inputs[peer] - by[peer] for peer in inputs})
    assert heard(other) != heard(result)


# -- a malicious server ---------------------------------------------------------------------------

VICTIM, MATE, PEER = 3, 6, 4
"""In `FixedGroups`, the victim and its mate are in one group, and the other is not."""


def told(lie: Lie, *faults: Fault, **lies: Lie) -> RunResult:
    """A round in which the server lies."""
    parties = make_round(scheme(FixedGroups))
    inputs = {p: np.full(20, p, np.uint32) for p in parties.clients}
    hostile = {SERVER: lie, **{int(name[1:]): each for name, each in lies.items()}}
    return run(parties.scheme, inputs, parties=parties, hostile=hostile, faults=faults)


def check_refused(result: RunResult, says: str, *never: type[Message]) -> None:
    error = result.errors[VICTIM]
    assert type(error) is RemoteProtocolError
    assert says in str(error)
    assert not {frame.kind for frame in result.frames_of(VICTIM)} & set(never)


def without(*gone: PartyId) -> Lie:
    """The victim is told of an accepted set without these, who are all attested."""

    def twist(_: Hostile, out: Outgoing) -> Accepted:
        assert isinstance(out.message, Accepted)
        cells = rows_of(out.message.included)
        kept = {peer: row for peer, row in cells.items() if peer not in gone}
        return Accepted(included=table_of(ACCEPTED, kept))

    return on(Accepted, replacing(twist), to=VICTIM)


@pytest.mark.parametrize("gone", [(MATE, 9), (1, 4), (2, 5, 8)], ids=repr)
def test_a_set_with_a_few_of_a_group_ends_its_victim(gone: tuple[PartyId, ...]) -> None:
    """Of its own group, or of another one."""
    says = f"{4 - len(gone)} clients of a group of which at least 3 must be, or none"
    check_refused(told(without(*gone)), says, Consent, Unmask)


@pytest.mark.parametrize("gone", [(), (MATE,), (1,), (1, 4, 7, 10), (2, 6, 7)], ids=repr)
def test_a_set_with_enough_of_each_group_is_signed(gone: tuple[PartyId, ...]) -> None:
    """The positive twin. The server's own set is another one: the others' signatures are on that,
    and the victim opens nothing.
    """
    result = told(without(*gone))
    assert len(result.frames_of(VICTIM, Consent)) == 1
    assert len(result.frames_of(VICTIM, Unmask)) == (not gone)


def other_uploads(_: Hostile, out: Outgoing) -> Draw:
    assert isinstance(out.message, Draw)
    cells = rows_of(out.message.uploads)
    del cells[PEER]
    return replace(out.message, uploads=table_of(DIGESTS, cells))


def test_whoever_was_shown_other_groups_is_in_no_sum() -> None:
    """One upload less is another draw: other groups, and another map. Who saw it is alone."""
    result = told(on(Draw, replacing(other_uploads), to=VICTIM))
    assert result.aggregate is not None, result.error
    assert VICTIM not in result.aggregate.included
    assert not result.frames_of(VICTIM, Consent)


def test_an_old_accepted_set_is_refused() -> None:
    """A genuine one, of a round before: its signatures are on another draw."""
    parties = make_round(scheme(FixedGroups))
    inputs = {p: np.full(20, p, np.uint32) for p in parties.clients}
    before: list[Accepted] = []

    def keep(_: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Accepted)
        before.append(out.message)
        return out.message

    first = run(parties.scheme, inputs, parties=parties,
                hostile={SERVER: on(Accepted, replacing(keep), to=VICTIM)})  # fmt: skip
    assert first.aggregate is not None
    again = on(Accepted, replacing(lambda *_: before[0]), to=VICTIM)
    check_refused(told(again), "was shown another draw", Consent, Unmask)


def asking(peer: PartyId) -> Lie:
    """Before the accepted set, the victim is told that `peer` contradicts it."""

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        drawn = liar.state.drawn  # type: ignore[attr-defined]
        cells = rows_of(derive.value_digests(drawn.values[PEER]))
        cells[VICTIM]["digest"] = flipped(cells[VICTIM]["digest"])
        digests = table_of(DIGESTS, cells)
        signature = liar.parties.endpoint(peer).attest(
            Label.ATTEST_SKETCHES, drawn.transcript, derive.root(digests)
        )
        claim = Claim(attestation=signature, digests=digests)
        yield out.to, liar.seal(out.to, Dispute(claims={peer: claim}))
        yield from honest(liar, out)

    return on(Accepted, lie, to=VICTIM)


@pytest.mark.parametrize("peer", [VICTIM, MATE], ids=["itself", "its group"])
def test_no_edge_inside_a_group_is_opened(peer: PartyId) -> None:
    """Not even with one that colludes, and signs that it is in conflict."""
    check_refused(told(asking(peer)), "no value was due", Edges, Consent, Unmask)


def test_an_edge_to_a_proven_liar_of_another_group_is_opened() -> None:
    """The positive twin."""
    result = told(asking(PEER))
    (frame,) = result.frames_of(VICTIM, Edges)
    assert frame.kind is Edges


@pytest.mark.parametrize("kind", [Draw, Accepted, Consents, Closing])
def test_the_same_message_signed_anew_is_no_attack(kind: type) -> None:
    result = told(on(kind, replacing(lambda _, out: out.message), to=VICTIM))
    assert result.aggregate is not None
    assert not result.errors


def test_no_share_is_opened_after_the_sum() -> None:
    """Of one that colludes, and was proven to lie before: a second secret of it stays closed."""

    kept: list[Any] = []  # states in which the server took the shares: at the end it has none

    def convicting(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        if isinstance(out.message, Consents):
            kept.append(liar.state)
        if not isinstance(out.message, Closing) or out.to != VICTIM:
            yield from honest(liar, out)
            return
        proof = proof_of(kept[0].drawn, PEER, VICTIM, bytes(32))
        yield out.to, liar.seal(out.to, replace(out.message, proofs={PEER: proof}))

    check_refused(told(convicting), "all lies are found before", Strike)


def test_the_server_reports_the_groups_with_the_sum() -> None:
    result = told(honest)
    kinds = [type(event) for event in result.events[SERVER]]
    assert kinds[-2] is GroupStatistics
