"""A profile on disk: one file, replaced as a whole, checked before it is believed.

The file holds the salt, so it is readable by its owner only. It holds no request and no value:
counters, sums and shapes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from dp import DPError
from numpy.typing import NDArray
from protocols.files import locked, sync_folder

from apiwatch.agreement import first_era
from apiwatch.calibration import Calibration
from apiwatch.class_noise import Noise
from apiwatch.classes import ClassSums
from apiwatch.detector import Detector
from apiwatch.errors import ApiwatchError, ChangedMeanwhile, ProfileUnreadable
from apiwatch.explain import Usual
from apiwatch.ledger import Ledger
from apiwatch.settings import Settings
from apiwatch.table import Table

__all__ = ["Profile", "write_private"]

_VERSION = 3
_MAGIC = b"apiwatch profile 3\n"
_HEAD = len(_MAGIC) + 32


@dataclass(kw_only=True)
class Profile:
    """All that a site needs to judge.

    sites: (2**cells,) how many sites set each cell. threshold: above which a request alerts.
    classes: what names attacks, or None. level: the response of C below which one is unknown.
    later: classes that got their names after the level was set. era: of the agreement of the last
    round that it was in, "" for none. ledger: what left a site for the
    profile. beside, pooled: of what a site has learned alone, the digest of the profile that it
    shares, and of that of all requests in one place, "" where nobody has those.
    """

    table: Table
    calibration: Calibration
    sites: NDArray[np.int64]
    usual: Usual
    threshold: float
    classes: ClassSums | None = None
    level: float = 0.3
    later: tuple[str, ...] = ()
    era: str = ""
    beside: str = ""
    pooled: str = ""
    ledger: Ledger = field(default_factory=Ledger)
    _kept: tuple[Path, bytes] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def detector(self) -> Detector:
        """A fresh detector on the profile."""
        return Detector(self.table, self.calibration)

    def is_changed(self, path: Path) -> bool:
        """Whether the file that this was read from has another profile by now."""
        if self._kept is None or self._kept[0] != path or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_HEAD) != self._kept[1]

    def save(self, path: Path, *, anyway: bool = False) -> None:
        """Write it; after a crash or on a full disk the old file is still there, whole.

        Raises `ChangedMeanwhile` where that is another than this was read from, but for `anyway`.
        """
        data = self._arrays()
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **data)
        body = packed.getvalue()
        head = _MAGIC + sha256(body).digest()
        with nullcontext() if self._kept is None else locked(path):
            if self.is_changed(path) and not anyway:
                raise ChangedMeanwhile(f"another command has changed {path}: run this again")
            write_private(path, head + body)
        self._kept = path, head

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it. Raises `ProfileUnreadable` for a file that is not one, or not whole."""
        data = path.read_bytes()
        head, rest = data[: len(_MAGIC)], data[len(_MAGIC) :]
        if head != _MAGIC:
            raise ProfileUnreadable(f"{path} is no profile of version {_VERSION}")
        if sha256(rest[32:]).digest() != rest[:32]:
            raise ProfileUnreadable(f"{path} is truncated or was changed")
        try:
            with np.load(io.BytesIO(rest[32:]), allow_pickle=False) as arrays:
                made = cls._from({name: arrays[name] for name in arrays.files})
        except (ValueError, KeyError, zipfile.BadZipFile, ApiwatchError, DPError) as error:
            raise ProfileUnreadable(f"{path}: {error}") from None
        made._kept = path, data[:_HEAD]
        return made

    def _arrays(self) -> dict[str, NDArray[Any]]:
        settings = self.table.settings
        about = {
            "cells": settings.cells,
            "slots": settings.slots,
            "support": settings.support,
            "salt": settings.salt.hex(),
            "threshold": self.threshold,
            "usual": self.usual.shapes,
            "level": self.level,
            "later": self.later,
            "era": self.era,
            "beside": self.beside,
            "pooled": self.pooled,
            "ledger": self.ledger.document,
            "labels": self.classes.labels if self.classes else [],
            "noise": asdict(self.classes.noise) if self.classes else {},
        }
        text = json.dumps(about).encode()
        arrays: dict[str, NDArray[Any]] = {
            "about": np.frombuffer(text, np.uint8),
            "counts": self.table.counts,
            "sums": self.calibration.sums,
            "sites": self.sites,
        }
        if self.classes:
            arrays["classes"] = self.classes.vector
        return arrays

    @classmethod
    def _from(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        about = json.loads(arrays["about"].tobytes())
        settings = Settings(
            salt=bytes.fromhex(about["salt"]),
            **{name: about[name] for name in ("cells", "slots", "support")},
        )
        labels = tuple(about["labels"])
        noise = about.get("noise") or asdict(Noise())
        return cls(
            table=Table(settings, arrays["counts"]),
            calibration=Calibration(settings, arrays["sums"]),
            sites=arrays["sites"],
            usual=Usual(about["usual"]),
            threshold=float(about["threshold"]),
            classes=_classes(arrays["classes"], labels, noise) if labels else None,
            level=float(about["level"]),
            later=tuple(str(label) for label in about.get("later", ())),
            era=str(about.get("era", first_era(settings.digest) if about["ledger"] else "")),
            beside=str(about.get("beside", "")),
            pooled=str(about.get("pooled", "")),
            ledger=Ledger.read(about["ledger"]),
        )


def _classes(
    vector: NDArray[np.int64], labels: tuple[str, ...], noise: dict[str, float]
) -> ClassSums:
    found = Noise(products=float(noise["products"]), moments=float(noise["moments"]))
    return ClassSums.from_vector(vector, labels, found)


def write_private(path: Path, data: bytes) -> None:
    """The whole file or the old one, for its owner's eyes from the first byte on."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)
