"""The class sums that all sites have: the server keeps them, and gives them to who takes part.

They are sums that have been announced, so the server knows them anyway; a site that was away, or
lost, has them again with the next round that it takes part in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from protocols.files import locked

from apiwatch.classes import ClassSums
from apiwatch.errors import AgreementUnreadable, ApiwatchError, RoundFailed
from apiwatch.name_table import MOST_NAMES, check_name
from apiwatch.store import write_private

__all__ = ["SharedClasses", "class_vector_size", "layout"]

_MAGIC = b"apiwatch classes 2\n"
_HEAD = 1 << 22  # bytes: names, and the sites of rounds, of up to 2,000 sites each
_ROUNDS = 256
_Integers = NDArray[np.int64]


@cache
def layout() -> str:
    """What tells apart versions of the class sums: what becomes of one example, as a SHA-256."""
    return ClassSums.learn([("' or \u00e9=1--", "a")], ["a"], {"a": 1}).digest


@cache
def class_vector_size(labels: int) -> int:
    """Integers in the class sums of so many labels."""
    return int(ClassSums.empty(f"{i:03}" for i in range(labels)).vector.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedClasses:
    """sums: of all rounds, or None before the first. later: names that came after the first benign
    examples. level: the response below which a value is unknown, or None before it is measured.
    rounds: the session of each of the last 256, in hexadecimal, and the sites in it. era: of the
    agreement, so that no site that left is in the sums; "" where there are none yet.
    """

    sums: ClassSums | None = None
    later: tuple[str, ...] = ()
    level: float | None = None
    rounds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    era: str = ""
    layout: str = field(default_factory=layout)

    @property
    def is_blank(self) -> bool:
        """Whether they are of no era, and may begin in any."""
        return self.sums is None and not self.era

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the sums, ascending."""
        return self.sums.labels if self.sums else ()

    @property
    def sums_digest(self) -> str:
        """Of the sums alone: that of the pooled examples; "" where there are none."""
        return self.sums.digest if self.sums else ""

    def rounds_with(self, session: bytes, included: Iterable[int]) -> Mapping[str, tuple[int, ...]]:
        """The last rounds, and this one."""
        before = list(self.rounds.items())[-(_ROUNDS - 1) :]
        return dict(before) | {session.hex(): tuple(sorted(included))}

    @cached_property
    def content(self) -> bytes:
        """Everything, as it is sent and kept."""
        head = {
            "layout": self.layout,
            "labels": self.labels,
            "later": self.later,
            "level": self.level,
            "rounds": dict(self.rounds),
            "era": self.era,
        }
        text = json.dumps(head).encode()
        vector = self.sums.vector if self.sums else np.zeros(0, np.int64)
        return len(text).to_bytes(4, "big") + text + vector.astype("<i8").tobytes()

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that name all of it."""
        return sha256(self.content).digest()

    @staticmethod
    def most_bytes() -> int:
        """That no content exceeds."""
        return 4 + _HEAD + 8 * class_vector_size(MOST_NAMES)

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The inverse of `content`. Raises `RoundFailed` for what is none."""
        size = int.from_bytes(content[:4], "big")
        try:
            head = json.loads(content[4 : 4 + size])
            labels = tuple(str(label) for label in head["labels"])
            vector = np.frombuffer(content, "<i8", offset=4 + size).astype(np.int64)
            made = cls(
                sums=_sums(vector, labels, str(head["layout"])),
                later=tuple(str(label) for label in head["later"]),
                level=None if head["level"] is None else float(head["level"]),
                rounds={str(key): tuple(map(int, ids)) for key, ids in head["rounds"].items()},
                era=str(head["era"]),
                layout=str(head["layout"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RoundFailed(f"these are no class sums: {type(error).__name__}") from None
        if not set(made.later) <= set(made.labels):
            raise RoundFailed("these are no class sums: later <= labels must hold")
        if made.level is not None and not 0.0 <= made.level <= 1.0:
            raise RoundFailed("these are no class sums: level in [0, 1] must hold")
        return made

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote, or nothing learnt yet where no file is.

        Raises `AgreementUnreadable` for a file that is none, or not whole.
        """
        if not path.is_file():
            return cls()
        data = path.read_bytes()
        head, content = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
        if head != _MAGIC + sha256(content).digest():
            raise AgreementUnreadable(f"{path} holds no class sums, or was truncated or changed")
        try:
            return cls.read(content)
        except ApiwatchError as error:
            raise AgreementUnreadable(f"{path}: {error}") from None

    def save(self, path: Path, before: SharedClasses) -> None:
        """As one file, for its owner's eyes.

        Raises `RoundFailed` where another round has replaced `before`.
        """
        with locked(path):
            if SharedClasses.load(path).digest != before.digest:
                raise RoundFailed(f"another round has changed {path}")
            content = self.content
            write_private(path, _MAGIC + sha256(content).digest() + content)


def _sums(vector: _Integers, labels: tuple[str, ...], version: str) -> ClassSums | None:
    """Raises `RoundFailed` for sums of another version: their vectors mean something else."""
    if version != layout():
        raise RoundFailed("the class sums are those of another version of apiwatch")
    for label in labels:
        check_name(label)
    expected = class_vector_size(len(labels)) if labels else 0
    if len(labels) > MOST_NAMES or vector.size != expected or vector.min(initial=0) < 0:
        raise RoundFailed("the class sums have another length or sign than their labels say")
    return ClassSums.from_vector(vector, labels) if labels else None
