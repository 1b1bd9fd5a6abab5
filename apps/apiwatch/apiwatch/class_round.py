"""The sums by which all sites learn names, as server and sites see them alike.

    listing    which names there are, and how many examples of each: a table of names
    summing    the class sums, weighted by how rare each class is among all sites
    leveling   how known attacks respond that the model has not seen: the level of the unknown

Each is bound to what was announced before it, and to the class sums that all had before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apiwatch import name_table
from apiwatch.agreement import Agreement, Sum, announced
from apiwatch.classes import (
    BENIGN,
    MOST_WEIGHT,
    ClassModel,
    ClassSums,
    class_weights,
    largest_entry,
)
from apiwatch.errors import RoundFailed
from apiwatch.naming import counted, level_of
from apiwatch.shared_classes import SharedClasses, class_vector_size, layout

__all__ = ["ClassRound", "Learnt", "Listed", "Opening", "What", "largest_sums"]

_STEPS = 256  # in which responses are counted, of [0, 1]
_Integers = NDArray[np.int64]


class What(IntFlag):
    """What a session sums."""

    PROFILE = 1
    CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a server says first. agreement: 32 bytes that name its own. shared: 32 bytes that name
    the class sums so far, and layout: their version; both empty where none are taken.
    """

    session: bytes
    what: What
    agreement: bytes
    shared: bytes = b""
    layout: bytes = b""

    @classmethod
    def of(cls, session: bytes, what: What, agreement: bytes, shared: bytes) -> Self:
        """With the version of this package's class sums, if they are taken."""
        made = cls(session=session, what=what, agreement=agreement)
        if What.CLASSES not in what:
            return made
        return replace(made, shared=shared, layout=bytes.fromhex(layout()))

    @property
    def content(self) -> bytes:
        """As it is sent."""
        return self.session + bytes((self.what,)) + self.agreement + self.shared + self.layout

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The inverse of `content`. Raises `RoundFailed` where the server is of another version."""
        what = What(content[16] & 3) if len(content) > 16 else What(0)
        size = 113 if What.CLASSES in what else 49
        if not what or what != content[16] or len(content) != size:
            raise RoundFailed("the server speaks another version of apiwatch")
        made = cls(
            session=content[:16],
            what=what,
            agreement=content[17:49],
            shared=content[49:81],
            layout=content[81:],
        )
        if What.CLASSES in what and made.layout != bytes.fromhex(layout()):
            raise RoundFailed("the server's class sums are those of another version of apiwatch")
        return made


@dataclass(frozen=True, kw_only=True)
class ClassRound:
    """One round over `sites`, whose first sum has this `number`.

    before: 32 bytes that name what was announced before. shared: those of the class sums so far.
    """

    agreement: Agreement
    session: bytes
    sites: frozenset[int]
    before: bytes
    shared: bytes
    number: int = 0

    def listing(self) -> Sum:
        """The sum of names."""
        parts = self.before + self.shared + bytes.fromhex(layout())
        return self.agreement.among(
            self.sites,
            what="names",
            session=self.session,
            number=self.number,
            model=blake2b(parts, digest_size=32, person=b"apiwatch names").digest(),
            length=name_table.LENGTH,
            bound=name_table.MOST,
            most=name_table.MOST * len(self.sites),
        )

    def entries(self, examples: Mapping[str, int]) -> _Integers:
        """What a site adds to it."""
        return name_table.entries(examples, self.session)

    def listed(self, included: frozenset[int], total: _Integers, shared: SharedClasses) -> Listed:
        """What follows from the sum. Raises `RoundFailed` for what is no sum of names."""
        names = name_table.names_in(total, self.session)
        if len({*names, *shared.labels}) > name_table.MOST_NAMES:
            raise RoundFailed(f"names of all rounds <= {name_table.MOST_NAMES} must hold")
        before = announced(self.listing().round.model, included, total)
        return Listed(round=self, sites=included, before=before, names=names, shared=shared)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """names: how many examples of each there are, over `sites`."""

    round: ClassRound
    sites: frozenset[int]
    before: bytes
    names: Mapping[str, int]
    shared: SharedClasses

    @property
    def weights(self) -> dict[str, int]:
        """Of an example of each name, by how many there are of it in this round and before."""
        sums = self.shared.sums
        known = dict(zip(sums.labels, sums.counts.tolist(), strict=True)) if sums else {}
        whole = {label: known.get(label, 0) + self.names.get(label, 0) for label in self.labels}
        weights = class_weights(whole)
        return {name: weights[name] for name in self.names}

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of before and the new ones, ascending."""
        return tuple(sorted({*self.names, *self.shared.labels}))

    @property
    def most(self) -> int:
        """What no entry of the class sums exceeds."""
        return largest_entry(self.names, self.weights)

    def summing(self) -> Sum:
        """The class sums. They cannot overflow: their ring is as large as these names need."""
        return self.round.agreement.among(
            self.sites,
            what="class sums",
            session=self.round.session,
            number=self.round.number + 1,
            model=self.before,
            length=class_vector_size(len(self.names)),
            bound=self.most,
            most=self.most,
        )

    def vector(self, examples: Sequence[tuple[str, str]]) -> _Integers:
        """What a site adds to them. It takes as long as for the examples of all: time must not
        tell how many are the site's own.
        """
        weights = self.weights
        ClassSums.learn(self.others(examples), self.names, weights)
        return ClassSums.learn(examples, self.names, weights).vector

    def others(self, examples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """As many as are not this site's, by label; empty ones."""
        left = Counter(self.names)
        left.subtract(label for _, label in examples)
        return [("", label) for label, count in left.items() for _ in range(count)]

    def summed(self, included: frozenset[int], total: _Integers) -> Learnt:
        """What follows from the sum. Raises `RoundFailed` for one that no examples give."""
        if total.min() < 0 or total.max() > self.most:
            raise RoundFailed(f"class sums in [0, {self.most}] must hold")
        sums = ClassSums.from_vector(total, tuple(self.names))
        if any(sums.counts > np.array(list(self.names.values()))):
            raise RoundFailed("the class sums have more examples than there are")
        fresh = set(self.names) - set(self.shared.labels)
        is_first = BENIGN in fresh
        made = replace(
            self.shared,
            sums=self.shared.sums + sums if self.shared.sums else sums,
            later=tuple(sorted({*self.shared.later, *(() if is_first else fresh)})),
            rounds=self.shared.rounds_with(self.round.session, included),
        )
        before = announced(self.before, included, total)
        return Learnt(listed=self, sites=included, before=before, shared=made)


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """shared: the class sums of all rounds, this one included."""

    listed: Listed
    sites: frozenset[int]
    before: bytes
    shared: SharedClasses

    @property
    def has_level(self) -> bool:
        """Whether nothing is left to sum: the level is known, or nobody can tell it yet."""
        attacks = set(self.listed.names) - {BENIGN}
        return self.shared.level is not None or BENIGN not in self.shared.labels or not attacks

    def leveling(self) -> Sum:
        """How many known attacks give which response."""
        opened = self.listed.round
        return opened.agreement.among(
            self.sites,
            what="responses to names",
            session=opened.session,
            number=opened.number + 2,
            model=self.before,
            length=_STEPS,
            bound=name_table.MOST_EXAMPLES,
            most=name_table.MOST_EXAMPLES * len(self.sites),
        )

    def responses(self, examples: Sequence[tuple[str, str]]) -> _Integers:
        """(256,) what a site adds to it: each response as if the example were in no sum.

        It takes as long as for the examples of all, as above.
        """
        assert self.shared.sums is not None
        both = [*examples, *self.listed.others(examples)]
        known = [(text, label) for text, label in both if label != BENIGN]
        own = sum(label != BENIGN for _, label in examples)
        texts, labels = zip(*known, strict=True)
        answers = ClassModel(self.shared.sums).unseen(texts, labels, self.listed.weights)[:own]
        return counted(answers.max(axis=1), _STEPS)

    def leveled(self, total: _Integers) -> SharedClasses:
        """With the level that 88 % of known attacks reach, 0.8 at most; unknown where there were
        none.

        Raises `RoundFailed` for more responses than there are examples.
        """
        examples = sum(n for label, n in self.listed.names.items() if label != BENIGN)
        if total.min() < 0 or total.sum() > examples:
            raise RoundFailed(f"responses <= {examples} examples must hold")
        if not total.any():
            return self.shared
        return replace(self.shared, level=level_of(total))


def largest_sums(agreement: Agreement, session: bytes) -> tuple[Sum, Sum]:
    """A sum of names, and class sums of as many names and examples as there may be: no frame of a
    class round is longer than the longest of theirs.
    """
    everybody = frozenset(agreement.roster.ids)
    examples = {"": name_table.MOST_EXAMPLES * len(everybody)}
    most = largest_entry(examples, {"": MOST_WEIGHT})
    opened = ClassRound(
        agreement=agreement, session=session, sites=everybody, before=bytes(32), shared=bytes(32)
    )
    largest = agreement.among(
        everybody,
        what="class sums",
        session=session,
        number=1,
        model=bytes(32),
        length=class_vector_size(name_table.MOST_NAMES),
        bound=most,
        most=most,
    )
    return opened.listing(), largest
