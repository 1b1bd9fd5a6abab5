"""Two aggregators: the sum of whoever proves what its vector is, and nobody else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from secagg.vdaf.entries import EntryBound
from traffic import usual

from apiwatch import Calibration, Detector, Federation, Settings, Table, gather
from apiwatch.contributions import limited
from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.proved import ProvedFederation, proved_sum
from apiwatch.secure import Members

SITES = tuple(range(1, 7))
MODEL = bytes(32)


@pytest.fixture(scope="module")
def members() -> Members:
    return Members.generate(SITES)


def vectors(size: int = 300, bound: int = 100) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {site: limited(rng.integers(0, 50, size), bound) for site in SITES}


def proved(given: dict[int, np.ndarray], members: Members, **changes):
    options = {"bound": 100, "model": MODEL, "minimum": 4, "corrupt": 0.2} | changes
    return proved_sum(given, members, **options)


def test_everybody_within_the_bound_is_summed(members: Members) -> None:
    given = vectors()
    summed = proved(given, members)
    assert np.array_equal(summed.total, sum(given.values()))
    assert (summed.included, summed.refused) == (frozenset(SITES), frozenset())


def test_who_repeats_itself_beyond_the_bound_is_left_out_and_named(members: Members) -> None:
    given = vectors()
    summed = proved(given | {3: 20 * given[3]}, members)
    assert summed.refused == {3}
    assert np.array_equal(summed.total, sum(v for site, v in given.items() if site != 3))


def test_silence_costs_nothing_until_too_few_are_left(members: Members) -> None:
    given = vectors()
    assert proved(given, members, silent=frozenset({1, 2})).included == {3, 4, 5, 6}
    with pytest.raises(RoundFailed, match="without output"):
        proved(given, members, silent=frozenset({1, 2, 3}))


def test_a_minimum_that_would_show_one_site_is_refused(members: Members) -> None:
    assert proved(vectors(), members, minimum=3).total.size == 300
    with pytest.raises(ParameterError, match="must hold"):
        proved(vectors(), members, minimum=2)


def test_vectors_of_two_lengths_are_refused(members: Members) -> None:
    with pytest.raises(ParameterError, match="one length"):
        proved(vectors() | {2: np.zeros(3, np.int64)}, members)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 300), np.int64),
        np.full(300, np.nan),
        np.full(300, 0.7),
        np.ones(300, np.uint8),
    ],
    ids=["two dimensions", "not a number", "fractions", "bytes"],
)
def test_what_is_no_vector_of_integers_is_refused(wrong: np.ndarray, members: Members) -> None:
    given = vectors()
    assert proved(given | {3: np.ones(300, np.int64)}, members).included == set(SITES)
    with pytest.raises(ParameterError, match=r"one length|dtype == int64 at site 3"):
        proved(given | {3: wrong}, members)


def test_the_least_integer_does_not_stand_for_zero(members: Members) -> None:
    given = vectors()
    least = np.zeros(300, np.int64)
    least[7] = np.iinfo(np.int64).min
    assert proved(given | {3: least}, members).refused == {3}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bound": 1.5}, "bound >= 0, an int"),
        ({"bound": True}, "bound >= 0, an int"),
        ({"silent": frozenset({99})}, "silent <= sites"),
        ({"bound": 40_000_000}, "for sound wrap-around checks of bound 40000000"),
        ({"flags": -1}, "1 <= count"),
        ({"flags": 301, "bound": 0}, "entries.count <= length"),
    ],
)
def test_parameters_are_checked(changes: dict, reason: str, members: Members) -> None:
    with pytest.raises(ParameterError, match=reason):
        proved(vectors(), members, **changes)


@pytest.mark.parametrize(("vector", "norm"), [([60, 80, 0], 100), ([1, 0], 1), ([3, -4], 5.0)])
def test_a_vector_of_just_the_norm_stays_as_it_is(vector: list[int], norm: float) -> None:
    assert limited(np.array(vector), norm).tolist() == vector
    more = np.array([*vector[:-1], vector[-1] + (1 if vector[-1] >= 0 else -1)])
    assert int((limited(more, norm) ** 2).sum()) <= norm**2


@pytest.mark.parametrize("norm", [1.0, 7.5, 1e4])
def test_limited_is_within_the_norm_and_points_the_same_way(norm: float) -> None:
    vector = np.random.default_rng(2).integers(0, 1000, 500)
    within = limited(vector, norm)
    assert int((within**2).sum()) <= norm**2
    assert np.all(np.sign(within) * np.sign(vector) >= 0)
    assert np.array_equal(limited(vector, 1 << 20), vector)


# -- support -------------------------------------------------------------------------------------

SETTINGS = Settings(cells=10, slots=4, support=3, salt=b"0123456789abcdef")
TRAFFIC = {site: usual(12, seed=site) for site in SITES}


def federation(kind: type[Federation], said: Mapping[int, np.ndarray]) -> Federation:
    """After the first sum, in which these sites said this of their cells."""
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    options = {"bound": 1 << 16, "minimum": 3} if kind is ProvedFederation else {}
    made = kind(gathered, SETTINGS, **options)
    truly = made._vector
    made._vector = lambda site: (
        np.concatenate([made.tables[site].counts, said[site]]) if site in said else truly(site)
    )
    made.count()
    return made


@pytest.fixture
def shameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that share as bits whatever they are given, and prove it as if it were."""

    def encode(limits: EntryBound, vector: np.ndarray) -> np.ndarray:
        return limits.field.embed(np.asarray(vector, np.int64))

    monkeypatch.setattr(EntryBound, "encode", encode)


def alone(site: int) -> np.ndarray:
    """Cells that `site` has set and nobody else, (n,)."""
    tables = {each: Table.learn(gather(TRAFFIC[each]), SETTINGS) for each in SITES}
    others = sum(table.bits for each, table in tables.items() if each != site)
    return np.flatnonzero(tables[site].bits.astype(bool) & (others == 0))


def claimed(site: int, votes: int) -> np.ndarray:
    """The bits of `site`, with so many votes in each cell of its own."""
    bits = Table.learn(gather(TRAFFIC[site]), SETTINGS).bits
    bits[alone(site)] = votes
    return bits


def test_federated_is_pooled_over_whoever_was_heard() -> None:
    settings = Settings(cells=10, slots=4, salt=SETTINGS.salt)  # one calibration for all
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    learned = ProvedFederation(gathered, settings, bound=1 << 16, minimum=3)
    learned.learn(drops={2: "reports", 5: "reports"})
    assert (learned.included, learned.refused) == ({1, 3, 4, 6}, frozenset())
    pool = gather(request for site in learned.included for request in TRAFFIC[site])
    table = Table.learn(pool, settings)
    assert learned.shared.digest == Detector(table, Calibration.learn(pool, table)).digest
    bits = sum(learned.tables[site].bits for site in learned.included)
    assert learned.sites_per_cell.tolist() == bits.tolist()


def test_with_support_it_is_what_masked_sums_give() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    masked = Federation(gathered, SETTINGS)
    masked.learn()
    proved = ProvedFederation(gathered, SETTINGS, bound=1 << 16, minimum=3)
    proved.learn()
    assert proved.shared.digest == masked.shared.digest
    assert proved.table(4).counts.tolist() == masked.table(4).counts.tolist()


def test_without_a_proof_one_site_lifts_its_cells_over_the_support() -> None:
    cells = alone(4)
    assert cells.size > 3
    made = federation(Federation, {4: claimed(4, 5)})
    assert (made.sites_per_cell[cells] >= SETTINGS.support).all()
    assert (made.table(1).counts[cells] > 0).all()


@pytest.mark.usefixtures("shameless")
@pytest.mark.parametrize("votes", [5, 2, -1])
def test_with_one_it_is_refused_and_lifts_nothing(votes: int) -> None:
    cells = alone(4)
    made = federation(ProvedFederation, {4: claimed(4, votes)})
    assert (made.refused, 4 in made.included) == ({4}, False)
    assert (made.sites_per_cell[cells] == 0).all()
    assert (made.table(1).counts[cells] == 0).all()
    honest = federation(ProvedFederation, {4: claimed(4, 1)})
    assert honest.refused == frozenset()
    assert (honest.sites_per_cell[cells] == 1).all()
    assert (honest.table(1).counts[cells] == 0).all()


def test_an_honest_machine_does_not_send_five_votes() -> None:
    made = federation(ProvedFederation, {4: claimed(4, 5)})
    assert made.refused == {4}


@pytest.mark.usefixtures("shameless")
@pytest.mark.parametrize("seed", range(3))
def test_fewer_than_k_liars_lift_no_cell_whatever_they_send(seed: int) -> None:
    """A cell counts for others only if k distinct sites set it, of which liars are two at most."""
    rng = np.random.default_rng(seed)
    size = 1 << SETTINGS.cells
    anything = rng.choice([0, 1, 2, -1, 3, 1 << 15], size) * rng.integers(0, 2, size)
    every = np.ones(size, np.int64)
    made = federation(ProvedFederation, {3: anything, 4: every})
    assert made.refused == {3}
    honest = sum(made.tables[site].bits for site in (1, 2, 5, 6))
    counted = made.sites_per_cell >= SETTINGS.support
    assert (honest[counted] >= SETTINGS.support - 1).all()  # beside the liar that proved ones
    few = honest == 0
    own = made.tables[1].counts
    assert few.any()
    assert np.array_equal(made.table(1).counts[few], own[few])


def test_a_liar_cannot_bring_what_a_site_has_counted_itself_below_that() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    made = ProvedFederation(gathered, SETTINGS, bound=1 << 16, minimum=3)
    honest = made._vector
    own = made.tables[4]
    lie = np.concatenate([-50 * own.counts, own.bits])
    made._vector = lambda site: lie if site == 4 else honest(site)
    made.count()
    assert 4 in made.included
    assert made.total.counts.min() == 0
    assert (made.table(1).counts >= made.tables[1].counts).all()


def test_a_site_can_leave_sums_that_a_liar_has_brought_below_zero() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    made = ProvedFederation(gathered, SETTINGS, bound=1 << 16, minimum=3)
    honest, own = made._vector, made.tables[4]
    lie = np.concatenate([-50 * own.counts, own.bits])
    made._vector = lambda site: lie if site == 4 else honest(site)
    made.learn()
    made.forget(1)
    counts, bits = np.split(sum(made._vector(site) for site in SITES[1:]), 2)
    assert made.included == set(SITES) - {1}
    assert made.total.counts.tolist() == np.maximum(counts, 0).tolist()
    assert made.sites_per_cell.tolist() == bits.tolist()


def test_a_site_that_scales_a_counter_to_zero_still_has_set_its_cell() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    made = ProvedFederation(gathered, SETTINGS, bound=60, minimum=3)
    made.count()
    truly = sum(table.bits for table in made.tables.values())
    scaled = sum(made._given(site).bits for site in SITES)
    assert (scaled < truly).any()
    assert made.sites_per_cell.tolist() == truly.tolist()


def test_there_is_one_phase_in_which_a_site_can_fall_silent() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    made = ProvedFederation(gathered, SETTINGS, bound=1 << 16, minimum=3)
    made.count(drops={2: "reports"})
    assert made.included == set(SITES) - {2}
    with pytest.raises(ParameterError, match="drops in reports"):
        made.count(drops={2: "masked"})


@pytest.mark.parametrize("bound", [0, 1.5, True])
def test_a_bound_is_a_positive_integer(bound: object) -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    with pytest.raises(ParameterError, match="bound >= 1"):
        ProvedFederation(gathered, SETTINGS, bound=bound, minimum=3)


def test_a_site_beyond_the_bound_gives_less_and_relies_on_all_of_its_own() -> None:
    gathered = {site: gather(requests) for site, requests in TRAFFIC.items()}
    made = ProvedFederation(gathered, SETTINGS, bound=60, minimum=3)
    own = made.tables[1].counts
    assert np.linalg.norm(own) > 60 >= np.linalg.norm(made._given(1).counts)
    made.learn()
    assert (made.included, made.refused) == (frozenset(SITES), frozenset())
    assert made.total.counts.tolist() == sum(made._given(s).counts for s in SITES).tolist()
    assert (made.table(1).counts >= own).all()
    made.forget(1)
    assert made.total.counts.tolist() == sum(made._given(s).counts for s in SITES[1:]).tolist()
