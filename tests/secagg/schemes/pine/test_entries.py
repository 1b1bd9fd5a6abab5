"""Whole rounds in which every entry is proven to be in its range: exact, and without the liars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import wire
from secagg.context import Round
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.event import Discarded, Failed, Finished, PeerRejected
from secagg.frame import HEADER_SIZE
from secagg.identity import SERVER, PartyId
from secagg.primitives.digest import Label
from secagg.primitives.field64 import MODULUS
from secagg.primitives.seal import seal
from secagg.schemes.pine import HELPER, Angle, Entries, PineScreen, Reference, TwoAggregators
from secagg.schemes.pine.messages import Report, Sum
from secagg.schemes.pine.report import bound_nonce, covered, relay_of, seal_info
from secagg.testing import SeededRand, make_round
from secagg.testing.parties import Parties
from secagg.vdaf.claim import claim

D, CLIENTS, BOUND = 24, 5, 1000
Liars = Mapping[PartyId, list[int]]


def scheme(normed: int = 0, bits: int = 1, **changes: Any) -> TwoAggregators:
    """`normed` residues with a norm of BOUND at most, then D entries."""
    fields: dict[str, Any] = {"clients": CLIENTS, "length": normed + D, "width": 32, "minimum": 3}
    bound = BOUND if normed else 0
    fields |= {"bound": bound, "corrupt": 0.0, "entries": Entries(count=D, bits=bits)}
    return TwoAggregators(**{**fields, **changes})


class Table:
    """A round of which the test carries the frames."""

    def __init__(self, made: TwoAggregators, seed: object = 0, round: Round | None = None) -> None:
        self.scheme, self.rand = made, SeededRand(("entries", seed))
        parties = make_round(made, SeededRand(("parties", made.length)))
        self.parties = Parties(made, round or parties.round, parties.identities)
        self.leader, self.helper = (self.parties.machine(p, self.rand) for p in (SERVER, HELPER))
        self.events: list[Any] = []

    def frame(self, client: PartyId, vector: np.ndarray) -> bytes:
        machine = self.parties.machine(client, self.rand)
        machine.submit(vector.astype(np.uint32))
        ((_, frame),) = machine.to_send()
        return frame

    def report(self, client: PartyId, vector: np.ndarray) -> Report:
        body = self.frame(client, vector)[HEADER_SIZE:-64]
        return wire.decode(Report, body, self.scheme.limits)

    def crafted(self, client: PartyId, elements: list[int], nonce: bytes | None = None) -> Report:
        """Of a client that shares any elements of the field where bits belong."""
        endpoint = self.parties.endpoint(client)
        vdaf = self.scheme.vdaf(endpoint.context)
        assert vdaf.entries is not None
        bits = vdaf.field.zeros(vdaf.entries.length)
        bits[: len(elements)] = vdaf.field.array(elements)
        claimed = vdaf.field.zeros(0)
        if vdaf.limits is not None:
            claimed = claim(vdaf.limits, np.zeros(vdaf.limits.dimension, np.int64))
        nonce, rand = nonce or self.rand(16), self.rand(vdaf.rand_size)
        public, shares = vdaf.shard_claim(claimed, bound_nonce(client, nonce), rand, bits)
        sealed = [
            seal(
                vdaf.encode_input_share(share),
                self.parties.round.roster.share_key(to),
                seal_info(endpoint.context, client, to, nonce),
            )
            for share, to in zip(shares, (SERVER, HELPER), strict=True)
        ]
        bare = Report(nonce=nonce, public=b"".join(public), for_leader=sealed[0],
                      for_helper=sealed[1], attested=bytes(64))  # fmt: skip
        return self.signed(client, bare)

    def signed(self, client: PartyId, report: Report) -> Report:
        endpoint = self.parties.endpoint(client)
        covers = endpoint.context, *covered(relay_of(client, report))
        return replace(report, attested=endpoint.attest(Label.REPORT, *covers))

    def deliver(self, client: PartyId, report: Report | bytes) -> None:
        if isinstance(report, Report):
            report = self.parties.endpoint(client).seal(SERVER, report)
        self.leader.receive(client, report)
        self.carry()

    def carry(self) -> None:
        while frames := [*self.leader.to_send(), *self.helper.to_send()]:
            for to, data in frames:
                machine, sender = (self.helper, SERVER) if to == HELPER else (self.leader, HELPER)
                machine.receive(sender, data)
        while (event := self.leader.next_event()) is not None:
            self.events.append(event)

    def finish(self) -> None:
        if not self.leader.ended:
            self.leader.deadline()
        self.carry()

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def sum(self) -> tuple[list[int], frozenset[PartyId], frozenset[PartyId]]:
        (finished,) = self.told(Finished)
        aggregate = finished.aggregate
        return aggregate.total.astype(np.int32).tolist(), aggregate.included, aggregate.refused


def vectors(made: TwoAggregators, seed: int = 0) -> dict[PartyId, np.ndarray]:
    rng, most = np.random.default_rng(seed), made.entries.most  # type: ignore[union-attr]
    reach = int(BOUND / max(1, made.normed) ** 0.5)
    return {
        client: np.concatenate(
            [rng.integers(-reach, reach + 1, made.normed), rng.integers(0, most + 1, D)]
        )
        for client in range(1, CLIENTS + 1)
    }


def summed(given: Mapping[PartyId, np.ndarray]) -> list[int]:
    return np.sum(list(given.values()), axis=0).tolist()


# -- sums ----------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1 << 20),
    bits=st.sampled_from([1, 2, 12]),
    normed=st.sampled_from([0, 9]),
    silent=st.sets(st.integers(1, CLIENTS), max_size=2),
)
def test_honest_vectors_sum_exactly(seed: int, bits: int, normed: int, silent: set[int]) -> None:
    made = scheme(normed, bits)
    table, given_ = Table(made, seed), vectors(made, seed)
    there = {client: vector for client, vector in given_.items() if client not in silent}
    for client, vector in there.items():
        table.deliver(client, table.frame(client, vector))
    table.finish()
    assert table.sum == (summed(there), there.keys(), frozenset())


def test_the_ends_of_the_range_sum_exactly() -> None:
    made = scheme(9, 31, width=64)
    table = Table(made)
    most = np.concatenate([np.zeros(9, np.int64), np.full(D, (1 << 31) - 1)])
    for client in range(1, CLIENTS + 1):
        machine = table.parties.machine(client, table.rand)
        machine.submit(most.astype(np.uint64))
        ((_, frame),) = machine.to_send()
        table.deliver(client, frame)
    (finished,) = table.told(Finished)
    assert finished.aggregate.total.tolist() == (CLIENTS * most).tolist()


def test_an_honest_client_refuses_what_is_out_of_range_before_anything_leaves() -> None:
    table = Table(scheme())
    for value in (2, -1, 1 << 31):
        vector = np.zeros(D, np.int64)
        vector[5] = value
        with pytest.raises(InputRefused, match="0 <= entry <= 1 must hold for every entry"):
            table.frame(1, vector)
    vector[5] = 1
    assert table.frame(1, vector)


# -- liars ---------------------------------------------------------------------------------------

LIES: dict[str, Liars] = {
    "two": {4: [2]},
    "minus one": {4: [-1]},
    "five, for a cell that four set": {4: [5]},
    "half of the field": {4: [(MODULUS + 1) // 2]},
    "two and minus one, a right sum of wrong entries": {4: [2, 0], 5: [-1, 1]},
    "halves that make one": {4: [(MODULUS + 1) // 2], 5: [(MODULUS + 1) // 2]},
    "all cells, ten times": {4: [10] * D},
}


@pytest.mark.parametrize("normed", [0, 9])
@pytest.mark.parametrize("name", LIES)
def test_liars_are_named_and_the_sum_is_that_of_the_others(name: str, normed: int) -> None:
    made = scheme(normed)
    table, given_ = Table(made, name), vectors(made)
    for client, vector in given_.items():
        if client in LIES[name]:
            table.deliver(client, table.crafted(client, LIES[name][client]))
        else:
            table.deliver(client, table.frame(client, vector))
    table.finish()
    there = {client: vector for client, vector in given_.items() if client not in LIES[name]}
    assert table.sum == (summed(there), there.keys(), LIES[name].keys())
    told = [(event.peer, event.reason) for event in table.told(PeerRejected)]
    says = "a proof does not verify: an entry is out of its range"
    assert told == [(client, says) for client in LIES[name]]


def test_the_crafted_report_of_bits_is_accepted() -> None:
    table = Table(scheme())
    table.deliver(1, table.crafted(1, [1, 0, 1]))
    for client in (2, 3):
        table.deliver(client, table.frame(client, np.zeros(D, np.int64)))
    table.finish()
    assert table.sum == ([1, 0, 1] + [0] * (D - 3), {1, 2, 3}, frozenset())


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def refused(table: Table, client: PartyId, report: Report) -> str:
    """Why the leader leaves this report out; the sum of the others is exact."""
    given_ = {each: v for each, v in vectors(table.scheme).items() if each != client}
    table.deliver(client, report)
    for other, vector in given_.items():
        table.deliver(other, table.frame(other, vector))
    table.finish()
    assert table.sum == (summed(given_), given_.keys(), {client})
    ((peer, reason),) = [(event.peer, event.reason) for event in table.told(PeerRejected)]
    assert peer == client
    return str(reason)


@pytest.mark.parametrize("normed", [0, 9])
@pytest.mark.parametrize(
    ("field", "at"),
    [("nonce", 7), *(("public", 32 * part) for part in range(4)), ("for_leader", 7),
     ("for_helper", 7)],
)  # fmt: skip
def test_a_tampered_report_is_refused_even_with_a_fresh_signature(
    field: str, at: int, normed: int
) -> None:
    """By both aggregators: where one took it, their sets would differ and the round would end."""
    table = Table(scheme(normed))
    report = table.report(4, vectors(table.scheme)[4])
    changed = {field: flip(getattr(report, field), at)}
    assert refused(table, 4, table.signed(4, replace(report, **changed)))


def test_the_shares_of_two_reports_do_not_verify_together() -> None:
    """Under one nonce, so that both open."""
    table = Table(scheme())
    nonce = bytes(range(16))
    mine, other = (table.crafted(4, bits, nonce) for bits in ([1, 0, 1], [0, 1, 1]))
    mixed = table.signed(4, replace(mine, for_helper=other.for_helper))
    assert "a proof does not verify" in refused(table, 4, mixed)
    again = Table(scheme())
    again.deliver(4, again.crafted(4, [1, 0, 1], nonce))
    assert again.told(PeerRejected) == []


def test_a_report_of_another_round_is_not_of_this_one() -> None:
    table = Table(scheme())
    there = Table(scheme(), round=replace(table.parties.round, number=9))
    report = there.report(4, vectors(there.scheme)[4])
    table.deliver(4, there.parties.endpoint(4).seal(SERVER, report))
    (event,) = table.told(Discarded)
    assert "another round" in event.reason
    assert "does not open" in refused(table, 4, table.signed(4, report))


def test_a_report_under_another_range_is_not_of_this_round() -> None:
    table, wide = Table(scheme()), Table(scheme(bits=2))
    table.deliver(4, wide.frame(4, vectors(wide.scheme)[4]))
    assert len(table.told(Discarded)) == 1
    table.deliver(4, table.frame(4, vectors(table.scheme)[4]))
    assert len(table.told(Discarded)) == 1


# -- aggregators ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "change", "fits"),
    [(9, 0, True), (9, CLIENTS, True), (9, CLIENTS + 1, False), (9, -1, False),
     (0, -CLIENTS * BOUND, True), (0, CLIENTS * BOUND + 1, False)],
)  # fmt: skip
def test_a_sum_beyond_what_the_inputs_add_up_to_is_withheld(
    place: int, change: int, fits: bool
) -> None:
    """All clients have zeros, and the helper adds something to its share."""
    made = scheme(9)
    table, zeros = Table(made), np.zeros(9 + D, np.int64)
    for client in range(1, CLIENTS + 1):
        table.leader.receive(client, table.frame(client, zeros))
        for kind in ("relay", "reply"):
            machine, other = table.leader, table.helper
            machine, other = (machine, other) if kind == "relay" else (other, machine)
            ((_, data),) = machine.to_send()
            other.receive(SERVER if kind == "relay" else HELPER, data)
    ((_, collect),) = table.leader.to_send()
    table.helper.receive(SERVER, collect)
    ((_, data),) = table.helper.to_send()
    field = made.vdaf(bytes(32)).field
    share = field.decode(wire.decode(Sum, data[HEADER_SIZE:-64], made.limits).share).copy()
    share[place] = (int(share[place]) + change) % MODULUS
    forged = Sum(share=field.encode(share))
    table.leader.receive(HELPER, table.parties.endpoint(HELPER).seal(SERVER, forged))
    table.carry()
    if fits:
        assert table.sum[0][place] == change
    else:
        (failed,) = table.told(Failed)
        assert isinstance(failed.error, IntegrityError)


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bound": 5}, "bound = 0 must stand where entries are the whole vector"),
        ({"length": D - 1}, "entries.count <= length must hold"),
        ({"length": D + 1}, "1 <= bound"),
        ({"entries": Entries(count=D, bits=31)}, r"clients \* \(2\*\*bits - 1\) < 2\*\*\(width"),
        ({"entries": 1}, "entries is an Entries"),
        ({"screen": PineScreen(norm=True)}, "a screen opens numbers of vectors without entries"),
        (
            {"angle": Angle(reference=Reference(np.ones(D, np.int64)), numerator=1, denominator=2)},
            "an angle is of a vector with a norm",
        ),
    ],
)
def test_what_cannot_be_proven_is_refused_with_its_inequality(
    changes: dict[str, Any], reason: str
) -> None:
    assert scheme().entries == Entries(count=D)
    with pytest.raises(ParameterError, match=reason):
        scheme(**changes)


@pytest.mark.parametrize(
    "fields", [{"count": 0}, {"count": 3.0}, {"count": 3, "bits": 0}, {"count": 3, "bits": 32}]
)
def test_entries_are_counted_in_integers(fields: dict[str, Any]) -> None:
    assert Entries(count=3, bits=31).most == (1 << 31) - 1
    with pytest.raises(ParameterError, match="must hold"):
        Entries(**fields)


class Plus:
    """Not noise: two more in each coordinate, below what entries can sum to with the other's."""

    def __init__(self, more: int) -> None:
        self.more = more

    def sample(self, size: int, rand: Any) -> np.ndarray:
        return np.full(size, self.more, np.int64)

    def __repr__(self) -> str:
        return f"Plus({self.more})"


@pytest.mark.parametrize("more", [3, -3])
def test_noise_covers_entries_too_and_then_no_range_is_checked(more: int) -> None:
    made = scheme(noise=Plus(more))
    table, given_ = Table(made), vectors(made)
    for client, vector in given_.items():
        table.deliver(client, table.frame(client, vector))
    assert table.sum[0] == [each + 2 * more for each in summed(given_)]


def test_an_angle_is_of_the_vector_before_the_entries() -> None:
    made = scheme(
        12, angle=Angle(reference=Reference(np.ones(12, np.int64)), numerator=1, denominator=4)
    )
    table = Table(made)
    with pytest.raises(InputRefused, match="with the reference must hold"):
        table.frame(1, np.concatenate([-np.ones(12, np.int64), np.ones(D, np.int64)]))
    towards = np.concatenate([np.full(12, 20), np.arange(D) % 2])
    for client in range(1, CLIENTS + 1):
        table.deliver(client, table.frame(client, towards))
    assert table.sum[0] == (CLIENTS * towards).tolist()


def test_two_claims_have_two_contexts() -> None:
    one, two = scheme(), scheme(bits=2)
    assert one.encoded() != two.encoded()
    assert (one.opened, (one.soundness_of_entries or 0) > 128) == (0, True)
    assert scheme(9, entries=None).soundness_of_entries is None
    assert one.derived == {"entry_chunk": one._sizes.entries.chunk}
    assert scheme(9).derived.keys() == {"chunks", "checks", "entry_chunk"}
