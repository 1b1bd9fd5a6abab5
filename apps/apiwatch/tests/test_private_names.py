"""Names with noise: what an example adds is bounded, and the noise is the one promised."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dp import Composed, ReductionAccountant, Skellam
from hypothesis import example, given, settings
from hypothesis import strategies as st
from secagg.schemes.secagg_plus import SecAggPlus
from test_classes import LABELS, PAIRS, SQLI, USUAL, XSS
from test_learning_commands import logs, run  # noqa: F401 -- a fixture
from traffic import attacks, usual

from apiwatch import Settings, gather, private_classes
from apiwatch.class_noise import EXACT, Noise
from apiwatch.class_responses import Responses
from apiwatch.classes import BENIGN, ClassModel, ClassSums
from apiwatch.encode import NORM, SIZE, encode
from apiwatch.errors import ParameterError, ProfileMismatch, ProfileUnreadable
from apiwatch.ledger import Ledger
from apiwatch.naming import Namer
from apiwatch.private import Privacy
from apiwatch.private_classes import NamePrivacy, PrivateClasses, added, within
from apiwatch.store import Profile
from apiwatch.unknown import clusters
from apiwatch.work import learnt, learnt_privately, names_forgotten, with_examples

SITES = {1: PAIRS[:40], 2: PAIRS[40:80], 3: PAIRS[80:120], 4: PAIRS[120:], 5: []}
ODD_ONES = [(f"{{{{{i}*{chr(33 + i)}}}}}", "xss") for i in range(12)]
CLEAR = NamePrivacy(epsilon=100.0, norm=64, corrupt=0.1, dropout=0.25)
WIDTH = SIZE - 1
HALF = WIDTH * (WIDTH + 1) // 2
ODD = ["", "\x00", "a" * 100_000, "\ud800\udfff" * 50, "".join(map(chr, range(1, 5000)))]
anything = st.text(st.characters(exclude_categories=()), max_size=300)


def squared(vector: np.ndarray) -> int:
    return sum(int(x) ** 2 for x in vector[vector != 0].tolist())


@settings(max_examples=12)
@given(anything, st.integers(8, 64))
@example(ODD[0], 8)
@example(ODD[2], 32)
@example(ODD[3], 32)
@example(ODD[4], 16)
def test_an_example_adds_no_more_than_the_bound(text: str, norm: int) -> None:
    products, moments, responses = NamePrivacy(epsilon=1.0, norm=norm).releases(3, 5)
    one = added([(text, "xss")], LABELS, norm)
    assert 0 < squared(one[:HALF]) <= products.sensitivity.squared
    assert 0 < squared(one[HALF:]) <= moments.sensitivity.squared
    assert responses.sensitivity.squared == 1
    rest = PAIRS[::20]
    both, before = added([*rest, (text, "xss")], LABELS, norm), added(rest, LABELS, norm)
    assert np.array_equal(both - before, one)
    sizes = [r.sensitivity.coordinates for r in (products, moments)]
    assert sizes == [HALF, one.size - HALF]


@given(st.lists(anything, min_size=1, max_size=30), st.integers(8, 64))
def test_a_text_is_within_the_norm_and_one_that_was_is_as_it_was(
    texts: list[str], norm: int
) -> None:
    plain, found = encode([*texts, *ODD])[:, :WIDTH] * 2, within([*texts, *ODD], norm)
    assert (found**2).sum(axis=1).max() <= (2 * norm) ** 2
    small = (plain**2).sum(axis=1) <= (2 * norm) ** 2
    assert np.array_equal(found[small], plain[small])
    assert (found >= 0).all()
    assert (found.sum(axis=1) > 0).all()


def test_the_bound_of_the_products_is_that_of_one_entry_and_of_many() -> None:
    """For a vector with one entry the diagonal is all, for a flat one nearly nothing: neither is
    above, and the flat one is near.
    """
    bound = NamePrivacy(epsilon=1.0).releases(2, 5)[0].sensitivity.squared
    one, flat = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64)
    one[7], flat[: WIDTH // 2] = 2 * NORM, 2
    for vector, least in ((one, 0.8), (flat, 0.99)):
        products = np.outer(vector, vector)
        across = int((np.triu(products, 1) ** 2).sum())
        along = int((np.diag(products) ** 2).sum())
        assert least * bound < 9 * across + 4 * along <= bound


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    zero = lambda self, shape, rand: np.zeros(shape, np.int64)  # noqa: E731
    monkeypatch.setattr(Skellam, "sample", zero)


@pytest.fixture(scope="module")
def clear() -> PrivateClasses:
    """Without the noise that is charged for, and without site 2, which has half of xss."""
    learnt = PrivateClasses(
        {**SITES, 5: PAIRS[60:80] + ODD_ONES, 2: PAIRS[40:60]}, ["sqli", "xss"], CLEAR
    )
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        learnt.learn(drops={2: "masked"})
    return learnt


def test_without_noise_the_sums_are_the_exact_ones_of_who_stayed(clear: PrivateClasses) -> None:
    stayed = PAIRS[:40] + PAIRS[60:] + ODD_ONES
    exact = ClassSums.learn(stayed, LABELS, dict.fromkeys(LABELS, 4))
    assert clear.rounds[0].included == clear.rounds[1].included == {1, 3, 4, 5}
    assert clear.sums is not None
    assert np.array_equal(clear.sums.vector, exact.vector)
    assert clear.sums.labels == exact.labels
    assert clear.drowned == ()


def test_the_level_is_below_88_of_100_attacks_as_if_none_were_in_the_sums(
    clear: PrivateClasses,
) -> None:
    model = ClassModel(clear.sums)
    pairs = PAIRS[:40] + PAIRS[60:80] + ODD_ONES
    texts, labels = zip(*pairs, strict=True)
    found = model.unseen(texts, labels, dict.fromkeys(LABELS, 4)).max(axis=1)
    assert clear.level is not None
    assert np.mean(found >= clear.level) >= 0.88 > np.mean(found >= clear.level + 1 / 32)
    counted = clear.rounds[1].total - 4 * (1 << 35)
    assert counted.sum() == len(pairs)


@pytest.mark.parametrize("fresh", [True, False])
def test_one_more_example_alters_no_bit_of_what_the_others_respond(
    clear: PrivateClasses, fresh: bool
) -> None:
    model = ClassModel(clear.sums)
    texts, labels = zip(*(pair for pair in PAIRS[:80] if pair[1] != BENIGN), strict=True)
    responses = Responses(model, 4)

    def found(count: int) -> np.ndarray:
        return np.concatenate([*responses.strongest(texts[:count], labels[:count], fresh=fresh)])

    every, equal = found(len(texts)), dict.fromkeys(labels, 4)
    for count in (1, 2, 3, 7, len(texts) - 1):
        assert np.array_equal(found(count), every[:count])
    plain = model.attacked(texts) if fresh else model.unseen(texts, labels, equal)
    assert np.abs(every - plain.max(axis=1)).max() < 1e-4


def test_too_few_responses_set_no_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_classes, "_SHARES", (0.5, 0.49999, 0.00001))
    quiet(monkeypatch)
    learnt = PrivateClasses(SITES, LABELS, CLEAR)
    learnt.learn()
    assert learnt.sums is not None
    assert learnt.level is None


@pytest.mark.parametrize("sites", [{site: [] for site in SITES}, {**SITES, 3: [], 4: []}])
def test_where_nothing_is_above_the_noise_there_are_no_names(sites) -> None:
    learnt = PrivateClasses(sites, LABELS, CLEAR)
    learnt.learn()
    assert learnt.sums is None
    assert BENIGN in learnt.drowned
    assert [entry.what for entry in learnt.ledger.sent] == ["class sums"]
    assert 0 < learnt.ledger.epsilon(1e-5) < 100


def test_a_class_that_noise_drowns_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    learnt = PrivateClasses({**SITES, 2: PAIRS[40:43]}, [*LABELS, "empty"], CLEAR)
    learnt.learn()
    assert learnt.drowned == ("empty", "xss")
    assert learnt.sums is not None
    assert learnt.sums.labels == (BENIGN, "sqli")
    counted = learnt.rounds[1].total - 5 * (1 << 35)
    assert counted.sum() == 40  # those of xss are no longer of a class


@pytest.mark.slow
def test_the_noise_in_an_opened_sum_is_that_of_the_sites_in_it() -> None:
    learnt = PrivateClasses(SITES, LABELS, NamePrivacy(epsilon=2.0, dropout=0.25))
    learnt.learn(drops={2: "masked"})
    exact = sum(added(SITES[site], learnt.labels, NORM) for site in (1, 3, 4, 5))
    noise = learnt.rounds[0].total - 4 * (1 << 35) - exact
    for part, release, off in (
        (noise[:HALF], learnt.releases[0], 0.01),
        (noise[HALF:], learnt.releases[1], 0.1),
    ):
        variance = float(release.noise.sigma_squared) * 4
        assert abs(part.mean()) < 5 * math.sqrt(variance / part.size)
        assert abs(part.var() / variance - 1) < off
        assert release.parts <= 4
        promised = release.noise.sigma_squared * release.parts / release.sensitivity.squared
        assert promised > 1.0


@pytest.mark.slow
def test_the_noise_that_sums_say_they_have_is_there(noisy) -> None:
    learnt = noisy[0]
    exact = sum(added(pairs, learnt.labels, NORM) for pairs in learnt._sites.values())
    noise = learnt.rounds[0].total - 6 * (1 << 35) - exact
    products = private_classes._products(noise[:HALF], np.zeros((2, SIZE)))
    across = products[np.triu_indices(WIDTH, 1)]
    moments = noise[HALF:].reshape(2, SIZE)[:, :WIDTH] * 4 / 2
    assert abs(across.std() / learnt.sums.noise.products - 1) < 0.01
    assert abs(moments.std() / learnt.sums.noise.moments - 1) < 0.1
    largest = np.linalg.eigvalsh(products)[-1]
    assert 0.95 < 0.2 * largest / learnt.sums.noise.ridge < 1.1


def test_a_class_is_clear_of_noise_or_not() -> None:
    dice = np.random.default_rng(1)
    noise = np.rint(dice.normal(0, 100, (300, WIDTH))).astype(np.int64)
    assert not private_classes._above(noise, 100).any()
    for length, clear in ((0.4, False), (0.6, True)):
        assert (private_classes._above(noise + round(100 * length), 100) == clear).mean() > 0.95


def test_where_no_level_is_measured_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    names = PrivateClasses(SITES, LABELS, CLEAR)
    monkeypatch.setattr(names, "learn", lambda: None)
    requests = [usual(20, seed=site) for site in range(5)]
    chosen = Settings(cells=10, slots=5, salt=bytes(16))
    made = learnt_privately(requests, chosen, Privacy(epsilon=50.0), names)
    assert (made.classes, made.level) == (None, 0.3)


@pytest.mark.parametrize(("epsilon", "sites"), [(0.5, 5), (3.0, 20), (20.0, 100)])
def test_epsilon_is_what_was_promised_or_a_little_less(epsilon: float, sites: int) -> None:
    releases = NamePrivacy(epsilon=epsilon).releases(8, sites)
    spent = ReductionAccountant().epsilon(Composed.of(*releases), 1e-5)
    assert 0.95 * epsilon < spent <= epsilon


@pytest.mark.parametrize(("corrupt", "dropout"), [(0.1, 0.1), (0.0, 0.25)])
def test_a_site_that_takes_its_own_noise_off_the_sum_finds_what_was_promised_left(
    corrupt: float, dropout: float
) -> None:
    for sites in (5, 9, 10, 20):
        privacy = NamePrivacy(epsilon=3.0, corrupt=corrupt, dropout=dropout)
        scheme = SecAggPlus(clients=sites, length=1, width=32, corrupt=corrupt, dropout=dropout)
        others = min(scheme.survivors - 1, scheme.honest_inputs)
        releases = privacy.releases(3, sites)
        seen = Composed.of(*(replace(release, parts=others) for release in releases))
        assert ReductionAccountant().epsilon(seen, 1e-5) <= 3.0


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"delta": 1.0}, {"norm": 7}, {"norm": 65}, {"norm": 32.0}]
)
def test_privacy_states_its_inequality(wrong: dict[str, float]) -> None:
    assert NamePrivacy(epsilon=1.0).norm == NORM
    with pytest.raises(ParameterError, match="must hold"):
        NamePrivacy(**{"epsilon": 1.0} | wrong)


def test_noise_that_cannot_be_drawn_is_refused_before_anything_is_released() -> None:
    with pytest.raises(ParameterError, match=r"2\*\*36"):
        PrivateClasses(SITES, LABELS, NamePrivacy(epsilon=0.01))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["sqli"], "names given.*xss"),
        ([], "names but 'benign' >= 1"),
        ([*LABELS, *map(str, range(62))], "names <= 64"),
        ([*LABELS, "unknown"], "not in"),
    ],
)
def test_names_are_given_and_not_found(names: list[str], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem):
        PrivateClasses(SITES, names, CLEAR)
    with pytest.raises(ParameterError, match="labels in"):
        added(PAIRS, ["sqli"], NORM)


def test_a_site_gives_no_more_examples_than_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_classes, "MOST_EXAMPLES", 10)
    assert added(PAIRS[:10], LABELS, NORM).size > 0
    with pytest.raises(ParameterError, match="examples <= 10"):
        added(PAIRS[:11], LABELS, NORM)
    monkeypatch.setattr(private_classes, "MOST_EXAMPLES", 39)
    with pytest.raises(ParameterError, match="examples of a site <= 39"):
        PrivateClasses(SITES, LABELS, CLEAR)


def test_what_is_learned_again_is_of_the_last_sums_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    learnt = PrivateClasses({**SITES, 2: ODD_ONES, 5: PAIRS[60:80]}, LABELS, CLEAR)
    learnt.learn(drops={2: "masked"})
    learnt.learn()
    model = ClassModel(learnt.sums)
    answers = private_classes.Responses(model, 4)
    known = [private_classes._steps(model, answers, s, fresh=False) for s in learnt._sites.values()]
    assert np.array_equal(learnt.rounds[3].total - 5 * (1 << 35), sum(known))
    monkeypatch.setattr(private_classes, "_CLEAR", 1e9)
    learnt.learn()
    assert (learnt.sums, learnt.level, len(learnt.rounds)) == (None, None, 5)


@pytest.fixture(scope="module")
def noisy() -> tuple[PrivateClasses, list[str], list[str]]:
    """With much noise, for what there is; and fresh values of both kinds."""
    dice = np.random.default_rng(1)

    def word() -> str:
        return "".join(chr(97 + c) for c in dice.integers(0, 26, 5))

    words = [f"{word()} {word()} {word()}" for _ in range(3000)]
    queries = [f"{i}' or {word()}={i} union select {word()} from users--" for i in range(700)]
    pairs = [(t, BENIGN) for t in words[:2800]] + [(t, "sqli") for t in queries[:600]]
    sites = {site: pairs[site::6] for site in range(6)}
    numbered = {site + 1: own for site, own in sites.items()}
    # noise from a seed: what is said of one draw is so in each run
    drawn = random.Random(1).randbytes
    learnt = PrivateClasses(numbered, ["sqli"], NamePrivacy(epsilon=8.0), rand=drawn)
    learnt.learn()
    return learnt, words[2800:], queries[600:]


def test_noisy_sums_name_fresh_values(noisy) -> None:
    learnt, words, queries = noisy
    model = ClassModel(learnt.sums)
    named = [name.label for name in Namer(model, learnt.level).names(queries)]
    assert named.count("sqli") > 75  # the level leaves 12 of 100 unknown
    parts = model.parts([*queries, *words])
    assert (parts.argmax(axis=1) == [1] * len(queries) + [0] * len(words)).mean() > 0.97
    assert abs(model.usual[0] - model.attacked(queries).mean()) < 0.4  # these are shorter
    assert abs(learnt.sums.counts[1] - 600) < 60
    assert 0.1 < learnt.level <= 0.8


def test_what_noise_gets_from_itself_is_no_response(noisy) -> None:
    """Ten times the noise that is in the moments, and twice in the same: what is said of usual
    responses stays only if the noise is known.
    """
    sums, dice = noisy[0].sums, np.random.default_rng(2)
    deviation = 10 * sums.noise.moments
    more = sums.moments + np.rint(dice.normal(0, deviation, sums.moments.shape)).astype(np.int64)
    more[:, -1] = sums.moments[:, -1]
    louder = replace(sums, moments=more)
    known = replace(louder, noise=sums.noise + Noise(moments=deviation))
    expected = ClassModel(sums).usual[0]
    assert abs(ClassModel(known).usual[0] - expected) < 0.3
    assert ClassModel(louder).usual[0] > expected + 1


def test_noisy_products_have_no_negative_eigenvalue_and_a_ridge(noisy) -> None:
    sums = noisy[0].sums
    values = np.linalg.eigvalsh(sums.products.astype(float))
    assert values.min() > -SIZE  # rounding
    assert values.max() > 10 * sums.noise.ridge > 0
    assert np.array_equal(sums.products, sums.products.T)
    regular = ClassModel(sums).regular
    assert regular[0, 0] - sums.products[0, 0] >= sums.noise.ridge * (1 - 1e-9)
    assert EXACT.ridge == 0.0


def test_directions_names_and_floors_hold_with_noise(noisy) -> None:
    learnt, _, queries = noisy
    model = ClassModel(learnt.sums)
    assert np.allclose(np.linalg.norm(model.embed(queries), axis=1), 1.0)
    assert np.isfinite(model.floors).all()
    assert clusters(model, [*queries[:12], *USUAL[:12]]).shape == (24,)
    later = with_examples(learnt.sums, [(text, "xss") for text in XSS])
    assert later.noise == learnt.sums.noise
    namer = Namer(ClassModel(later), learnt.level, ("xss",))
    assert [name.label for name in namer.names(XSS[:10])].count("xss") > 5
    assert [name.label for name in namer.names(queries)].count("sqli") > 75


def test_noise_adds_up_and_nothing_is_taken_from_it() -> None:
    noise = Noise(products=3.0, moments=5.0) + Noise(products=4.0, moments=12.0)
    assert noise == Noise(products=5.0, moments=13.0)
    sums = ClassSums.learn(PAIRS, LABELS, dict.fromkeys(LABELS, 4))
    hidden = replace(sums, noise=noise)
    assert (hidden + sums).noise == noise
    assert (sums - sums).counts.sum() == 0
    assert hidden.digest != sums.digest == replace(hidden, noise=EXACT).digest
    for one, other in ((hidden, sums), (sums, hidden)):
        with pytest.raises(ProfileMismatch, match="with noise"):
            one - other
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ParameterError, match="deviation < infinity"):
            Noise(products=wrong)


def test_a_profile_with_noisy_names_comes_back_as_it_was(noisy, tmp_path: Path) -> None:
    learned, _, queries = noisy
    profile = learnt(gather(usual(30)), Settings(cells=10, slots=5, salt=bytes(16)), None)
    profile.classes, profile.level, profile.ledger = learned.sums, 0.25, learned.ledger
    path = tmp_path / "p"
    profile.save(path)
    again = Profile.load(path)
    assert again.classes.digest == learned.sums.digest
    assert again.classes.noise == learned.sums.noise
    assert again.ledger.epsilon(1e-5) == learned.ledger.epsilon(1e-5)
    fresh, back = ClassModel(learned.sums), ClassModel(again.classes)
    assert np.array_equal(fresh.parts(queries), back.parts(queries))
    with pytest.raises(ProfileMismatch, match="not taught from these"):
        names_forgotten(again, PAIRS[:1], PAIRS[1:])
    again.classes = replace(again.classes, noise=EXACT)
    arrays = again._arrays()
    about = json.loads(arrays["about"].tobytes())
    del about["noise"]  # as profiles of before
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    assert Profile._from(arrays).classes.noise == EXACT
    object.__setattr__(again.classes.noise, "products", math.nan)
    again.save(path)
    object.__setattr__(EXACT, "products", 0.0)
    with pytest.raises(ProfileUnreadable, match="deviation"):
        Profile.load(path)


def test_a_ledger_of_several_noisy_parts_is_written_and_read(clear: PrivateClasses) -> None:
    ledger = clear.ledger
    assert [entry.what for entry in ledger.sent] == ["class sums", "responses to names"]
    assert Ledger.read(json.loads(json.dumps(ledger.document))) == ledger
    charged = Composed.of(*clear.releases)
    assert ledger.epsilon(1e-5) == ReductionAccountant().epsilon(charged, 1e-5) <= 100


@pytest.fixture
def given_examples(tmp_path: Path) -> list[str]:
    files = []
    for number, pairs in enumerate((PAIRS[:80] * 4, PAIRS[80:] * 4)):
        path = tmp_path / f"{number}.examples"
        rows = (json.dumps({"value": text, "label": label}) for text, label in pairs)
        path.write_text("\n".join(rows))
        files.append(str(path))
    return files


def asked(logs: list[str], tmp_path: Path, *more: str) -> tuple[str, ...]:  # noqa: F811
    return ("learn-privately", *logs, "-p", str(tmp_path / "p"), *more)


def test_the_command_learns_names_and_tells_what_all_of_it_cost(
    logs: list[str],  # noqa: F811
    given_examples: list[str],
    tmp_path: Path,
) -> None:
    files = [part for file in given_examples for part in ("--examples", file)]
    names = ("--name", "sqli", "--name", "xss", "--name", "java")
    found = run(*asked(logs, tmp_path, *files, *names, "--names-epsilon", "20"))
    assert found.exit_code == 0
    assert "names learnt: benign, sqli, xss; drowned in noise: java" in found.stderr
    profile = Profile.load(tmp_path / "p")
    assert f"unknown below a response of {profile.level:.2f}, as measured" in found.stderr
    assert profile.level in [step / 32 for step in range(1, 26)] + [0.8]
    spent = profile.ledger.epsilon(1e-5)
    events = [entry.event for entry in profile.ledger.sent]
    assert spent == ReductionAccountant().epsilon(Composed.of(*events), 1e-5)
    assert 20 < spent < 23
    assert f"epsilon {spent:.3f} at delta 1e-05" in found.stderr
    told = run("ledger", "-p", str(tmp_path / "p")).stdout
    assert f"epsilon {spent:.3f}" in told
    assert "class sums: 2,1" in told
    assert "responses to names: 32 integers" in told
    labels = [n.label for n in Namer(ClassModel(profile.classes), 0.0).names([SQLI[3], XSS[3]])]
    assert labels == ["sqli", "xss"]


def test_what_a_profile_has_cost_stays_in_the_ledger_of_the_one_in_its_place(
    logs: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    once = run(*asked(logs, tmp_path, "--epsilon", "3"))
    first = Profile.load(tmp_path / "p").ledger
    twice = run(*asked(logs, tmp_path, "--epsilon", "3"))
    both = Profile.load(tmp_path / "p").ledger
    assert (once.exit_code, twice.exit_code) == (0, 0)
    assert both.sent[:2] == first.sent
    assert len(both.sent) == 4
    assert 4.4 < both.epsilon(1e-5) < 4.6
    assert f"epsilon {both.epsilon(1e-5):.3f}" in twice.stderr


def test_nothing_gets_a_name_where_nothing_usual_is_known(
    logs: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    assert run(*asked(logs, tmp_path)).exit_code == 0
    rows = ({"method": r.method, "target": r.target, "body": r.body} for r in attacks())
    bad, path = tmp_path / "attacks.jsonl", str(tmp_path / "p")
    bad.write_text("\n".join(json.dumps(row) for row in rows))
    told = run("clusters", str(bad), "-p", path, "--least", "2", "--propose", "1").stdout
    chosen = told.splitlines()[-1].split()[0]
    found = run("label", chosen, "odd", str(bad), "-p", path, "--least", "2")
    assert found.exit_code == 2
    assert "usual shapes or benign examples must be in the profile: `teach`" in found.stderr
    assert Profile.load(tmp_path / "p").classes is None


def test_noise_after_an_exact_sum_promises_nothing(
    logs: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    assert run("learn", *logs, "--together", "-p", str(tmp_path / "p")).exit_code == 0
    found = run(*asked(logs, tmp_path))
    assert found.exit_code == 0
    assert "no epsilon: an exact sum promises none" in found.stderr


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--name", "sqli"), "--name with --examples"),
        (("--examples", "FILE"), "--name with --examples"),
        (("--examples", "FILE", "--name", "sqli"), "among the names given"),
        (("--examples", "FILE") * 6 + ("--name", "sqli"), "files of examples <= logs"),
        (("--examples", "FILE", "--name", "sqli", "--protects", "site"), "--protects request"),
        (("--examples", "FILE", "--name", "sqli", "--names-epsilon", "0"), "0 < epsilon"),
        (("--examples", "FILE", "--name", "unknown"), "name not in"),
    ],
)
def test_the_command_refuses_before_it_learns(
    logs: list[str],  # noqa: F811
    given_examples: list[str],
    tmp_path: Path,
    more: tuple[str, ...],
    problem: str,
) -> None:
    found = run(*asked(logs, tmp_path, *(m.replace("FILE", given_examples[0]) for m in more)))
    assert found.exit_code == 2
    assert problem in found.stderr
    assert not (tmp_path / "p").exists()


def test_fractions_of_the_budget_are_all_of_it() -> None:
    shares = [Fraction(str(share)) for share in private_classes._SHARES]
    assert sum(shares) == 1
