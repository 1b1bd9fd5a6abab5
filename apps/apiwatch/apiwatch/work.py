"""What the commands do, without their input and output."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from rich.text import Text

from apiwatch.alerts import Alert, group
from apiwatch.calibration import Calibration
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.detector import Detector, Judged, threshold_for
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.event import Field, Request
from apiwatch.explain import Usual, explain
from apiwatch.federation import Federation
from apiwatch.naming import Name, Namer, level_for, tag_of, text_of
from apiwatch.private import Privacy, PrivateFederation
from apiwatch.private_classes import PrivateClasses
from apiwatch.proved import ProvedFederation
from apiwatch.settings import Settings, require
from apiwatch.store import Profile
from apiwatch.table import Table
from apiwatch.unknown import clusters, covering

__all__ = [
    "alerts_of",
    "benign_sums",
    "explained",
    "forgotten",
    "labeled",
    "learnt",
    "learnt_privately",
    "learnt_together",
    "namer_of",
    "names_forgotten",
    "names_of",
    "proposals",
    "set_threshold",
    "taught",
    "unknown_clusters",
    "with_examples",
]

_UNSET = 10.0  # standard deviations: until `threshold` is told how many alerts are wanted
_DAY = 86_400.0
_ID = 16  # digits of an alert's id
_STRUCTURE = Name("structure", 0.0)


def learnt(counts: Counter[Field], settings: Settings, before: Profile | None) -> Profile:
    """The profile of one site, on top of what was there before."""
    own = Table.learn(counts, settings)
    table = before.table + own if before else own
    calibration = Calibration.learn(counts, table)
    usual = Usual.learn(counts)
    if before is None:
        return Profile(
            table=table, calibration=calibration, sites=own.bits, usual=usual, threshold=_UNSET
        )
    before.table = table
    before.calibration = before.calibration + calibration
    before.sites = np.maximum(before.sites, own.bits)
    before.usual = Usual(before.usual.shapes | usual.shapes)
    return before


def learnt_together(sites: Sequence[Counter[Field]], settings: Settings, bound: int = 0) -> Profile:
    """The profile that several sites share, by two secure sums; the first a proved one with a
    bound of the norm of counters.
    """
    require(len(sites) >= 5, "sites >= 5", len(sites))
    require(settings.support <= len(sites), f"support <= {len(sites)} sites", settings.support)
    numbered = dict(enumerate(sites, 1))
    if bound:
        least = len(sites) - len(sites) // 4
        federation: Federation = ProvedFederation(numbered, settings, bound=bound, minimum=least)
    else:
        federation = Federation(numbered, settings)
    federation.learn()
    shapes = Usual.learn(sum(sites, Counter[Field]()))
    agreed = federation.sites_per_cell >= settings.support
    shared = Table(settings, np.where(agreed, federation.total.counts, 0))
    return Profile(
        table=shared,
        calibration=federation.calibration,
        sites=federation.sites_per_cell,
        usual=shapes,
        threshold=_UNSET,
        ledger=federation.ledger,
    )


def learnt_privately(
    sites: Sequence[Sequence[Request]],
    settings: Settings,
    privacy: Privacy,
    names: PrivateClasses | None = None,
) -> Profile:
    """The profile that several sites share, where no exact sum is ever opened. names: what is to
    learn them as well.

    It holds no usual shapes: how common a shape is would be one more thing to tell.
    """
    require(len(sites) >= 5, "sites >= 5", len(sites))
    federation = PrivateFederation(dict(enumerate(sites, 1)), settings, privacy)
    federation.learn()
    made = Profile(
        table=federation.total,
        calibration=federation.calibration,
        sites=np.zeros_like(federation.total.counts),
        usual=Usual({}),
        threshold=_UNSET,
        ledger=federation.ledger,
    )
    if names is not None:
        names.learn()
        made.classes = names.sums
        made.level = Profile.level if names.level is None else names.level
        made.ledger += names.ledger
    return made


def forgotten(profile: Profile, gone: Counter[Field], rest: Counter[Field]) -> Profile:
    """The profile of who never saw `gone`. rest: all that stays, for the calibration.

    Raises `ProfileMismatch` where `gone` is not in the profile, or `rest` is not what is left.
    """
    settings = profile.table.settings
    left = profile.table - Table.learn(gone, settings)
    own = Table.learn(rest, settings)
    if not np.array_equal(own.counts, left.counts):
        raise ProfileMismatch(
            "the logs given as the rest are not what is left in the profile; a site of a round is "
            "taken out by `round leave`"
        )
    profile.table = left
    profile.sites = np.where(left.counts > 0, profile.sites, 0)
    profile.calibration = Calibration.learn(rest, left)
    profile.usual = Usual.learn(rest)
    return profile


def names_forgotten(
    profile: Profile, gone: Sequence[tuple[str, str]], rest: Sequence[tuple[str, str]]
) -> None:
    """The names of who was never taught `gone`. rest: all examples that stay, in the order in which
    they were taught.

    Raises `ProfileMismatch` where the names come from anything but both.
    """
    both = [*rest, *gone]
    weights = class_weights(Counter(name for _, name in both))
    if profile.classes is None or (
        ClassSums.learn(both, weights, weights).digest != profile.classes.digest
    ):
        raise ProfileMismatch(
            "the names were not taught from these examples, all of them and no others: `teach` "
            "those that stay, then `label` again; a site of a round is taken out by `round leave`"
        )
    if rest:
        taught(profile, rest)
    else:
        profile.classes, profile.later, profile.level = None, (), Profile.level


def set_threshold(
    profile: Profile, requests: Iterable[Request], *, alerts: int, per_day: int | None
) -> float:
    """The threshold by which usual traffic gives so many alerts a day."""
    scores, times = [], []
    for judged in profile.detector.judge(requests):
        scores.append(judged.score)
        if not math.isnan(judged.request.time):
            times.append(judged.request.time)
    daily = per_day or _per_day(len(scores), times)
    profile.threshold = threshold_for(np.array(scores), requests=daily, alerts=alerts)
    return profile.threshold


def _per_day(count: int, times: Sequence[float]) -> int:
    span = max(times) - min(times) if len(times) > 1 else 0.0
    if span <= 0:
        raise ParameterError("the logs have no times: requests per day must be given")
    # a burst of minutes is no day: an hour at least
    return max(1, round(count * _DAY / max(span, _DAY / 24)))


def alerts_of(profile: Profile, requests: Iterable[Request]) -> list[Alert]:
    """All requests above the threshold, named and grouped."""
    above = [
        judged for judged in profile.detector.judge(requests) if judged.score > profile.threshold
    ]
    return group(above, names_of(profile, above))


def names_of(profile: Profile, judged: Sequence[Judged]) -> list[Name]:
    """What C calls the blamed values; without classes all are anomalies."""
    return namer_of(profile)(judged)


def namer_of(profile: Profile) -> Callable[[Sequence[Judged]], list[Name]]:
    """`names_of`, with the work done once for many calls."""
    if profile.classes is None:
        return lambda judged: [Name("anomaly", 0.0)] * len(judged)
    namer = Namer(ClassModel(profile.classes), profile.level, profile.later)

    def names(judged: Sequence[Judged]) -> list[Name]:
        # C knows texts: of a method or a parameter's name it could only guess
        texts = [text_of(one.request, one.field) for one in judged if not one.field.place.is_atom]
        named = iter(namer.names(texts))
        return [_STRUCTURE if one.field.place.is_atom else next(named) for one in judged]

    return names


def unknown_clusters(
    profile: Profile, requests: Iterable[Request], least: int
) -> dict[int, list[Alert]]:
    """Alerts without a known name by cluster, largest first; -1 holds those that are alone."""
    unknown = [a for a in alerts_of(profile, requests) if a.name.label in ("unknown", "anomaly")]
    model, texts = _model(profile), [_text(alert) for alert in unknown]
    found: dict[int, list[Alert]] = {}
    for alert, number in zip(unknown, clusters(model, texts, least=least).tolist(), strict=True):
        found.setdefault(number, []).append(alert)
    return dict(sorted(found.items(), key=lambda item: (item[0] < 0, item[0])))


def proposals(profile: Profile, found: Mapping[int, Sequence[Alert]]) -> Iterator[Alert]:
    """All alerts of `unknown_clusters`, those first that show the most different kinds."""
    alerts = [alert for together in found.values() for alert in together]
    texts = [_text(alert) for alert in alerts]
    return (alerts[number] for number in covering(_model(profile), texts))


def _text(alert: Alert) -> str:
    return text_of(alert.first.request, alert.first.field)


def _model(profile: Profile) -> ClassModel:
    """Of a site that has no classes yet, directions of its usual shapes."""
    if profile.classes is not None:
        return ClassModel(profile.classes)
    return ClassModel(benign_sums(profile) + ClassSums.empty(["unknown"]))


def labeled(
    profile: Profile, requests: Iterable[Request], which: str, name: str, least: int
) -> list[tuple[str, str]]:
    """Add values of unknown alerts to the class sums under a name; these examples.

    which: a cluster, or ids of alerts with commas between. Raises `ParameterError` for one that is
    not there, for a name that means something else, and where nothing usual is known.
    """
    if not name or name in (BENIGN, "unknown", "anomaly", "structure"):
        raise ParameterError(
            f"name not in ('', '{BENIGN}', 'unknown', 'anomaly', 'structure') must hold"
        )
    texts = [_text(alert) for alert in _chosen(unknown_clusters(profile, requests, least), which)]
    examples = [(text, name) for text in texts]
    sums = profile.classes or benign_sums(profile)
    if not sums.counts[sums.labels.index(BENIGN)]:  # everything would answer to the one name
        raise ParameterError(
            "usual shapes or benign examples must be in the profile: `teach`, or `learn --more`"
        )
    if name not in sums.labels:
        profile.later = (*profile.later, name)
    profile.classes = with_examples(sums, examples)
    return examples


def with_examples(sums: ClassSums, examples: Sequence[tuple[str, str]]) -> ClassSums:
    """The sums and these examples, weighted by how rare their classes are among all that are new
    or known.
    """
    counts = dict(zip(sums.labels, sums.counts.tolist(), strict=True))
    counts |= Counter(label for _, label in examples)
    names = {label for _, label in examples}
    return sums + ClassSums.learn(examples, names, class_weights(counts))


def _chosen(found: Mapping[int, Sequence[Alert]], which: str) -> list[Alert]:
    if which.isdecimal() and len(which) < _ID:
        if int(which) not in found:
            numbers = sorted(number for number in found if number >= 0)
            raise ParameterError(f"cluster in {numbers} must hold, got {which}")
        return list(found[int(which)])
    known = {alert.id: alert for alerts in found.values() for alert in alerts}
    ids = dict.fromkeys(which.split(","))
    if missing := [one for one in ids if one not in known]:
        raise ParameterError(f"ids of unknown alerts must be given, got {missing}")
    return [known[one] for one in ids]


def taught(profile: Profile, examples: Sequence[tuple[str, str]]) -> None:
    """Learn names from pairs of text and label, benign ones among them.

    A fifth of them is first kept back, to see which responses known attacks get.
    """
    weights = class_weights(Counter(name for _, name in examples))
    kept = [pair for i, pair in enumerate(examples) if i % 5]
    back = [text for text, name in examples[::5] if name != BENIGN]
    profile.level = level_for(ClassModel(ClassSums.learn(kept, weights, weights)), back)
    profile.classes, profile.later = ClassSums.learn(examples, weights, weights), ()


def benign_sums(profile: Profile) -> ClassSums:
    """Where there are no classes yet: the usual shapes stand for usual values."""
    usual = [(shape, BENIGN) for shapes in profile.usual.shapes.values() for shape in shapes]
    return ClassSums.learn(usual, [BENIGN], {BENIGN: 4})


def explained(profile: Profile, alert: Alert) -> Iterable[Text]:
    """Lines for a terminal: reason, value with its surprising characters marked, what is usual."""
    detector: Detector = profile.detector
    told = explain(
        alert.first, detector, profile.usual, sites=profile.sites, threshold=profile.threshold
    )
    yield Text(f"{alert.id}  {alert.title}  score {alert.first.score:.1f}", style="bold")
    yield Text(told.reason)
    colored = Text("  ")
    for char, bits in zip(alert.first.field.value, told.bits.tolist(), strict=True):
        style = "bold white on red" if bits > 6 else "yellow" if bits > 3 else ""
        colored.append(char if char.isprintable() else "␀", style)
    yield colored
    shapes = "  ".join(told.usual) or "none that enough sites have seen"
    yield Text(f"usual here: {shapes}".replace("\x01", "␀"))
    verdict = "below" if told.cleared <= profile.threshold else "still above"
    yield Text(
        f"with a usual value in its place: {told.cleared:.1f}, {verdict} {profile.threshold:.1f}"
    )
    tag = tag_of(alert.name.label)
    if tag:
        yield Text(f"{tag.capec} {tag.title}, confidence {alert.name.confidence:.2f}")
