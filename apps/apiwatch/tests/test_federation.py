"""The secure sums give the pooled profile of whoever stayed, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from traffic import usual

from apiwatch import Calibration, Detector, Federation, Settings, Table, gather
from apiwatch.errors import ParameterError, ProfileMismatch, RoundFailed
from apiwatch.secure import PHASES, Members, secure_sum

SETTINGS = Settings(cells=12, slots=6, salt=b"0123456789abcdef")
SITES = {site: usual(40, seed=site) for site in range(1, 9)}


def federation(settings: Settings = SETTINGS) -> Federation:
    return Federation({site: gather(requests) for site, requests in SITES.items()}, settings)


def pooled(sites) -> Detector:
    counts = gather(request for site in sites for request in SITES[site])
    table = Table.learn(counts, SETTINGS)
    return Detector(table, Calibration.learn(counts, table))


@pytest.mark.parametrize("phase", PHASES)
def test_drop_outs_in_every_phase_leave_the_profile_of_the_others(phase: str) -> None:
    learned = federation()
    learned.learn(drops={2: phase, 5: phase})
    assert learned.included >= set(SITES) - {2, 5}
    assert (2 in learned.included) == (phase in ("consent", "unmask"))
    assert learned.shared.digest == pooled(learned.included).digest


def test_too_many_drop_outs_end_the_round_by_name() -> None:
    with pytest.raises(RoundFailed, match="without output"):
        federation().learn(drops=dict.fromkeys((1, 2, 3, 4, 5), "masked"))


def test_a_site_is_forgotten_exactly() -> None:
    learned = federation()
    learned.learn()
    before = learned.shared.digest
    learned.forget(3)
    assert learned.shared.digest == pooled(set(SITES) - {3}).digest != before
    with pytest.raises(ProfileMismatch, match="not in the sums"):
        learned.forget(3)


def test_a_site_that_fell_silent_still_knows_its_own() -> None:
    learned = federation()
    learned.learn(drops={2: "adverts"})
    own = learned.tables[2]
    assert np.array_equal(learned.table(2).counts, learned.total.counts + own.counts)
    requests = SITES[2]
    alone = learned.shared.scores(requests).mean()
    assert learned.detector(2).scores(requests).mean() < alone


def test_support_keeps_a_single_site_from_teaching_the_others() -> None:
    settings = Settings(cells=12, slots=6, support=3, salt=b"0123456789abcdef")
    learned = federation(settings)
    learned.learn()
    for site in (1, 2):
        table = learned.table(site)
        few = learned.sites_per_cell < 3
        assert np.array_equal(table.counts[few], learned.tables[site].counts[few])


@pytest.mark.parametrize(
    ("vector", "bound"), [([-1, 0], 5), ([6, 0], 5), ([0, 0], 1 << 62)], ids=["low", "high", "wrap"]
)
def test_what_could_wrap_is_refused(vector, bound) -> None:
    members = Members.generate(range(1, 5))
    good = {site: np.array([0, 5]) for site in members.sites}
    model = SETTINGS.digest
    assert secure_sum(good, members, bound=5, model=model).total.tolist() == [0, 20]
    with pytest.raises(ParameterError, match="must hold"):
        secure_sum(good | {2: np.array(vector)}, members, bound=bound, model=model)


def test_a_site_with_other_settings_is_not_heard() -> None:
    members = Members.generate(range(1, 6))
    vectors = {site: np.array([1, site]) for site in members.sites}
    other = Settings(cells=12, slots=7, salt=SETTINGS.salt).digest
    model = SETTINGS.digest
    whole = secure_sum(vectors, members, bound=9, model=model)
    without = secure_sum(vectors, members, bound=9, model=model, astray={2: other})
    assert (whole.total.tolist(), without.total.tolist()) == ([5, 15], [4, 13])
    assert without.included == {1, 3, 4, 5}
