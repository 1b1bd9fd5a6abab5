"""Examples that a site has given names to and that are in no sum yet, in a file beside its profile.

Lines are those that `teach` takes, and stay until their sum has come out. A site that is lost after
its vector has left cannot know whether it is in the sum: it notes the session before, and the
server tells at the next one who was in it. So every example is counted once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from apiwatch.errors import ProfileUnreadable
from apiwatch.name_table import check_name
from apiwatch.store import write_private

__all__ = ["Pending", "pending_file"]


@dataclass(frozen=True, kw_only=True)
class _Example:
    """sent: the session in which it has left, in hexadecimal, or ""."""

    value: str
    label: str
    sent: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        return self.value, self.label


def pending_file(profile: Path) -> Path:
    """Where it is, beside the profile's."""
    return profile.with_name(f"{profile.name}.examples")


class Pending:
    """The file and what is in it.

    Raises `ProfileUnreadable` for one with lines that are no examples.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._examples = _read(path) if path.is_file() else []

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Values and labels."""
        return [example.pair for example in self._examples]

    @property
    def counts(self) -> Counter[str]:
        """Examples of each label."""
        return Counter(example.label for example in self._examples)

    def add(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Those that are not there yet; how many. Raises `ParameterError` for what is no name."""
        there = set(self.pairs)
        fresh = [_Example(value=value, label=label) for value, label in pairs]
        for label in {example.label for example in fresh}:
            check_name(label)
        new = [example for example in fresh if example.pair not in there]
        self._keep([*self._examples, *new])
        return len(new)

    def settle(self, rounds: Mapping[str, Sequence[int]], me: int) -> None:
        """Drop what is in the sum of a round that this site was in; the rest has not been sent."""
        left = [one for one in self._examples if me not in rounds.get(one.sent, ())]
        self._keep([replace(one, sent="") for one in left])

    def mark(self, session: bytes) -> None:
        """All of them may be in the sum of this session: on disk before anything leaves."""
        self._keep([replace(one, sent=session.hex()) for one in self._examples])

    def _keep(self, examples: list[_Example]) -> None:
        """Write them, if they are others than before."""
        if examples == self._examples:
            return
        if examples:
            lines = (json.dumps(_entry(example)) + "\n" for example in examples)
            write_private(self.path, "".join(lines).encode())
        else:
            self.path.unlink(missing_ok=True)
        self._examples = examples


def _entry(example: _Example) -> dict[str, str]:
    entry = {"value": example.value, "label": example.label}
    return entry | {"sent": example.sent} if example.sent else entry


def _read(path: Path) -> list[_Example]:
    try:
        entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [
            _Example(value=str(one["value"]), label=str(one["label"]), sent=one.get("sent", ""))
            for one in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{path}: no lines of value and label: {type(error).__name__}"
        raise ProfileUnreadable(reason) from None
