"""The real data sets, where they are: the development half only, so that the other stays unseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apiwatch import Calibration, Detector, Federation, Settings, Table, gather
from apiwatch.bench import DROPS, by_endpoint
from apiwatch.datasets import atrdf, csic, csic_repeated, records, values
from apiwatch.errors import DataMissing
from apiwatch.explain import score_without
from apiwatch.figures import Figures

SETTINGS = Settings(salt=b"apiwatch tests on data")


@pytest.fixture(scope="module")
def split(data: Path):
    return csic(data, half="development")


@pytest.fixture(scope="module")
def detector(split) -> Detector:
    return Detector.learn(split.train, SETTINGS)


@pytest.mark.slow
def test_parts_do_not_overlap(split) -> None:
    parts = [
        {(r.target.partition("?")[0], r.target.partition("?")[2] or r.body) for r in part}
        for part in (split.train, split.calibration, split.normal, split.attacks)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert min(map(len, parts)) > 400


@pytest.mark.slow
def test_csic(split, detector: Detector) -> None:
    parts = (split.calibration, split.normal, split.attacks)
    found = Figures.of("csic", *(detector.scores(part) for part in parts))
    assert found.auroc > 0.995
    assert found.at_1 > 0.97
    assert found.false_alarms < 0.01
    assert found.few_found > 0.97
    assert found.few_false <= 0.003


@pytest.mark.slow
def test_what_is_repeated_is_what_is_learned(data: Path, split) -> None:
    repeated = csic_repeated(data)
    assert len(repeated) > 3 * len(split.train)
    assert {(r.target, r.body) for r in repeated} == {(r.target, r.body) for r in split.train}


@pytest.mark.slow
def test_sites_by_endpoint_learn_the_pooled_profile(split) -> None:
    groups = by_endpoint(split.train)
    federation = Federation({i: gather(g) for i, g in groups.items()}, SETTINGS)
    federation.learn(DROPS)
    pool = gather(r for site in federation.included for r in groups[site])
    table = Table.learn(pool, SETTINGS)
    assert federation.included == set(groups) - set(DROPS)
    assert federation.shared.digest == Detector(table, Calibration.learn(pool, table)).digest


@pytest.mark.slow
def test_a_usual_value_clears_most_alerts(split, detector: Detector) -> None:
    threshold = float(np.quantile(detector.scores(split.calibration), 0.99))
    judged = [j for j in detector.judge(split.attacks[::25]) if j.score > threshold]
    cleared = [score_without(j, detector, threshold) <= threshold for j in judged]
    assert len(judged) > 200
    assert np.mean(cleared) > 0.9


@pytest.mark.slow
def test_atrdf_with_all_headers(data: Path) -> None:
    split = atrdf(data)
    found = Detector.learn(split.train, SETTINGS)
    threshold = np.quantile(found.scores(split.calibration), 0.99)
    scores, labels = found.scores(split.attacks), np.array(split.labels)
    for label in np.unique(labels):
        assert (scores[labels == label] > threshold).mean() >= 0.99
    assert (found.scores(split.normal) > threshold).mean() < 0.03


@pytest.mark.slow
def test_values_have_eight_classes(data: Path) -> None:
    assert len({value.label for value in values(data)}) == 8


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="is not there"):
        list(records(tmp_path, "csic2010"))
