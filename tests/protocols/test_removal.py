"""Removal of excess noise: what stays is exactly what is promised, whatever a client sends."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest

from dp.layers import ByLayers
from dp.mechanism import ByServer, Mechanism
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from protocols import (
    CentralNoise,
    ClientJournal,
    ClientRound,
    DistributedNoise,
    Invitation,
    Result,
    RoundPlan,
    ServerRound,
)
from protocols.private import Private
from protocols.removal import Excess, endpoint, is_excess
from protocols.simulate import Population, run_round
from secagg import wire
from secagg.errors import LocalProtocolError, ParameterError, RemoteProtocolError
from secagg.frame import parse_header
from secagg.identity import SERVER, Identity
from secagg.machine import Discarded, Finished
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import centered, check_vector, word
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.schemes.secagg_plus.messages import SURVIVORS, Survivors

CLIENTS = 8  # of which 1 may collude and 2 may be missing: h = 5, levels 0, 1, 2
SIZE = 50
KNOWING = (SecAggPlus, SecAggPlusSemiHonest)
SURVIVORS_CODE, UNMASK_CODE = 6, 9


def plan(scheme: Any = SecAggPlus, *, removal: bool = True, **options: Any) -> RoundPlan:
    fractions = {} if scheme is PlainInsecure else {"corrupt": 0.13}
    return RoundPlan.for_update(
        {"w": np.zeros(SIZE)},
        clients=CLIENTS,
        clip=NormClip(1.0),
        scheme=scheme,
        privacy=DistributedNoise(multiplier=1.0, removal=removal, **options),
        dropout=0.26,
        **fractions,
    )


def update(client: int) -> dict[str, np.ndarray]:
    vector = np.random.default_rng(client).normal(size=SIZE)
    return {"w": vector / np.linalg.norm(vector)}


def mechanism(private: RoundPlan) -> Mechanism:
    assert private.removable is not None
    return private.removable


def layers(private: RoundPlan) -> ByLayers:
    noise = mechanism(private).noise
    assert isinstance(noise, ByLayers)
    return noise


@pytest.fixture(scope="module")
def people() -> Population:
    return Population.generate(range(1, CLIENTS + 1))


class Tape:
    """A source of randomness that remembers what it gave since it was last asked."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.drawn.append(os.urandom(size))
        return self.drawn[-1]

    def rewound(self) -> list[bytes]:
        drawn, self.drawn = self.drawn, []
        return drawn


@dataclass
class Parts:
    """One client's integers, taken apart: what it rounded to, and each of its layers."""

    rounded: np.ndarray
    layers: list[np.ndarray]
    key: bytes = field(repr=False)


def chain(key: bytes, count: int) -> list[tuple[bytes, bytes]]:
    """(state, key) of the layers above 0, by the formula of the specification."""
    found = []
    for _ in range(count):
        both = blake2b(b"", key=key, digest_size=64, person=b"dp noise layers.").digest()
        found.append((key, both[:32]))
        key = both[32:]
    return found


def taken_apart(private: RoundPlan, tree: Any, context: bytes, drawn: list[bytes]) -> Parts:
    """From the same randomness, without the code under test: key, rounding, layer 0."""
    key, rounding, base = drawn
    ours = mechanism(private)
    quiet = dataclasses.replace(ours, noise=ByServer(Skellam(1)))
    seed = digest(Label.ROTATION, context)
    rounded = quiet.encode(tree["w"], seed=seed, rand=lambda _: rounding)
    keys = [base, *(k for _, k in chain(key, len(layers(private).layers) - 1))]
    each = [
        law.sample(ours.length, lambda _, key=key: key)
        for law, key in zip(layers(private).layers, keys, strict=True)
    ]
    return Parts(rounded, each, key)


Filter = Callable[[int, bytes], list[bytes]]
"""What reaches the other side of a frame that a client sent, or was to get."""


def _as_it_is(_: int, data: bytes) -> list[bytes]:
    return [data]


class Table:
    """One round whose every frame can be bent, and whose every integer is known."""

    def __init__(self, private: RoundPlan, people: Population, number: int = 1) -> None:
        self.plan, self.people = private, people
        self.invitation = Invitation(
            plan=private, session=bytes(16), number=number, model=bytes(32), roster=people.roster
        )
        self.server = ServerRound(self.invitation, people.server)
        self.clients: dict[int, ClientRound] = {}
        self.parts: dict[int, Parts] = {}
        self.sent: dict[int, list[bytes]] = {i: [] for i in people.clients}
        self.stopped: dict[int, Exception] = {}
        for i, identity in people.clients.items():
            tape = Tape()
            client = ClientRound(self.invitation, identity, i, journal=ClientJournal(), rand=tape)
            tape.rewound()
            vector = client.encode(update(i), 1)
            self.parts[i] = taken_apart(private, update(i), client.context, tape.rewound())
            total = self.parts[i].rounded + sum(self.parts[i].layers)
            assert np.array_equal(total, centered(vector, private.scheme.width))
            client.submit_encoded(vector)
            self.clients[i] = client

    @property
    def context(self) -> bytes:
        return self.server.context

    def excess(self, client: int, key: bytes, kind: type[wire.Message] = Excess) -> bytes:
        """A frame that is properly signed by this client, about any key."""
        end = endpoint(self.invitation, self.context, client, self.people.clients[client])
        return end.seal(SERVER, kind(key=key))  # type: ignore[call-arg]

    def play(
        self, *, silent: Mapping[int, int] | None = None, up: Filter | None = None,
        down: Filter | None = None,
    ) -> tuple[Result, list[Discarded]]:  # fmt: skip
        """Clients of `silent` fall silent with the message of that number."""
        self._gone: set[int] = set()
        events: list[Any] = []
        while not (self.server.ended and events):
            moved = self._clients_speak(silent or {}, up or _as_it_is)
            moved += self._server_speaks(down or _as_it_is)
            events += self.events()
            if not moved and not self.server.ended:
                self.server.deadline()
        (result,) = [event for event in events if isinstance(event, Result)]
        return result, [event for event in events if event is not result]

    def _clients_speak(self, silent: Mapping[int, int], up: Filter) -> int:
        frames = [(i, data) for i, client in self.clients.items() for _, data in client.to_send()]
        for i, data in frames:
            self._gone |= {i} if silent.get(i) == parse_header(data).code else set()
            if i not in self._gone:
                self.sent[i].append(data)
                for bent in up(i, data):
                    self.server.receive(i, bent)
        return len(frames)

    def _server_speaks(self, down: Filter) -> int:
        frames = self.server.to_send()
        for i, data in frames:
            for bent in down(i, data) if i not in self._gone | self.stopped.keys() else []:
                self._deliver(i, bent)
        return len(frames)

    def events(self) -> list[Any]:
        return list(iter(self.server.next_event, None))

    def _deliver(self, client: int, data: bytes) -> None:
        try:
            self.clients[client].receive(SERVER, data)
        except RemoteProtocolError as error:
            self.stopped[client] = error

    def expected(self, result: Result) -> np.ndarray:
        """Rounded integers and kept layers of those who disclosed, and all layers of the others."""
        kept = layers(self.plan).kept(CLIENTS - len(result.included))
        total = np.zeros(mechanism(self.plan).length, np.int64)
        for i in result.included:
            own = self.parts[i].layers
            total += self.parts[i].rounded + sum(own[:kept] if i in result.removed else own)
        return total


@pytest.fixture
def table(people: Population) -> Table:
    return Table(plan(), people)


def lost(*numbers: int, code: int = 5) -> dict[int, int]:
    return dict.fromkeys(numbers, code)


def without_excess_of(*clients: int) -> Filter:
    return lambda i, data: [] if i in clients and is_excess(data) else [data]


def beside_excess_of(client: int, *others: bytes) -> Filter:
    """These come right after this client's own."""
    return lambda i, data: [data, *others] if i == client and is_excess(data) else [data]


def instead_of_excess_of(client: int, *others: bytes) -> Filter:
    return lambda i, data: list(others) if i == client and is_excess(data) else [data]


# -- what stays, bit for bit -------------------------------------------------------------------


@pytest.mark.parametrize("scheme", KNOWING)
@pytest.mark.parametrize("missing", [(), (3,), (3, 6)])
def test_the_sum_is_that_of_the_rounded_updates_and_the_layers_that_stay(
    scheme: Any, missing: tuple[int, ...], people: Population
) -> None:
    ours = Table(plan(scheme), people)
    result, discarded = ours.play(silent=lost(*missing))
    assert result.included == set(range(1, CLIENTS + 1)) - set(missing)
    assert result.removed == (result.included if len(missing) < 2 else set())
    assert np.array_equal(result.total, ours.expected(result))
    assert not discarded


def test_what_stays_is_as_much_as_is_promised(people: Population) -> None:
    """For every number of the missing, with the colluding client's noise not counted."""
    noise = layers(plan())
    assert (noise.parts, noise.levels) == (5, (0, 1, 2))
    promised = noise.parts * noise.noise.variance
    assert promised >= plan().quantize.event.sensitivity.squared
    for missing in range(3):
        honest = CLIENTS - 1 - missing
        assert honest * noise.remaining(missing).variance == promised


def test_a_disclosure_is_sent_before_the_shares_and_costs_141_bytes(table: Table) -> None:
    table.play()
    for frames in table.sent.values():
        codes = [parse_header(data).code for data in frames]
        assert codes[-2:] == [Excess.code, UNMASK_CODE]
        assert codes.count(Excess.code) == 1
        assert len(frames[-2]) == 141


def test_no_disclosure_is_sent_where_all_noise_is_needed(table: Table) -> None:
    table.play(silent=lost(3, 6))
    assert not any(is_excess(data) for frames in table.sent.values() for data in frames)
    assert all(len(frames) == 5 for i, frames in table.sent.items() if i not in (3, 6))


def test_what_is_disclosed_is_the_state_of_the_least_layer_to_go(people: Population) -> None:
    for missing, first in ((), 0), ((4,), 1):
        ours = Table(plan(), people)
        ours.play(silent=lost(*missing))
        states = [state for state, _ in chain(ours.parts[1].key, 2)]
        assert ours.sent[1][-2][45:-64] == states[first]


def test_what_is_relieved_is_again_a_vector_of_residues() -> None:
    """Excess is negative in about half of the coordinates, and a word is wider than the ring."""
    private, key = plan(), bytes(32)
    width, ours = private.scheme.width, mechanism(private)
    zero = np.zeros(ours.length, word(width))
    assert width < 8 * zero.itemsize
    left = private.quantize.relieved(zero, [key], CLIENTS)
    assert np.array_equal(
        centered(check_vector(left, ours.length, width), width), -ours.excess([key], CLIENTS)
    )
    assert not zero.any()


# -- disclosures that do not come --------------------------------------------------------------


def test_excess_that_is_not_disclosed_stays_in(table: Table) -> None:
    result, discarded = table.play(up=without_excess_of(2, 5))
    assert result.included - result.removed == {2, 5}
    assert np.array_equal(result.total, table.expected(result))
    assert not discarded


def test_a_client_lost_between_its_disclosure_and_its_shares_is_relieved(table: Table) -> None:
    result, _ = table.play(silent=lost(7, code=UNMASK_CODE))
    assert result.removed == result.included == set(range(1, CLIENTS + 1))
    assert result.dropped["unmask"] == {7}
    assert np.array_equal(result.total, table.expected(result))


def test_a_client_lost_before_its_disclosure_is_not(table: Table) -> None:
    result, _ = table.play(silent=lost(7, code=Excess.code))
    assert result.included - result.removed == {7}
    assert np.array_equal(result.total, table.expected(result))


def test_a_vector_that_is_not_the_last_encoded_discloses_nothing(people: Population) -> None:
    """A wrong key would add noise in the place of removing it."""
    ours = Table(plan(), people, number=2)
    late = ClientRound(ours.invitation, people.clients[4], 4, journal=ClientJournal())
    first = late.encode(update(4), 1)
    late.encode(update(4), 1)
    late.submit_encoded(first)
    ours.clients[4] = late
    result, _ = ours.play()
    assert result.removed == result.included - {4}
    assert not any(is_excess(data) for data in ours.sent[4])


def test_a_client_that_was_restored_discloses_nothing(table: Table, people: Population) -> None:
    journal = ClientJournal()
    client = ClientRound(table.invitation, people.clients[4], 4, journal=journal)
    client.submit(update(4), 1)
    again = ClientRound.restore(
        client.snapshot(), table.invitation, people.clients[4], 4, journal=journal
    )
    again.snapshot()
    table.clients = {**table.clients, 4: again}
    durable = again.to_send

    def covered() -> list[tuple[int, bytes]]:
        while again.next_event() is not None:
            pass
        again.snapshot()
        return durable()

    again.to_send = covered  # type: ignore[method-assign]
    result, _ = table.play()
    assert 4 in result.included
    assert result.removed == result.included - {4}


def test_a_client_with_snapshots_discloses_once_its_end_is_stored(
    table: Table, people: Population
) -> None:
    """`next_event` must be drained as ever, and a send that is refused loses no disclosure."""
    client = table.clients[4]
    client.snapshot()
    plain = client.to_send

    def covered() -> list[tuple[int, bytes]]:
        if client.ended:
            with pytest.raises(LocalProtocolError, match="drain next_event"):
                client.snapshot()
            with pytest.raises(LocalProtocolError, match="before to_send"):
                plain()
            everybody = frozenset(range(1, CLIENTS + 1))
            assert client.next_event() == Finished(included=everybody)
            assert client.next_event() is None
        client.snapshot()
        frames = plain()
        if client.ended:
            client.to_send = list  # type: ignore[method-assign]
        return frames

    client.to_send = covered  # type: ignore[method-assign]
    result, _ = table.play()
    assert 4 in result.removed
    assert np.array_equal(result.total, table.expected(result))


def test_a_server_that_was_restored_removes_what_comes_after(
    table: Table, people: Population
) -> None:
    def crash(i: int, data: bytes) -> list[bytes]:
        if i == 5 and is_excess(data):
            assert table.events() == []
            table.server = ServerRound.restore(
                table.server.snapshot(), table.invitation, people.server
            )
            table.server.to_send()  # what it had sent last
        return [data]

    result, _ = table.play(up=crash)
    assert result.removed == {5, 6, 7, 8}
    assert np.array_equal(result.total, table.expected(result))


# -- disclosures that are wrong ----------------------------------------------------------------


def test_a_dropped_client_removes_nothing(table: Table) -> None:
    """Its noise is not in the sum; drawn and subtracted it would be noise once more."""
    table.server.receive(3, table.excess(3, table.parts[3].key))
    result, discarded = table.play(silent=lost(3))
    reason = "Excess of noise that is not in the sum, or is needed there"
    assert discarded == [Discarded(3, reason)]
    assert result.removed == result.included == set(range(1, CLIENTS + 1)) - {3}
    assert np.array_equal(result.total, table.expected(result))


def test_a_disclosure_where_all_noise_is_needed_is_discarded(table: Table) -> None:
    forged = table.excess(1, table.parts[1].key)
    result, discarded = table.play(
        silent=lost(3, 6),
        up=lambda i, data: [forged, data] if i == 1 and data[4] == UNMASK_CODE else [data],
    )
    assert not result.removed
    assert np.array_equal(result.total, table.expected(result))
    assert [event.sender for event in discarded] == [1]


@pytest.mark.parametrize("wrong", [0, 2])
def test_a_wrong_key_shifts_the_sum_by_that_noise_and_no_more(table: Table, wrong: int) -> None:
    """One client missing: layer 1 stays and layer 2 goes. A liar names the states of others."""
    state = [*(state for state, _ in chain(table.parts[4].key, 3))][wrong]
    lie = table.excess(4, state)
    result, discarded = table.play(silent=lost(3), up=instead_of_excess_of(4, lie))
    assert 4 in result.removed
    noise, own = layers(table.plan), table.parts[4].layers
    ((_, key),) = chain(state, 1)
    drawn = noise.layers[2].sample(len(own[0]), lambda _: key)
    assert np.array_equal(result.total, table.expected(result) + own[2] - drawn)
    assert not discarded


def test_an_identical_second_disclosure_is_ignored_and_a_different_one_discarded(
    table: Table,
) -> None:
    again, other = table.excess(4, table.parts[4].key), table.excess(4, bytes(32))
    result, discarded = table.play(up=beside_excess_of(4, again, again, other, other))
    assert result.removed == result.included
    assert np.array_equal(result.total, table.expected(result))
    assert discarded == [Discarded(4, "a second, different Excess", 2)]


@wire.declare(code=64, phase="unmask")
class _Short(wire.Message):
    key: bytes = wire.field(wire.Fixed(31))


@wire.declare(code=64, phase="unmask")
class _Long(wire.Message):
    key: bytes = wire.field(wire.Fixed(33))


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [(_Short, 31, "message is shorter than its fields"), (_Long, 33, "at most 141 are possible")],
)
def test_keys_of_a_wrong_length_are_discarded(
    kind: type[wire.Message], size: int, reason: str, table: Table
) -> None:
    malformed = table.excess(4, bytes(size), kind)
    result, discarded = table.play(up=instead_of_excess_of(4, malformed))
    assert [(event.sender, reason in event.reason) for event in discarded] == [(4, True)]
    assert 4 in result.included
    assert result.removed == result.included - {4}
    assert np.array_equal(result.total, table.expected(result))


def test_a_disclosure_of_another_round_is_discarded(table: Table, people: Population) -> None:
    """Of this client, under this plan; only the round's number differs."""
    before = Table(plan(), people, number=0)
    before.play()
    replayed = before.sent[4][-2]
    assert is_excess(replayed)
    result, discarded = table.play(up=instead_of_excess_of(4, replayed))
    assert discarded == [Discarded(4, "frame of another round: its context is not this round's")]
    assert result.removed == result.included - {4}
    assert np.array_equal(result.total, table.expected(result))


def test_strangers_and_impostors_are_discarded(table: Table, people: Population) -> None:
    stranger = Identity.generate(os.urandom)
    unknown = endpoint(table.invitation, table.context, 99, stranger).seal(
        SERVER, Excess(key=bytes(32))
    )
    forged = endpoint(table.invitation, table.context, 5, stranger).seal(
        SERVER, Excess(key=bytes(32))
    )
    borrowed = table.excess(6, table.parts[6].key)
    for sender, data in ((99, unknown), (5, forged), (7, borrowed), (8, borrowed[:-1] + b"\0")):
        table.server.receive(sender, data)
    result, discarded = table.play()
    assert {event.sender for event in discarded} <= {99, 5, 7, 8}
    assert result.removed == result.included
    assert np.array_equal(result.total, table.expected(result))


def test_who_delivers_anothers_disclosure_is_named(table: Table) -> None:
    table.server.receive(7, table.excess(6, table.parts[6].key))
    assert table.events() == [Discarded(7, "party 7 delivered a frame of party 6")]


def test_a_disclosure_that_is_late_is_discarded(table: Table) -> None:
    result, _ = table.play(up=without_excess_of(2, 5))
    total = result.total.copy()
    table.server.receive(2, table.sent[2][-2])
    table.server.receive(3, table.sent[3][-2])
    assert table.events() == [Discarded(2, "Excess came too late")], "what was known may repeat"
    assert np.array_equal(result.total, total)


def test_a_plan_without_removal_takes_no_disclosure(people: Population) -> None:
    exact = plan(removal=False)
    assert exact.removable is None
    ours = Table(plan(), people)
    ours.plan = exact
    ours.invitation = dataclasses.replace(ours.invitation, plan=exact)
    server = ServerRound(ours.invitation, people.server)
    end = endpoint(ours.invitation, server.context, 4, people.clients[4])
    server.receive(4, end.seal(SERVER, Excess(key=bytes(32))))
    assert server.next_event() == Discarded(4, "message type 64 is not for this party")


# -- a server that lies ------------------------------------------------------------------------


def test_a_client_that_is_shown_another_set_discloses_nothing(
    table: Table, people: Population
) -> None:
    """Told that nobody is missing, it would disclose a layer more. It finds no quorum for that."""
    scheme, cheating = table.plan.scheme, people.server
    forger = scheme._endpoint(table.invitation.round, cheating, SERVER)
    attested: dict[int, bytes] = {}

    def down(i: int, data: bytes) -> list[bytes]:
        if i != 1 or data[4] != SURVIVORS_CODE:
            return [data]
        truth = forger_reads(data, scheme)
        attested.update(truth)
        fewer = {peer: text for peer, text in truth.items() if peer != 8}
        lie = Survivors(included=SURVIVORS.table({peer: (text,) for peer, text in fewer.items()}))
        return [forger.seal(1, lie)]

    result, _ = table.play(down=down)
    assert attested.keys() == set(range(1, CLIENTS + 1))
    assert isinstance(table.stopped[1], RemoteProtocolError)
    assert not any(is_excess(data) for data in table.sent[1])
    assert table.clients[1].to_send() == []
    assert result.included - result.removed == {1}
    assert np.array_equal(result.total, table.expected(result))


def forger_reads(data: bytes, scheme: Any) -> dict[int, bytes]:
    message = wire.decode(Survivors, data[45:-64], scheme.limits)
    found: dict[int, bytes] = message.included.by_peer("attestation")
    return found


# -- the plan ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [PlainInsecure, SecAggPlusBrief])
def test_schemes_whose_clients_do_not_agree_on_the_sum_are_refused(scheme: Any) -> None:
    assert plan(scheme, removal=False).removable is None
    with pytest.raises(
        ParameterError, match=f"agree on who is in the sum .* not {scheme.__name__}"
    ):
        plan(scheme)


@pytest.mark.parametrize("scheme", KNOWING)
def test_schemes_whose_clients_agree_are_taken(scheme: Any) -> None:
    private = plan(scheme)
    assert layers(private).parts == private.scheme.honest_inputs == 5
    assert layers(private).most == CLIENTS - private.scheme.corrupt_count == 7
    without = plan(scheme, removal=False)
    assert private.digest != without.digest
    assert private.event == without.event, "the price is that of the promise"
    assert private.scheme == without.scheme, "and so are ring and length"


def test_layers_that_count_on_more_honest_clients_than_there_are_are_refused() -> None:
    good = plan()
    for noise, fits in (
        (ByLayers(layers(good).noise, 4, (0, 1, 2)), True),
        (ByLayers(layers(good).noise, 5, (0, 1, 2, 3)), False),
        (ByLayers(layers(good).noise, 4, (0, 4)), False),
    ):
        changed = Private(dataclasses.replace(mechanism(good), noise=noise))
        if fits:
            RoundPlan(scheme=good.scheme, quantize=changed, structure=good.structure)
            continue
        with pytest.raises(ParameterError, match=r"levels\[-1\] <= .* must hold, got 8 and 7"):
            RoundPlan(scheme=good.scheme, quantize=changed, structure=good.structure)


def test_only_distributed_divisible_noise_has_layers() -> None:
    with pytest.raises(TypeError, match="removal"):
        CentralNoise(multiplier=1.0, removal=True)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match="DivisibleNoise"):
        plan(noise=DiscreteGaussian)


def test_a_key_is_for_layers_only() -> None:
    exact = RoundPlan.for_update({"w": np.zeros(SIZE)}, clients=CLIENTS, clip=NormClip(1.0))
    for private in (exact, plan(removal=False)):
        assert private.encode(update(1), 1, os.urandom, bytes(32)).any()
        with pytest.raises(ParameterError, match="layer_key"):
            private.encode(update(1), 1, os.urandom, bytes(32), bytes(32))
    assert plan().encode(update(1), 1, os.urandom, bytes(32), bytes(32)).any()


def test_a_cohort_that_nobody_may_miss_has_nothing_to_remove(people: Population) -> None:
    private = RoundPlan.for_update(
        {"w": np.zeros(SIZE)}, clients=CLIENTS, clip=NormClip(1.0), corrupt=0.13, dropout=0.0,
        privacy=DistributedNoise(multiplier=1.0, removal=True),
    )  # fmt: skip
    assert layers(private).levels == (0,)
    outcome = run_round(private, {i: (update(i), 1) for i in people.clients})
    assert outcome.result is not None
    assert not outcome.result.removed


# -- around it ---------------------------------------------------------------------------------


def test_a_server_waits_for_disclosures_before_it_is_satisfied(table: Table) -> None:
    """Enough shares open the sum, and those who are awaited could still make it more precise."""
    seen: list[tuple[int, bool, bool]] = []

    def up(i: int, data: bytes) -> list[bytes]:
        if data[4] in (Excess.code, UNMASK_CODE):
            seen.append((i, table.server._machine.satisfied, table.server.satisfied))
        return [] if i == 8 and data[4] == UNMASK_CODE else [data]

    table.play(up=up)
    assert (7, True, False) in seen, "enough shares, and no disclosure of 8"
    assert seen[-1] == (8, True, True), "its disclosure is there, and its shares are not needed"


def test_a_simulated_round_says_who_was_relieved() -> None:
    updates = {i: (update(i), 1) for i in range(1, CLIENTS + 1)}
    shown: list[str] = []
    outcome = run_round(
        plan(), updates, drops={2: "unmask"}, on_frame=lambda frame: shown.append(frame.phase)
    )
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.removed == outcome.result.included - {2}
    assert shown.count("unmask") == 1 + 2 * (CLIENTS - 1)


def test_what_is_disclosed_is_not_shown(table: Table) -> None:
    key = os.urandom(32)
    shown = repr(Excess(key=key)) + repr(table.clients[1]) + repr(table.clients[1]._discloser)
    assert repr(key) not in shown
    assert key.hex() not in shown
    assert table.parts[1].key.hex() not in shown


def test_a_server_does_not_wait_for_disclosures_of_nothing() -> None:
    """So many are missing that all layers are needed: nobody discloses, and shares suffice."""
    plan = RoundPlan.for_update(
        np.zeros(20), clients=40, clip=NormClip(1.0), corrupt=0.1, dropout=0.3,
        privacy=DistributedNoise(multiplier=1.0, removal=True),
    )  # fmt: skip
    missing = plan.quantize.mechanism.noise.levels[-2] + 1
    people = Population.generate(range(1, 41))
    invitation = Invitation(
        plan=plan, session=bytes(16), number=0, model=bytes(32), roster=people.roster
    )
    server = ServerRound(invitation, people.server)
    clients = {
        i: ClientRound(invitation, key, i, journal=ClientJournal())
        for i, key in people.clients.items()
    }
    for client in clients.values():
        client.submit(np.zeros(20), 1)
    early = False
    while not server.ended:
        moved = 0
        for i, client in clients.items():
            gone = i <= missing and client.phase == "masked"
            for _, frame in [] if gone else client.to_send():
                server.receive(i, frame)
                moved += 1
            if server.satisfied:
                early = bool(server.expected)
                break
        if server.satisfied or not moved:
            server.deadline()
        for to, frame in server.to_send():
            if not (to <= missing and server.phase in ("consent", "unmask")):
                clients[to].receive(0, frame)
    assert early
    result = server.next_event()
    assert isinstance(result, Result)
    assert len(result.included) == 40 - missing
