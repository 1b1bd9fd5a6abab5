"""Names come from sums that are exact: added, taken away, and summed under masks."""

from __future__ import annotations

import numpy as np
import pytest

from apiwatch.classes import (
    BENIGN,
    ClassModel,
    ClassSums,
    class_weights,
    learn_together,
)
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.naming import (
    MOST_LEVEL,
    Name,
    Namer,
    counted,
    level_for,
    level_of,
    tag_of,
)
from apiwatch.secure import Members
from apiwatch.unknown import clusters, covering, novelty

SQLI = [f"{i}' or {i}={i} union select name from users--" for i in range(40)]
XSS = [f"<script>alert({i})</script>" for i in range(40)]
USUAL = [f"anna {i} lives at mill road {i * 7}" for i in range(80)]
PAIRS = [(t, "sqli") for t in SQLI] + [(t, "xss") for t in XSS] + [(t, BENIGN) for t in USUAL]
LABELS = ("sqli", "xss", BENIGN)
WEIGHTS = {"sqli": 5, "xss": 7, BENIGN: 4}


def learn(pairs, weights=WEIGHTS) -> ClassSums:
    return ClassSums.learn(pairs, weights, weights)


def test_sums_add_up_and_come_apart() -> None:
    whole, first, second = learn(PAIRS), learn(PAIRS[::2]), learn(PAIRS[1::2])
    assert (first + second).digest == whole.digest
    assert (whole - second).digest == first.digest
    with pytest.raises(ProfileMismatch, match="cannot be taken away"):
        first - second


def test_the_vector_gives_the_sums_back() -> None:
    sums = learn(PAIRS)
    assert ClassSums.from_vector(sums.vector, sums.labels).digest == sums.digest
    assert np.array_equal(sums.products, sums.products.T)


def test_sites_with_one_class_each_learn_the_pooled_model() -> None:
    sites = {1: PAIRS[:40], 2: PAIRS[40:80], 3: PAIRS[80:120], 4: PAIRS[120:], 5: []}
    sums, rounds = learn_together(
        sites, LABELS, Members.generate(sites), model=bytes(32), drops={4: "masked"}
    )
    stayed = [pair for site in rounds[-1].included for pair in sites[site]]
    counts = {label: sum(name == label for _, name in PAIRS) for label in LABELS}
    assert rounds[-1].included == {1, 2, 3, 5}
    assert sums.digest == learn(stayed, class_weights(counts)).digest


def test_values_are_named() -> None:
    model = ClassModel(learn(PAIRS))
    found = Namer(model, 0.3).names(["1' or 2=2 union select x from y--", "<script>alert('a')"])
    assert [name.label for name in found] == ["sqli", "xss"]
    assert all(0.3 < name.confidence <= 1 for name in found)
    responses = model.responses(["anna 7 lives at mill road 9"])[0]
    assert sorted(LABELS)[int(responses.argmax())] == BENIGN


def test_a_new_class_is_one_more_sum() -> None:
    new = [(f"${{jndi:ldap://host{i}/x}}", "java") for i in range(20)]
    model = ClassModel(learn(PAIRS) + learn(new, {"java": 8}))
    assert [n.label for n in Namer(model, 0.3).names(["${jndi:ldap://evil/y}"])] == ["java"]


@pytest.fixture(scope="module")
def many() -> ClassSums:
    """Enough of different values that directions are known."""
    dice = np.random.default_rng(1)
    words = [" ".join(_words(dice, 3)) for _ in range(3000)]
    queries = [f"1' or {a}={a} union select {b} from {c}--" for a, b, c in _triples(dice, 600)]
    tags = [f"<{a} on{b}=alert('{c}')>" for a, b, c in _triples(dice, 600)]
    pairs = [(t, BENIGN) for t in words] + [(t, "sqli") for t in queries]
    return learn(pairs + [(t, "xss") for t in tags])


def _words(dice: np.random.Generator, count: int) -> list[str]:
    return ["".join(chr(97 + c) for c in dice.integers(0, 26, 5)) for _ in range(count)]


def _triples(dice: np.random.Generator, count: int) -> list[list[str]]:
    return [_words(dice, 3) for _ in range(count)]


def calls(count: int, seed: int) -> list[str]:
    """Values of one class that have little more in common than that words and signs alternate."""
    dice, signs = np.random.default_rng(seed), "$[{(;@^~!|&`"
    return [
        "".join(w + signs[i] for w, i in zip(_words(dice, 3), dice.integers(0, 12, 3), strict=True))
        for _ in range(count)
    ]


def test_the_more_examples_a_class_has_the_more_fresh_ones_get(many: ClassSums) -> None:
    found = []
    for count in (10, 80):
        seen = calls(count, 2)
        model = ClassModel(many + learn([(text, "call") for text in seen], {"call": 20}))
        assert model.attacks[0] == "call"
        assert 0.2 <= model.usual[0] < model.attacked(seen)[:, 0].mean()
        found.append(model.usual[0])
    assert found[0] < 0.8
    assert found[1] > 0.9


def test_a_class_of_few_examples_answers_above_its_own_floor(many: ClassSums) -> None:
    model = ClassModel(many + learn([(text, "call") for text in calls(20, 2)], {"call": 20}))
    triples, fresh = _triples(np.random.default_rng(4), 100), calls(200, 3)
    known = [f"1' or {a}={a} union select {b} from {c}--" for a, b, c in triples]
    level = 0.9
    names = {
        later: [name.label for name in Namer(model, level, later).names(fresh + known)]
        for later in ((), ("call",))
    }
    assert names[()][:200].count("call") < 170
    assert names[("call",)][:200].count("call") > 180
    assert names[("call",)][200:].count("call") == 0
    with pytest.raises(ParameterError, match="later <= attacks"):
        Namer(model, level, ("ssi",))


def test_the_unknown_is_told_from_the_known() -> None:
    model = ClassModel(learn(PAIRS))
    namer = Namer(model, level_for(model, [SQLI[0] + " ", XSS[0] + " "]))
    odd = "%s%n%x" * 5
    names = namer.names([SQLI[3], odd])
    assert names[0].label == "sqli"
    assert names[1].label == "unknown"
    known = model.embed(SQLI + XSS)
    near, far = novelty(model, [SQLI[3], odd], known)
    assert near < far
    with pytest.raises(ParameterError, match="known examples >= 5"):
        novelty(model, SQLI, known[:4])
    with pytest.raises(ParameterError, match="no level without them"):
        level_for(model, [])


PATHS = [f"../../../../etc/passwd{i}" for i in range(12)]
LOOKUPS = [f"${{jndi:ldap://h{i}/x}}" for i in range(8)]


@pytest.mark.parametrize("known", ["few", "many"])
def test_clusters_hold_what_is_alike(known: str, many: ClassSums) -> None:
    few = learn([(t, "sqli") for t in SQLI] + [(t, BENIGN) for t in USUAL])
    model = ClassModel(many if known == "many" else few)
    odd = ["%s%n%x" * 5, "{{7*7}}", "<!--#exec cmd-->"]
    found = clusters(model, [*LOOKUPS, *PATHS, *odd]).tolist()
    assert found == [1] * len(LOOKUPS) + [0] * len(PATHS) + [-1] * len(odd)
    assert clusters(model, PATHS).tolist() == [0] * len(PATHS)
    assert clusters(model, ["x"] * 5).tolist() == [0] * 5
    assert clusters(model, PATHS[:4]).tolist() == [-1] * 4
    assert clusters(model, PATHS[:2], least=2).tolist() == [0, 0]
    assert clusters(model, []).tolist() == []
    with pytest.raises(ParameterError, match="least >= 2"):
        clusters(model, PATHS, least=1)


def test_rounding_does_not_set_the_level() -> None:
    model = ClassModel(learn(PAIRS))
    assert model.attacked(SQLI).max(axis=1).min() > 0.9
    assert level_for(model, SQLI) == 0.8
    odd = ["%s%n%x", "{{7*7}}"]
    assert level_for(model, odd) < model.attacked(odd).max(axis=1).max() < 0.8


def test_what_shows_most_kinds_comes_first(many: ClassSums) -> None:
    model = ClassModel(many)
    texts = [*PATHS, *LOOKUPS, "%s%n%x" * 5, "{{7*7}}"]
    order = list(covering(model, texts))
    kinds = [0] * len(PATHS) + [1] * len(LOOKUPS) + [2, 3]
    assert {kinds[number] for number in order[:4]} == {0, 1, 2, 3}
    assert kinds[order[0]] == 0
    assert sorted(order) == list(range(len(texts)))
    assert list(covering(model, [])) == []
    assert sorted(covering(model, ["x", "x"])) == [0, 1]


def test_rare_classes_weigh_more_within_bounds() -> None:
    weights = class_weights({BENIGN: 10_000, "xss": 100, "odd": 0})
    assert weights[BENIGN] == 4 < weights["xss"] < weights["odd"] <= 64


@pytest.mark.parametrize(
    ("pairs", "weights", "problem"),
    [
        ([("x", "java")], WEIGHTS, "labels in"),
        (PAIRS, {**WEIGHTS, "xss": 65}, "1 <= weight <= 64"),
        (PAIRS, {**WEIGHTS, "xss": 0}, "1 <= weight <= 64"),
    ],
)
def test_examples_are_checked(pairs, weights, problem) -> None:
    assert learn(PAIRS).counts.sum() == len(PAIRS)
    with pytest.raises(ParameterError, match=problem):
        learn(pairs, weights)


def test_a_model_needs_benign_examples() -> None:
    with pytest.raises(ParameterError, match="benign"):
        ClassModel(learn(PAIRS[:40], {"sqli": 4}))


def test_tags() -> None:
    assert tag_of("sqli").capec == "CAPEC-66"
    assert tag_of("house style") is None
    assert Name("xss", 0.5).confidence == 0.5


def test_responses_are_counted_by_steps_and_the_level_is_what_most_reach() -> None:
    strongest = np.array([-1.0, 0.0, 0.249, 0.25, 0.75, 1.0, 7.0])
    assert counted(strongest, 4).tolist() == [3, 1, 0, 3]
    assert level_of(np.array([12, 44, 44, 0])) == 0.25  # 88 of 100 reach it
    assert level_of(np.array([13, 43, 44, 0])) == 0.0
    assert level_of(np.array([0, 0, 0, 0, 1])) == MOST_LEVEL == 0.8
    for nothing in (np.zeros(4, np.int64), np.array([1, -2, 0, 0])):
        with pytest.raises(ParameterError, match="responses >= 1"):
            level_of(nothing)
