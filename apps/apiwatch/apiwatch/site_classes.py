"""What a site adds to the class sums, and what it does with those of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apiwatch.class_round import ClassRound, Learnt, Listed
from apiwatch.classes import BENIGN
from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.pending import Pending
from apiwatch.shared_classes import SharedClasses
from apiwatch.store import Profile
from apiwatch.work import benign_sums, with_examples

__all__ = ["Named", "SiteClasses", "give_names"]

_Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Named:
    """What all sites share after a round. sites: in the class sums. names: how many examples of
    each the round was to have.
    """

    shared: SharedClasses
    sites: frozenset[int]
    names: Mapping[str, int]


class SiteClasses:
    """One site in one class round. pending: its examples, or None where it keeps none."""

    def __init__(self, opened: ClassRound, me: int, pending: Pending | None) -> None:
        self._opened, self._me, self._pending = opened, me, pending
        self.shared: SharedClasses | None = None

    @property
    def _examples(self) -> list[tuple[str, str]]:
        return self._pending.pairs if self._pending else []

    def _hear(self, content: bytes, profile: Profile) -> None:
        """The class sums before this round, as the server has sent them.

        Raises `RoundFailed` for others than those that it has announced, and `ParameterError` where
        names that only this profile has would be lost.
        """
        shared = SharedClasses.read(content)
        if shared.digest != self._opened.shared:
            raise RoundFailed("the server's class sums are not those that it has announced")
        if shared.era != self._opened.agreement.era:
            raise RoundFailed("the server's class sums are of before a site left")
        if self._pending:
            self._pending.settle(shared.rounds, self._me)
        known = profile.classes.labels if profile.classes else ()
        lost = set(known) - {BENIGN} - set(shared.labels) - {label for _, label in self._examples}
        if lost:
            raise ParameterError(
                f"examples given to all for every name must hold, none are of {sorted(lost)}"
            )
        self.shared = shared

    def heard(self, content: bytes, profile: Profile) -> _Integers | None:
        """For the sum of names: what this site adds, once the server has sent what was before."""
        if self.shared is None and content:
            self._hear(content, profile)
        return None if self.shared is None else self._entries()

    def _entries(self) -> _Integers:
        return self._opened.entries(self._pending.counts if self._pending else {})

    def listed(self, included: frozenset[int], total: _Integers) -> Listed:
        """Of the sum. Raises `RoundFailed` for one that lacks what this site added."""
        if self.shared is None:
            raise RoundFailed("the server has sent no class sums")
        listed = self._opened.listed(included, total, self.shared)
        own = self._pending.counts if self._pending else {}
        if self._me in included and any(own[name] > listed.names.get(name, 0) for name in own):
            raise RoundFailed("the sum of names lacks what this site has added")
        return listed

    def vector(self, listed: Listed) -> _Integers | None:
        """For the class sums, if this site is asked. That it may be in them is on disk before it
        leaves.
        """
        if self._me not in listed.sites:
            return None
        vector = listed.vector(self._examples)
        if self._pending:
            self._pending.mark(self._opened.session)
        return vector

    def learnt(
        self, listed: Listed, included: frozenset[int], total: _Integers, own: _Integers | None
    ) -> Learnt:
        """Of the class sums. Raises `RoundFailed` where they lack what this site added."""
        if own is not None and self._me in included and np.any(own > total):
            raise RoundFailed("the class sums lack what this site has added")
        return listed.summed(included, total)

    def left(self, included: frozenset[int]) -> list[tuple[str, str]]:
        """Examples that are in no sum even now; the others are forgotten."""
        if self._pending:
            self._pending.settle({self._opened.session.hex(): tuple(included)}, self._me)
        return self._examples

    def responses(self, learnt: Learnt) -> _Integers | None:
        """For the sum of responses, if this site is asked."""
        return learnt.responses(self._examples) if self._me in learnt.sites else None


def give_names(profile: Profile, shared: SharedClasses, own: Sequence[tuple[str, str]]) -> None:
    """Put the class sums of all into a profile, and what this site alone has given names to.

    Where nobody has given benign examples, the site's own usual shapes stand for them.
    """
    sums = shared.sums
    if sums is None and not own:
        return
    if sums is None or BENIGN not in sums.labels:
        plain = benign_sums(profile)
        sums = sums + plain if sums else plain
    profile.classes = with_examples(sums, own) if own else sums
    new = {label for _, label in own} - set(shared.labels) - {BENIGN}
    profile.later = tuple(sorted(new.union(shared.later)))
    if shared.level is not None:
        profile.level = shared.level
