"""Rounds of a plan with two aggregators: weights, bounds, liars, drop-outs, the journal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import bounded, presets
from protocols.cost import client_cost
from protocols.helper import HelperKeeper
from protocols.inspect import inspect
from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from protocols.plan import RoundPlan
from protocols.planfile import PlanFile, SchemeChoice
from protocols.private import AggregatorNoise, DistributedNoise
from protocols.round import ClientRound, ServerRound
from protocols.screening import ExactNormScreen
from protocols.simulate import Frame, Outcome, Population, phases, run_round
from secagg.context import Round
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.identity import SERVER, THIRD, Identity
from secagg.machine import Discarded, PeerRejected
from secagg.primitives.field64 import MODULUS
from secagg.primitives.ring import centered, reduce
from secagg.quantize import FixedPoint, NormClip, RangeClip
from secagg.scheme import Scheme
from secagg.schemes.pine import Entries, TwoAggregators
from secagg.schemes.pine.messages import Collect
from secagg.schemes.plain import PlainInsecure
from secagg.vdaf.entries import EntryBound
from secagg.vdaf.norm import most_bound
from secagg.wire import ids

TEMPLATE = {"weights": np.zeros((3, 4), np.float32)}
CLIP, MOST = 2.0, 50
PLAN = RoundPlan.for_update(
    TEMPLATE, clients=5, clip=NormClip(CLIP), scheme=TwoAggregators, max_weight=MOST, minimum=2,
    corrupt=0.0,
)  # fmt: skip
UPDATES = {
    client: ({"weights": np.full((3, 4), client / 20, np.float32)}, 10 * client)
    for client in range(1, 6)
}


def round_of(plan: RoundPlan = PLAN, **options: Any) -> Outcome:
    return run_round(plan, UPDATES, third=HelperKeeper.generate(), **options)


def test_a_round_gives_the_weighted_mean_exactly() -> None:
    outcome = round_of()
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.total_weight == 150
    assert outcome.deviation < 1e-5
    assert outcome.third_cpu > 0
    assert not outcome.rejected


def test_drop_outs_are_left_out_and_cost_nothing() -> None:
    assert phases(PLAN.scheme) == ("reports",)
    outcome = round_of(drops=dict.fromkeys((2, 4, 5), "reports"))
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == frozenset({1, 3})
    assert outcome.result.total_weight == 40
    assert outcome.deviation < 1e-5


def test_too_many_drop_outs_open_nothing() -> None:
    outcome = round_of(drops=dict.fromkeys((1, 2, 3, 5), "reports"))
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert "1 valid reports, at least 2" in str(outcome.failure)
    assert outcome.failure.missing == frozenset({1, 2, 3, 5})


# -- bounds and weights -------------------------------------------------------------------------


def spike(weight: int, coordinate: int) -> np.ndarray:
    """What is submitted for a weight and one coordinate."""
    vector = np.zeros(PLAN.scheme.length, np.int64)
    vector[:2] = weight, coordinate
    return reduce(vector.astype(np.uint32), PLAN.scheme.width)


@pytest.mark.usefixtures("liars")
def test_a_client_over_the_bound_is_named_and_left_out() -> None:
    bound = PLAN.scheme.bound
    outcome = round_of(vectors={4: spike(0, bound + 1), 5: spike(0, -bound)})
    assert [type(event) for event in outcome.rejected] == [PeerRejected]
    (rejected,) = outcome.rejected
    assert isinstance(rejected, PeerRejected)
    assert rejected.peer == 4
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.refused == frozenset({4})
    assert outcome.result.included == frozenset({1, 2, 3, 5})


def test_an_honest_client_does_not_leave_the_bound() -> None:
    with pytest.raises(InputRefused, match=f"norm <= {PLAN.scheme.bound}"):
        round_of(vectors={4: spike(0, PLAN.scheme.bound + 1)})
    updates = {i: ({"weights": np.full((3, 4), 9.0 * i, np.float32)}, MOST) for i in UPDATES}
    assert run_round(PLAN, updates, third=HelperKeeper.generate()).exact


@pytest.mark.usefixtures("liars")
def test_the_weight_of_many_clients_is_over_the_bound() -> None:
    quantize = PLAN.quantize
    assert isinstance(quantize, FixedPoint)
    scale = quantize.bound // MOST
    outcome = round_of(vectors={5: spike(-2 * MOST * scale, 0)})
    assert [event.peer for event in outcome.rejected if isinstance(event, PeerRejected)] == [5]
    assert outcome.result is not None
    assert outcome.result.total_weight == 100


STEEP = {"weights": np.eye(3, 4, dtype=np.float32) * np.array([[CLIP], [0], [0]], np.float32)}


def gain(plan: RoundPlan, rest: int) -> float:
    """The most that a client within the bound moves the mean of others of this weight."""
    quantize, bound = plan.quantize, plan.scheme.bound
    assert isinstance(quantize, FixedPoint)
    most, scale = quantize.max_weight, bounded.scale(quantize)
    reach = bound * math.hypot(1 / quantize.bound, 1 / (scale * most))
    return CLIP * most * reach / (rest - bound / scale)


@given(
    turn=st.floats(0, 2 * math.pi), weights=st.lists(st.integers(36, 44), min_size=4, max_size=4)
)
@settings(max_examples=60)
def test_a_liar_within_the_bound_moves_the_mean_by_little(turn: float, weights: list[int]) -> None:
    """The others are at the clip, and the liar anywhere on the sphere of the bound."""
    honest = [PLAN.encode(STEEP, weight, bytes, bytes(32)) for weight in weights]
    radius = PLAN.scheme.bound - 1
    lie = spike(int(radius * math.cos(turn)), int(radius * math.sin(turn)))
    total = reduce(np.sum([*honest, lie], axis=0, dtype=np.uint32), PLAN.scheme.width)
    mean = PLAN.decode(total, 5, bytes, bytes(32)).mean["weights"]
    moved = float(np.linalg.norm(mean - STEEP["weights"]))
    rest = sum(weights)
    assert moved <= (1 + 1e-6) * gain(PLAN, rest)
    assert gain(PLAN, rest) <= 1.001 * 2 * CLIP * MOST / (rest - math.sqrt(2) * MOST)


@given(part=st.floats(-1.4, 1.4), most=st.sampled_from([1, 2, 50]), coarse=st.booleans())
@settings(max_examples=60)
def test_a_part_of_a_weight_gains_a_liar_nothing(part: float, most: int, coarse: bool) -> None:
    """If -1.01 counted as -2, the mean of others of one example each would move by 1.6 times."""
    plan = RoundPlan.for_update(
        np.zeros(64), clients=11, clip=NormClip(CLIP), scheme=TwoAggregators, max_weight=most,
        minimum=2, corrupt=0.0, fraction_bits=3 if coarse else None, width=32,
    )  # fmt: skip
    quantize, bound = plan.quantize, plan.scheme.bound
    assert isinstance(quantize, FixedPoint)
    flat = np.full(64, CLIP / 8)
    head = round(part * most * bounded.scale(quantize))
    side = math.isqrt(bound**2 - head**2) // 8
    lie = reduce(np.array([head, *[side] * 64]).astype(np.uint32), plan.scheme.width)
    honest = [plan.encode(flat, most, bytes, bytes(32)) for _ in range(10)]
    total = reduce(np.sum([*honest, lie], axis=0, dtype=np.uint32), plan.scheme.width)
    mean = plan.decode(total, 11, bytes, bytes(32)).mean
    assert np.linalg.norm(mean - flat) <= (1 + 1e-9) * gain(plan, 10 * most)


def test_what_honest_clients_cannot_sum_to_is_withheld() -> None:
    """The bound of a liar is above that of an honest client: where all are at theirs, it shows."""
    most, bound = PLAN.encode(STEEP, MOST, bytes, bytes(32)), PLAN.scheme.bound
    honest = reduce(most * np.uint32(4), PLAN.scheme.width)
    mean = PLAN.decode(honest + most, 5, bytes, bytes(32)).mean["weights"]
    np.testing.assert_allclose(mean, STEEP["weights"], atol=1e-5)
    with pytest.raises(IntegrityError, match="beyond what 5 clients can sum to"):
        PLAN.decode(honest + spike(0, bound), 5, bytes, bytes(32))
    with pytest.raises(IntegrityError, match="the total weight is not in"):
        PLAN.decode(spike(-bound, 0), 5, bytes, bytes(32))


@given(
    clients=st.integers(2, 2000),
    most=st.integers(1, 1 << 12),
    clip=st.floats(1e-3, 1e3),
    size=st.integers(1, 5000),
)
@settings(max_examples=80)
def test_plans_of_all_sizes_fit_their_scheme(
    clients: int, most: int, clip: float, size: int
) -> None:
    plan = RoundPlan.for_update(
        np.zeros(size), clients=clients, clip=NormClip(clip), scheme=TwoAggregators,
        max_weight=most, minimum=clients, corrupt=0.0,
    )  # fmt: skip
    quantize, bound = plan.quantize, plan.scheme.bound
    assert isinstance(quantize, FixedPoint)
    scale = quantize.bound // most
    assert (bound - 1) ** 2 < quantize.bound**2 + (scale * most) ** 2 <= bound**2
    far = np.full(size, 1e9)
    vector = plan.encode(far, most, bytes, bytes(32))
    signed = centered(vector, plan.scheme.width).astype(object)
    assert int((signed * signed).sum()) <= bound**2
    assert plan.decode(vector, 1, bytes, bytes(32)).total_weight == most


def test_the_largest_limit_is_the_largest_whose_bound_is_proven() -> None:
    def bound(limit: int) -> int:
        return 1 + math.isqrt(2 * limit**2 - 1)

    assert most_bound(MODULUS) == 30_854_650
    assert bound(bounded.LARGEST) <= 30_854_650 < bound(bounded.LARGEST + 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clip": RangeClip(1.0)}, "fraction_bits = 0 and max_weight = 1 must hold"),
        ({"clip": RangeClip(1.0), "fraction_bits": 0, "max_weight": 2}, "max_weight = 1 must hold"),
        ({"clip": RangeClip(2.0), "fraction_bits": 0}, r"clip bound = 2\*\*bits - 1"),
        ({"clip": RangeClip(0.5), "fraction_bits": 1}, r"clip bound = 2\*\*bits - 1"),
        (
            {"clip": RangeClip(1.0), "fraction_bits": 0, "screen": ExactNormScreen()},
            "a screen opens numbers of vectors without entries",
        ),
        (
            {"clip": RangeClip(1.0), "privacy": AggregatorNoise(multiplier=1.0)},
            "clip must be a NormClip",
        ),
        ({"privacy": DistributedNoise(multiplier=0.5)}, "noise of clients has none"),
        ({"fraction_bits": 40, "width": 64}, r"1 <= bound < 2\*\*31"),
        ({"fraction_bits": 26, "width": 40}, "sound wrap-around checks"),
        ({"minimum": 6}, "2 <= minimum <= clients"),
        ({"corrupt": 0.5, "minimum": 3}, "minimum - corrupt \\* clients >= 2"),
        ({"clip": NormClip(2.4), "fraction_bits": 27, "width": 32}, r"clients \* bound < 2\*\*"),
    ],
)
def test_what_a_proof_cannot_hold_is_refused(options: dict[str, Any], reason: str) -> None:
    stated = {"clip": NormClip(2.0), "minimum": 2, "corrupt": 0.0, **options}
    with pytest.raises(ParameterError, match=reason):
        RoundPlan.for_update(TEMPLATE, clients=5, scheme=TwoAggregators, **stated)


@pytest.mark.parametrize("off", [-1, 1])
def test_a_scheme_with_another_bound_than_the_plan_is_refused(off: int) -> None:
    scheme = PLAN.scheme
    assert isinstance(scheme, TwoAggregators)
    other = TwoAggregators(
        clients=5, length=scheme.length, width=scheme.width, bound=scheme.bound + off, minimum=2,
        corrupt=0.0,
    )  # fmt: skip
    with pytest.raises(ParameterError, match=r"scheme.bound == the norm .*must hold"):
        RoundPlan(scheme=other, quantize=PLAN.quantize, structure=PLAN.structure)


@pytest.mark.parametrize(("bits", "reason"), [(10, "fraction_bits = 0"), (0, "scheme.entries ==")])
def test_a_scheme_that_proves_norms_is_refused_beside_ranges(bits: int, reason: str) -> None:
    quantize = FixedPoint(clip=RangeClip(1.0), fraction_bits=bits, rounding=PLAN.quantize.rounding,
                          cohort=5, width=PLAN.scheme.width)  # fmt: skip
    with pytest.raises(ParameterError, match=reason):
        RoundPlan(scheme=PLAN.scheme, quantize=quantize, structure=PLAN.structure)


# -- entries ------------------------------------------------------------------------------------


def of_entries(bits: int = 1, **options: Any) -> RoundPlan:
    stated = {"clip": RangeClip((1 << bits) - 1), "fraction_bits": 0, "corrupt": 0.0, **options}
    return presets.two_aggregators(TEMPLATE, clients=5, **stated)


def flags(seed: int, bits: int = 1) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(seed).integers(0, 1 << bits, (3, 4))
    return {"weights": drawn.astype(np.float32)}


@pytest.mark.parametrize("bits", [1, 4])
def test_a_plan_of_whole_entries_gives_their_exact_mean(bits: int) -> None:
    plan = of_entries(bits)
    updates = {client: (flags(client, bits), 1) for client in range(1, 6)}
    outcome = run_round(plan, updates, third=HelperKeeper.generate(), drops={2: "reports"})
    assert outcome.exact
    assert outcome.result is not None
    there = [updates[client][0]["weights"] for client in (1, 3, 4, 5)]
    assert outcome.result.mean["weights"].tolist() == np.mean(there, axis=0).tolist()
    assert (outcome.result.total_weight, outcome.rejected) == (4, ())


def test_an_entry_below_zero_is_refused_at_its_client_and_one_above_is_cut() -> None:
    plan, rand = of_entries(), np.random.default_rng(1).bytes
    above = plan.encode({"weights": np.full((3, 4), 7.0, np.float32)}, 1, rand, bytes(32))
    assert above.tolist() == [1] * 13
    below = {"weights": np.full((3, 4), -1.0, np.float32)}
    updates = {client: (flags(client), 1) for client in range(1, 5)} | {5: (below, 1)}
    with pytest.raises(InputRefused, match="0 <= entry <= 1 must hold for every entry"):
        run_round(plan, updates, third=HelperKeeper.generate())


def test_who_shares_five_where_bits_belong_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    five = {"weights": np.full((3, 4), 5.0, np.float32)}
    wide = of_entries(3)  # so that the plan of the liar does not cut it off
    sent = wide.encode(five, 1, bytes, bytes(32))
    encode = RoundPlan.encode

    def lying(self: RoundPlan, tree: Any, *rest: Any, **named: Any) -> Any:
        honest = encode(self, tree, *rest, **named)
        return sent.astype(honest.dtype) if tree is five else honest

    def shameless(limits: EntryBound, vector: np.ndarray) -> np.ndarray:
        return limits.field.embed(vector)

    monkeypatch.setattr(RoundPlan, "encode", lying)
    monkeypatch.setattr(EntryBound, "encode", shameless)
    updates = {client: (flags(client), 1) for client in range(1, 5)} | {5: (five, 1)}
    outcome = run_round(of_entries(), updates, third=HelperKeeper.generate())
    assert outcome.result is not None
    assert outcome.result.included == frozenset({1, 2, 3, 4})
    assert outcome.result.refused == frozenset({5})
    there = [updates[client][0]["weights"] for client in range(1, 5)]
    assert outcome.result.mean["weights"].tolist() == np.mean(there, axis=0).tolist()


def test_what_a_client_claims_to_weigh_is_not_looked_at() -> None:
    plan = of_entries()
    vectors = [plan.encode(flags(client), 1, bytes, bytes(32)) for client in (1, 2, 3)]
    truly = plan.decode(sum(vectors), 3, bytes, bytes(32))
    vectors[2][0] = 0
    lied = plan.decode(sum(vectors), 3, bytes, bytes(32))
    assert (lied.total_weight, truly.total_weight) == (3, 3)
    assert lied.mean["weights"].tolist() == truly.mean["weights"].tolist()


def test_a_plan_file_has_entries() -> None:
    text = '[scheme]\nname = "pine"\nclients = 5\ncorrupt = 0.0\n[quantize]\nentry_bits = 3'
    plan = PlanFile.parse(text).plan(np.zeros(6))
    assert plan.scheme.entries == Entries(count=7, bits=3)  # type: ignore[attr-defined]
    assert plan.quantize.clip == RangeClip(7.0)
    masked = text.replace("pine", "secagg_plus")
    for wrong, reason in (
        (text + "\nmax_weight = 3", "follow from entry_bits"),
        (text.replace("3", "32"), "0 <= entry_bits <= 31"),
        (masked, "entry_bits = 0 must stand: secagg_plus"),
    ):
        with pytest.raises(ParameterError, match=reason):
            PlanFile.parse(wrong)
    with pytest.raises(ParameterError, match="in a plan with noise"):
        PlanFile.parse(text + '\n[privacy]\nepsilon = 3.0\nby = "aggregators"').plan(np.zeros(6))


# -- the helper ---------------------------------------------------------------------------------


def test_a_round_without_its_helper_does_not_begin() -> None:
    with pytest.raises(ParameterError, match="the roster must list the helper"):
        run_round(PLAN, UPDATES)


class Mute(HelperKeeper):
    """Answers nothing that is a frame, from a request of this number on."""

    after = 0

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        self.after -= 1
        return super().answer(scheme, round, request) if self.after >= 0 else b"?"


@pytest.mark.parametrize(("after", "reason"), [(0, "0 valid reports"), (5, "was silent")])
def test_a_helper_that_falls_silent_is_named(after: int, reason: str) -> None:
    helper = Mute.generate()
    helper.after = after
    outcome = run_round(PLAN, UPDATES, third=helper)
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert reason in str(outcome.failure)
    assert outcome.failure.missing == frozenset({THIRD})
    assert {type(event) for event in outcome.rejected} == {Discarded}


class Table:
    """A round whose frames the test carries."""

    def __init__(self) -> None:
        people = Population.generate(UPDATES)
        self.identity, self.leader_identity = Identity.generate(np.random.bytes), people.server
        self.keeper = HelperKeeper(self.identity)
        self.invitation = Invitation(
            plan=PLAN, session=bytes(16), number=3, model=bytes(32),
            roster=self.keeper.enrolled(people.roster),
        )  # fmt: skip
        self.leader = ServerRound(self.invitation, people.server)
        for client, (tree, weight) in UPDATES.items():
            party = ClientRound(
                self.invitation, people.clients[client], client, journal=ClientJournal()
            )
            party.submit(tree, weight)
            ((_, frame),) = party.to_send()
            self.leader.receive(client, frame)
        self.relays = [frame for _, frame in self.leader.to_send()]

    def answer(self, frame: bytes, keeper: HelperKeeper | None = None) -> bytes:
        return (keeper or self.keeper).answer(PLAN.scheme, self.invitation.round, frame)

    def collect(self) -> bytes:
        for relay in self.relays:
            self.leader.receive(THIRD, self.answer(relay))
        ((_, frame),) = self.leader.to_send()
        return frame

    def forged(self, message: Any) -> bytes:
        endpoint = PLAN.scheme._endpoint(self.invitation.round, self.leader_identity, SERVER)
        return endpoint.seal(THIRD, message)


def test_a_helper_sums_once_across_restarts() -> None:
    table = Table()
    frame = table.collect()
    share = table.answer(frame)
    assert table.answer(frame) == share
    table.leader.receive(THIRD, share)
    assert table.leader.ended
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        table.answer(table.forged(Collect(accepted=ids([1, 2]))))
    stored = ClientJournal.from_bytes(table.keeper.journal.to_bytes())
    restarted = HelperKeeper(table.identity, journal=stored)
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        table.answer(table.relays[0], restarted)
    assert table.answer(table.relays[0], HelperKeeper(table.identity))


def test_a_request_again_is_answered_alike_or_refused() -> None:
    table = Table()
    first = table.answer(table.relays[0])
    assert table.answer(table.relays[0]) == first
    assert table.answer(table.relays[1]) != first
    with pytest.raises(LocalProtocolError, match="answered before"):
        table.answer(table.relays[0])


def test_bytes_of_another_round_do_not_use_up_the_round() -> None:
    table = Table()
    frame = table.relays[0]
    with pytest.raises(DecodeError):
        table.answer(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert not table.keeper.journal.joined
    assert table.answer(frame)
    assert table.keeper.journal.joined == {bytes(16): 3}


def test_a_leader_that_asks_for_too_few_has_used_up_the_round() -> None:
    table = Table()
    frame = table.collect()
    with pytest.raises(RemoteProtocolError, match="at least 2 are needed"):
        table.answer(table.forged(Collect(accepted=ids([1]))))
    with pytest.raises(LocalProtocolError, match="a context is opened once"):
        table.answer(frame)


def test_schemes_without_a_helper_are_refused() -> None:
    plain = RoundPlan.for_update(TEMPLATE, clients=5, clip=NormClip(1.0), scheme=PlainInsecure)
    table = Table()
    with pytest.raises(ParameterError, match="has no helper"):
        table.keeper.answer(plain.scheme, table.invitation.round, table.relays[0])
    assert table.answer(table.relays[0])


def test_a_helper_shows_no_key() -> None:
    keeper = HelperKeeper.generate()
    assert repr(keeper) == "<HelperKeeper, 0 sessions>"


# -- what is around -----------------------------------------------------------------------------


def test_frames_of_all_parties_can_be_inspected() -> None:
    frames: list[Frame] = []
    round_of(on_frame=frames.append)
    shown = [inspect(frame.data) for frame in frames]
    assert [info.message for info in shown] == (
        ["Report"] * 5 + ["Relay", "Reply"] * 5 + ["Collect", "Sum"]
    )
    asked, told = shown[-2:]
    assert (asked.sender, asked.receiver) == ("server", "helper")
    assert (told.sender, told.receiver) == ("helper", "server")
    assert shown[0].sender == "client 1"
    assert shown[5].fields["client"] == "a number"
    assert {info.scheme for info in shown} == {"pine"}


def test_the_computed_cost_is_the_measured_one() -> None:
    cost = client_cost(PLAN.scheme)
    for measured in round_of().clients.values():
        assert (measured.bytes_up, measured.bytes_down) == (cost.up, cost.down)
    assert (cost.mask_keys, cost.shares, cost.down) == (0, 2, 0)
    assert 8 * PLAN.scheme.length < cost.vector < cost.up


def test_a_preset_takes_the_fraction_of_drop_outs() -> None:
    plan = presets.two_aggregators(TEMPLATE, clients=10, clip=NormClip(1.0))
    assert (plan.scheme.corrupt, plan.scheme.survivors) == (0.2, 7)
    plan = presets.two_aggregators(TEMPLATE, clients=10, clip=NormClip(1.0), dropout=0.5)
    assert plan.scheme.survivors == 5


def test_a_plan_file_takes_the_scheme_with_a_helper() -> None:
    file = PlanFile.parse('[scheme]\nname = "pine"\nclients = 10\ndropout = 0.4\n')
    scheme = file.plan(TEMPLATE).scheme
    assert isinstance(scheme, TwoAggregators)
    assert (scheme.survivors, scheme.honest_inputs) == (6, 4)
    with pytest.raises(ParameterError, match="recovers no secrets"):
        SchemeChoice(name="pine", threshold=3)
    with pytest.raises(ParameterError, match="clip must be a NormClip"):
        PlanFile.parse('[scheme]\nname = "pine"\n[quantize]\nclip = "range"\n').plan(TEMPLATE)


def test_a_plan_file_says_what_is_opened() -> None:
    head, model = '[scheme]\nname = "pine"\nclients = 10\ncorrupt = 0.0\n', np.zeros(3000)

    def opened(screen: str) -> int:
        return PlanFile.parse(f"{head}[screen]\n{screen}").plan(model).scheme.opened

    assert opened("") == 0
    assert opened('opens = "norm"') == 2
    assert opened('opens = "sketch"\nrows = 64') == 65
    assert opened('opens = "groups"\nrows = 64\ngroup = 3') == 65
    for screen, reason in (
        ('opens = "norm"\nrows = 64', "exact norms take no sketch"),
        ('opens = "sketch"\ngroup = 3', "where groups are not opened"),
        ("rows = 64", "where nothing is opened"),
        ('opens = "all"', "opens cannot be 'all'"),
    ):
        with pytest.raises(ParameterError, match=reason):
            opened(screen)


def test_a_plan_file_has_the_aggregators_add_noise() -> None:
    text = (
        '[scheme]\nname = "pine"\nclients = 10\n[quantize]\nmax_weight = 1\n'
        '[privacy]\nepsilon = 8.0\nby = "aggregators"\n'
    )
    plan = PlanFile.parse(text).plan(np.zeros(50))
    assert plan.event is not None
    assert plan.event.parts == 1
    with pytest.raises(ParameterError, match="removal is of the clients' noise"):
        PlanFile.parse(text + "removal = true\n").plan(np.zeros(50))
    with pytest.raises(ParameterError, match="AggregatorNoise is that of TwoAggregators"):
        PlanFile.parse(text.replace("pine", "secagg_plus")).plan(np.zeros(50))
