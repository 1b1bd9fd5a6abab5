"""What sites and server of a round over a network agree on, and the files that they keep it in.

The agreement is public and everybody has the same. The salt is a file of the sites, which the
server does not get: it counts by cells and cannot tell what is counted in one. Keys are files of
their owner.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from protocols.files import replace as write_whole
from secagg import Floors, Identity, Rand, Roster, Round
from secagg import ParameterError as Refused
from secagg.schemes.secagg_plus import SecAggPlus

from apiwatch.errors import AgreementUnreadable, ParameterError
from apiwatch.settings import Settings, require
from apiwatch.surprise import KINDS

__all__ = [
    "Agreement",
    "Sum",
    "announced",
    "first_era",
    "load_key",
    "new_key",
    "shared_digest",
    "write_secret",
]

_VERSION = 1
_NUMBERS = ("cells", "slots", "support", "corrupt", "dropout")
_Integers = NDArray[np.int64]


def _era_of(settings: bytes, left: Iterable[bytes]) -> str:
    parts = b"".join((settings, *left))
    return blake2b(parts, digest_size=16, person=b"apiwatch era").hexdigest()


def first_era(settings: bytes) -> str:
    """Of an agreement on settings of this digest, before anybody has left."""
    return _era_of(settings, ())


@dataclass(frozen=True, kw_only=True)
class Sum:
    """One of the sums: who is in it, under which context, and how large the vectors are.

    what: in a word or two. bound: of each number that a site adds.
    """

    what: str
    scheme: SecAggPlus
    round: Round
    bound: int

    @property
    def floors(self) -> Floors:
        """What a site insists on: that the sum is as large as the agreement says."""
        scheme = self.scheme
        return Floors(
            clients=scheme.clients, survivors=scheme.survivors, honest_inputs=scheme.honest_inputs
        )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """cells, slots, support: of the settings. settings: their digest, which has the salt in it.
    roster: public keys of server and sites. corrupt, dropout: fractions of the sites that may
    collude with the server, and that may be lost in each sum. left: public keys of sites that have
    left, in their order.
    """

    cells: int
    slots: int
    support: int
    settings: bytes
    roster: Roster
    corrupt: float = 0.2
    dropout: float = 0.25
    left: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.settings) == 32, "len(settings) == 32", len(self.settings))
        require(len(self.roster.clients) >= 5, "sites >= 5", len(self.roster.clients))
        for name in ("cells", "slots", "support"):
            require(type(getattr(self, name)) is int, f"type({name}) is int", getattr(self, name))
        require(all(len(key) == 32 for key in self.left), "len(key) == 32 of who left", self.left)
        keys = [*self.left, *self.roster.clients.values()]
        require(
            len(set(keys)) == len(keys), "keys of who left and of sites are distinct", len(keys)
        )
        self._scheme(len(self.roster.clients), 1, 32)

    @classmethod
    def of(cls, settings: Settings, server: bytes, sites: Mapping[int, bytes], **rest: Any) -> Self:
        """From settings and public keys; rest: `corrupt` and `dropout`.

        Raises `ParameterError` for what the scheme or its roster refuses.
        """
        try:
            return cls(
                cells=settings.cells,
                slots=settings.slots,
                support=settings.support,
                settings=settings.digest,
                roster=Roster(server, sites),
                **rest,
            )
        except Refused as error:
            raise ParameterError(str(error)) from None

    @property
    def eras(self) -> tuple[str, ...]:
        """A name of the time before the first site left, and of that after each; the last is now.

        What was learned in one is in no sum of the next, nor in any under another salt.
        """
        ends = range(len(self.left) + 1)
        return tuple(_era_of(self.settings, self.left[:end]) for end in ends)

    @property
    def era(self) -> str:
        """The present one."""
        return self.eras[-1]

    def without(self, site: int) -> Self:
        """That of those who stay. Raises `ParameterError` for a site that is not in it, or where
        fewer than five would stay.
        """
        keys = dict(self.roster.clients)
        require(site in keys, f"site in {sorted(keys)}", site)
        gone = keys.pop(site)
        return replace(self, roster=Roster(self.roster.server, keys), left=(*self.left, gone))

    def settings_with(self, salt: bytes) -> Settings:
        """The settings that a site counts under. Raises `ParameterError` for another salt."""
        made = Settings(cells=self.cells, slots=self.slots, support=self.support, salt=salt)
        if made.digest != self.settings:
            raise ParameterError("the salt is not the one that the sites have agreed on")
        return made

    def counting(self, session: bytes) -> Sum:
        """The first sum: counters, and which of them are set. All of the agreement is in its
        context, who has left as well.
        """
        n = len(self.roster.clients)
        this = Round(session=session, number=0, model=self.digest, roster=self.roster)
        scheme = self._scheme(n, 2 << self.cells, 32)
        bound = ((1 << 32) - 1) // n
        return Sum(what="counters and support", scheme=scheme, round=this, bound=bound)

    def calibrating(self, session: bytes, included: frozenset[int], counted: _Integers) -> Sum:
        """The second, among the sites of the first.

        What came out of the first is part of its context: sites that were told different sums, or
        different sites in it, are not in one round. Raises `ParameterError` where fewer sites are
        left than the agreement allows.
        """
        model = announced(self.digest, included, counted)
        length, most = (1 + 2 * len(KINDS)) << self.slots, (1 << 63) - 1
        return self.among(
            included,
            what="calibration",
            session=session,
            number=1,
            model=model,
            length=length,
            bound=most // max(len(included), 1),
            most=most,
        )

    def among(
        self,
        included: frozenset[int],
        *,
        what: str,
        session: bytes,
        number: int,
        model: bytes,
        length: int,
        bound: int,
        most: int,
    ) -> Sum:
        """A later sum, among the sites of the one before. most: what no entry of it exceeds.

        Raises `ParameterError` where fewer sites are left than the agreement allows.
        """
        least = self.counting(session).scheme.survivors
        require(len(included) >= least, f"sites in the sum before >= {least}", len(included))
        require(included <= set(self.roster.ids), "sites in the sum <= sites", sorted(included))
        keys = {site: self.roster.clients[site] for site in sorted(included)}
        roster = Roster(self.roster.server, keys)
        this = Round(session=session, number=number, model=model, roster=roster)
        scheme = self._scheme(len(included), length, max(2, most.bit_length()))
        return Sum(what=what, scheme=scheme, round=this, bound=bound)

    def _scheme(self, clients: int, length: int, width: int) -> SecAggPlus:
        return SecAggPlus(
            clients=clients,
            length=length,
            width=width,
            corrupt=self.corrupt,
            dropout=self.dropout,
        )

    @property
    def _document(self) -> dict[str, Any]:
        entry = {
            "apiwatch agreement": _VERSION,
            "settings": self.settings.hex(),
            "server": self.roster.server.hex(),
            "sites": {str(site): key.hex() for site, key in self.roster.clients.items()},
        } | {name: getattr(self, name) for name in _NUMBERS}
        return entry | {"left": [key.hex() for key in self.left]} if self.left else entry

    @property
    def digest(self) -> bytes:
        """32 bytes that name all of it."""
        return sha256(json.dumps(self._document, sort_keys=True).encode()).digest()

    def save(self, path: Path) -> None:
        """As JSON, for everybody's eyes; after a crash the old file is still there, whole."""
        write_whole(path, (json.dumps(self._document, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `AgreementUnreadable` for a file that is none."""
        try:
            entry = json.loads(path.read_text("utf-8"))
            if entry["apiwatch agreement"] != _VERSION:
                raise AgreementUnreadable(f"{path} is no agreement of version {_VERSION}")
            sites = {int(site): bytes.fromhex(key) for site, key in entry["sites"].items()}
            return cls(
                settings=bytes.fromhex(entry["settings"]),
                roster=Roster(bytes.fromhex(entry["server"]), sites),
                left=_keys(entry.get("left", [])),
                **{name: entry[name] for name in _NUMBERS},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AgreementUnreadable(f"{path}: {type(error).__name__}: {error}") from None


def _keys(entry: object) -> tuple[bytes, ...]:
    """Raises `TypeError` for no list: it would be nobody, or letters."""
    if not isinstance(entry, list):
        raise TypeError(f"no list of keys: {entry!r}")
    return tuple(bytes.fromhex(key) for key in entry)


def announced(model: bytes, included: frozenset[int], total: _Integers) -> bytes:
    """32 bytes that name a sum, under the model of its round, as it was told: what follows is
    bound to them.
    """
    state = blake2b(model, digest_size=32)
    state.update(np.array(sorted(included), "<i8").tobytes() + total.astype("<i8").tobytes())
    return state.digest()


def shared_digest(settings: bytes, counts: _Integers, sums: _Integers) -> str:
    """What `Detector.digest` is of the sums of all: equal to that of the pooled requests."""
    state = sha256(settings)
    state.update(counts.astype("<i8").tobytes())
    state.update(sums.astype("<i8").tobytes())
    return state.hexdigest()


def new_key(path: Path, rand: Rand = os.urandom) -> Identity:
    """A fresh identity in a new file; `FileExistsError` where there is one."""
    identity = Identity.generate(rand)
    write_secret(path, identity.to_bytes())
    return identity


def load_key(path: Path) -> Identity:
    """Raises `AgreementUnreadable` for a file that is no key, or that others can read."""
    if path.stat().st_mode & 0o077:
        raise AgreementUnreadable(f"{path} is a key and readable by others: chmod 600")
    try:
        return Identity.from_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except (ValueError, Refused) as error:
        raise AgreementUnreadable(f"{path} is no key: {type(error).__name__}") from None


def write_secret(path: Path, data: bytes) -> None:
    """In hexadecimal, in a new file for its owner's eyes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(data.hex() + "\n")
