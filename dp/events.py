"""What was released, as data: an accountant turns an event into epsilon and delta.

Events are frozen and hashable, and every one has a `document` of JSON types, from which `event_of`
builds it again, exactly. They hold public figures only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Self, TypeVar

from dp.errors import DecodeError, ParameterError, UnknownEvent, require
from dp.noise import IntegerNoise, real, shown, whole
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.sensitivity import Sensitivity

__all__ = ["Composed", "Event", "Gaussian", "Release", "Sampled", "event_of"]

_T = TypeVar("_T")
_LAWS: dict[str, type[IntegerNoise]] = {
    "skellam": Skellam,
    "discrete_gaussian": DiscreteGaussian,
}
_RATIONAL = re.compile(r"[1-9][0-9]{0,1200}(/[1-9][0-9]{0,1200})?")


@dataclass(frozen=True)
class Event(ABC):
    """Something that was released, of which each client knows a bound on its own part."""

    @abstractmethod
    def document(self) -> dict[str, object]:
        """Strings, ints, floats, lists and dicts, from which `event_of` gives this event again."""


@dataclass(frozen=True)
class Gaussian(Event):
    """A vector with continuous Gaussian noise of `noise_multiplier` times its L2 sensitivity.

    No machine adds it; it is what bounds are compared with. Raises `ParameterError` unless
    2**-500 <= noise_multiplier <= 2**500.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = real(
            "2**-500 <= noise_multiplier <= 2**500",  # so that its square is a normal float64
            self.noise_multiplier,
            lambda number: 2.0**-500 <= number <= 2.0**500,
        )
        object.__setattr__(self, "noise_multiplier", value)

    def document(self) -> dict[str, object]:
        return {"event": "gaussian", "noise_multiplier": self.noise_multiplier}


@dataclass(frozen=True)
class Release(Event):
    """An integer vector with the sum of `parts` independent draws of `noise` in each coordinate.

    Raises `ParameterError` unless parts >= 1 and the sensitivity is that of integers.
    """

    noise: IntegerNoise
    parts: int
    sensitivity: Sensitivity

    def __post_init__(self) -> None:
        kind = isinstance(self.noise, IntegerNoise)
        require(kind, f"noise: IntegerNoise, not {shown(self.noise)},")
        object.__setattr__(self, "parts", whole("parts", self.parts, 1))
        of_integers = isinstance(self.sensitivity, Sensitivity) and self.sensitivity.integral
        require(of_integers, f"sensitivity: integral, not {shown(self.sensitivity)},")

    def document(self) -> dict[str, object]:
        """Raises `UnknownEvent` for noise of a law that has no name in documents."""
        return {
            "event": "release",
            "noise": _name(self.noise),
            "sigma_squared": str(self.noise.sigma_squared),
            "parts": self.parts,
            "squared": str(self.sensitivity.squared),
            "coordinates": self.sensitivity.coordinates,
        }


@dataclass(frozen=True)
class Sampled(Event):
    """`event` on a cohort that each client joins by itself with `probability` (Poisson sampling).

    Smaller than `event` only for whoever does not know who took part. The server of a secure
    aggregation does know: against it, count the event without sampling.

    Raises `ParameterError` unless 0 < probability <= 1 and `event` is one release.
    """

    probability: float
    event: Gaussian | Release

    def __post_init__(self) -> None:
        value = real("0 < probability <= 1", self.probability, lambda number: 0 < number <= 1)
        object.__setattr__(self, "probability", value)
        single = isinstance(self.event, Event) and not isinstance(self.event, Sampled | Composed)
        require(single, f"event: one release, not {shown(self.event)},")

    def document(self) -> dict[str, object]:
        return {
            "event": "sampled",
            "probability": self.probability,
            "of": self.event.document(),
        }


@dataclass(frozen=True)
class Composed(Event):
    """Events one after another, each so many times; each may be run on what came before.

    Which event comes next may depend on earlier outputs too, such as a clip bound that follows the
    norms, as long as none is sampled: what composes is then a filter on a sum of squares. Events
    that are sampled must be fixed beforehand.

    Raises `ParameterError` unless 1 <= count < 2**63, and for an event that is composed itself.
    """

    events: tuple[tuple[Event, int], ...]

    def __post_init__(self) -> None:
        require(isinstance(self.events, tuple), "events: a tuple")
        object.__setattr__(self, "events", tuple(map(_counted, self.events)))

    @classmethod
    def of(cls, *events: Event) -> Self:
        """All of them: equal ones are counted together, composed ones opened."""
        counts: dict[Event, int] = {}
        for event in events:
            for leaf, count in event.events if isinstance(event, Composed) else [(event, 1)]:
                counts[leaf] = counts.get(leaf, 0) + count
        return cls(tuple(counts.items()))

    def document(self) -> dict[str, object]:
        return {
            "event": "composed",
            "events": [[event.document(), count] for event, count in self.events],
        }


def event_of(document: object) -> Event:
    """The event of which this is the `document`.

    Raises `DecodeError` for anything that `document` does not return, further keys included.
    """
    if isinstance(document, dict) and document.get("event") == "composed":
        pairs = _fields(document, "events")["events"]
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise DecodeError("events: a list of pairs [event, count]")
        return _build(Composed, tuple((_single(event), count) for event, count in pairs))
    return _single(document)


def _single(document: object) -> Event:
    if isinstance(document, dict) and document.get("event") == "sampled":
        fields = _fields(document, "probability", "of")
        return _build(Sampled, _float(fields, "probability"), _release(fields["of"]))
    return _release(document)


def _release(document: object) -> Event:
    if isinstance(document, dict) and document.get("event") == "gaussian":
        fields = _fields(document, "noise_multiplier")
        return _build(Gaussian, _float(fields, "noise_multiplier"))
    if isinstance(document, dict) and document.get("event") == "release":
        names = ("noise", "sigma_squared", "parts", "squared", "coordinates")
        return _release_of_integers(_fields(document, *names))
    raise DecodeError("event: gaussian, release, sampled of one of these, or composed of these")


def _release_of_integers(fields: dict[str, object]) -> Event:
    name = fields["noise"]
    if not isinstance(name, str) or name not in _LAWS:
        raise DecodeError(f"noise: one of {', '.join(_LAWS)}")
    noise = _build(_LAWS[name], _rational(fields, "sigma_squared"))
    sensitivity = _build(
        Sensitivity,
        squared=_rational(fields, "squared"),
        coordinates=_integer(fields, "coordinates"),
        integral=True,
    )
    return _build(Release, noise, _integer(fields, "parts"), sensitivity)


def _build(kind: Callable[..., _T], *values: object, **named: object) -> _T:
    """What the constructor refuses is a fault of the document."""
    try:
        return kind(*values, **named)
    except ParameterError as error:
        raise DecodeError(str(error)) from error


def _fields(document: dict[str, object], *names: str) -> dict[str, object]:
    """The document, if it has these keys beside "event" and no other."""
    if set(document) != {"event", *names}:
        raise DecodeError(f"{document['event']}: exactly the keys event, {', '.join(names)}")
    return document


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _float(fields: dict[str, object], name: str) -> float:
    value = fields[name]
    if not isinstance(value, float):
        raise DecodeError(f"{name}: a float")
    return value


def _integer(fields: dict[str, object], name: str) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise DecodeError(f"{name}: an integer")
    return value


def _rational(fields: dict[str, object], name: str) -> Fraction:
    """From the one string that `str` makes of it; the length is bounded before it is read."""
    value = fields[name]
    if not isinstance(value, str) or not _RATIONAL.fullmatch(value):
        raise DecodeError(f"{name}: a positive rational as a string")
    ratio = Fraction(value)
    if str(ratio) != value:
        raise DecodeError(f"{name}: a rational in lowest terms")
    return ratio


def _counted(pair: object) -> tuple[Event, int]:
    require(isinstance(pair, tuple) and len(pair) == 2, "events: pairs of an event and its count")
    assert isinstance(pair, tuple)
    event, count = pair
    simple = isinstance(event, Event) and not isinstance(event, Composed)
    require(simple, f"an event that is not composed itself, not {shown(event)},")
    times = whole("count", count, 1)
    require(times < 1 << 63, f"count < 2**63, not {shown(times)},")
    return event, times


def _name(noise: IntegerNoise) -> str:
    for name, law in _LAWS.items():
        if type(noise) is law:
            return name
    raise UnknownEvent(f"{type(noise).__name__} has no name in documents")
