"""Examples that a site has given names to, in a file beside its profile; first those in no sum yet.

Lines are those that `teach` takes. A site that is lost after its vector has left cannot know
whether it is in the sum: it notes the session before, and the server tells at the next one who was
in it. So every example is counted once. Those that are in a sum stay, with its era: when another
site leaves, an era ends, and what is learned then is learned from all of them again. What another
command has added meanwhile stays, behind what is there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from protocols.files import locked

from apiwatch.errors import ChangedMeanwhile, ParameterError, ProfileUnreadable
from apiwatch.name_table import check_name
from apiwatch.store import write_private

__all__ = ["Pending", "pending_file"]


@dataclass(frozen=True, kw_only=True)
class _Example:
    """sent: the session in which it has left, in hexadecimal, or "". summed: the eras whose class
    sums have it.
    """

    value: str
    label: str
    sent: str = ""
    summed: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        return self.value, self.label

    def waits(self, era: str) -> bool:
        """Whether the class sums of an era are to have it, and have not."""
        return era not in self.summed

    def summed_in(self, era: str) -> _Example:
        """The same, in those sums."""
        return replace(self, summed=tuple(dict.fromkeys((*self.summed, era))))


def pending_file(profile: Path) -> Path:
    """Where it is, beside the profile's."""
    return profile.with_name(f"{profile.name}.examples")


class Pending:
    """The file and what was in it when it was read. era: of the class sums that examples wait for;
    "" where there is no agreement yet.

    Raises `ProfileUnreadable` for one with lines that are no examples. What changes the file raises
    `ChangedMeanwhile` where another command has changed more than its end.
    """

    def __init__(self, path: Path, era: str = "") -> None:
        self.path, self.era = path, era
        self._examples = _read(path)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Values and labels of those that wait."""
        return [one.pair for one in self._examples if one.waits(self.era)]

    @property
    def counts(self) -> Counter[str]:
        """How many wait of each label."""
        return Counter(label for _, label in self.pairs)

    def add(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Those that are not there yet; how many. Raises `ParameterError` for what is no name.

        One that is in a sum is there: a command that is run again counts nothing twice.
        """
        there = {one.pair for one in self._examples}
        new = [_Example(value=v, label=label) for v, label in pairs if (v, label) not in there]
        for label in {example.label for example in new}:
            check_name(label)
        self._keep([*self._examples, *new])
        return len(new)

    def drop(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Forget these; how many were there. Raises `ParameterError` where one has left this site:
        what is in a sum of all, only a new one takes out.
        """
        gone = set(pairs)
        kept = [one for one in self._examples if one.pair not in gone]
        if any(one.sent or one.summed for one in self._examples if one.pair in gone):
            raise ParameterError(
                "examples in no sum of a round must be given: `round leave` takes a site out"
            )
        dropped = len(self._examples) - len(kept)
        self._keep(kept)
        return dropped

    def settle(self, rounds: Mapping[str, Sequence[int]], me: int) -> None:
        """What is in the sum of a round that this site was in waits no more; the rest has not been
        sent.
        """
        settled = (
            one.summed_in(self.era) if one.sent and me in rounds.get(one.sent, ()) else one
            for one in self._examples
        )
        self._keep([replace(one, sent="") for one in settled])

    def mark(self, session: bytes) -> None:
        """All that wait may be in the sum of this session: on disk before anything leaves."""
        sent = session.hex()
        self._keep([replace(o, sent=sent) if o.waits(self.era) else o for o in self._examples])

    def _keep(self, examples: list[_Example]) -> None:
        """Write them, if they are others than before, and behind them what others have added."""
        if examples == self._examples:
            return
        with locked(self.path):
            found, known = _read(self.path), len(self._examples)
            if found[:known] != self._examples:
                raise ChangedMeanwhile(f"another command has changed {self.path}: run this again")
            _write(self.path, [*examples, *found[known:]])
        self._examples = examples


def _list(entry: object) -> list[object]:
    """Raises `TypeError` for what is none: of a string each letter would be an era."""
    if not isinstance(entry, list):
        raise TypeError
    return entry


def _entry(example: _Example) -> dict[str, Any]:
    """JSON types, without what is empty."""
    return {name: value for name, value in asdict(example).items() if value or name == "value"}


def _write(path: Path, examples: Sequence[_Example]) -> None:
    if examples:
        lines = (json.dumps(_entry(example)) + "\n" for example in examples)
        write_private(path, "".join(lines).encode())
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> list[_Example]:
    if not path.is_file():
        return []
    try:
        entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [
            _Example(
                value=str(one["value"]),
                label=str(one["label"]),
                sent=str(one.get("sent", "")),
                summed=tuple(str(era) for era in _list(one.get("summed", []))),
            )
            for one in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{path}: no lines of value and label: {type(error).__name__}"
        raise ProfileUnreadable(reason) from None
