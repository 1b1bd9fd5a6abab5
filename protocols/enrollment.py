"""Who takes part: key files, and the roster file that everybody holds a copy of.

A key file is 64 hexadecimal digits, readable by its owner only. The roster is JSON and public:

    {"format": "secagg-roster-1", "server": "5a…",
     "clients": [{"id": 1, "public": "0c…", "share_key": "77…"}, …]}

With two aggregators it has the leader's "server_share_key", and "helper", with keys like a
client's; with a key authority, its key as "authority". A card is what a party sends in to be put on
it: {"public": "0c…", "share_key": "77…"}.

Whoever hands out the roster decides who is who: hand it out by a way that the server does not
control. `enroll` makes everything in one place, for trials; in production each party runs
`save_identity` at home and sends in its public half.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from protocols import files
from secagg.errors import DecodeError, ParameterError
from secagg.identity import THIRD, Identity, PartyId, Roster
from secagg.rand import Rand

__all__ = [
    "card",
    "enroll",
    "load_card",
    "load_identity",
    "load_roster",
    "save_identity",
    "save_roster",
]

T = TypeVar("T")

_FORMAT = "secagg-roster-1"


def save_identity(path: str | Path, identity: Identity) -> None:
    """Write a key file with mode 0600; it is on the disk when this returns.

    Raises `FileExistsError`: a key is never overwritten.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        file.write(identity.to_bytes().hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    files.sync_folder(Path(path).parent)


def load_identity(path: str | Path) -> Identity:
    """The identity in a key file.

    Raises `ParameterError` for a file that cannot be read, or that others may read, and
    `DecodeError` for what is no key file.
    """
    with _readable(path):
        data, mode = Path(path).read_bytes(), stat.S_IMODE(Path(path).stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise ParameterError(f"{path} is open to other users: chmod 600 it, or enroll anew")
    try:
        return Identity.from_bytes(bytes.fromhex(data.decode("ascii")))
    except ValueError:
        raise DecodeError(f"{path} is not a key file") from None


def save_roster(path: str | Path, roster: Roster) -> None:
    """Write the roster file, share keys included."""
    clients = [
        {"id": party, **_shown(key, roster.share_keys[party])}
        for party, key in roster.clients.items()
        if party != THIRD
    ]
    document: dict[str, Any] = {
        "format": _FORMAT,
        "server": roster.server.hex(),
        "clients": clients,
    }
    if roster.server_share_key:
        document["server_share_key"] = roster.server_share_key.hex()
    if THIRD in roster.clients:
        document["helper"] = _shown(roster.clients[THIRD], roster.share_keys[THIRD])
    if roster.authority is not None:
        document["authority"] = roster.authority.hex()
    Path(path).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def load_roster(path: str | Path) -> Roster:
    """The roster in a file that `save_roster` wrote.

    Raises `DecodeError` for another format, and `ParameterError` for a file that cannot be read or
    keys that are unusable.
    """
    return _loaded(path, _parse, "roster file")


def card(identity: Identity) -> dict[str, str]:
    """What a party sends in to be put on a roster. It is public."""
    return _shown(identity.public, identity.share_key)


def load_card(path: str | Path) -> tuple[bytes, bytes]:
    """Public key, 32 bytes, and share key, 96 bytes, of a card. Raises as `load_roster` does."""
    return _loaded(path, _keys, "card")


def roster_of(server: Identity, clients: dict[PartyId, Identity]) -> Roster:
    """The roster of these identities."""
    return Roster(
        server.public,
        {party: key.public for party, key in clients.items()},
        {party: key.share_key for party, key in clients.items()},
    )


def enroll(folder: str | Path, clients: int, rand: Rand = os.urandom) -> Roster:
    """Keys for a server and `clients` clients in a folder: server.key, client-1.key …, roster.json.

    Raises `FileExistsError` where a key file is there already.
    """
    if type(clients) is not int or clients < 1:
        raise ParameterError(f"clients >= 1 must hold, got {clients!r}")
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    server = Identity.generate(rand)
    parties = {party: Identity.generate(rand) for party in range(1, clients + 1)}
    save_identity(home / "server.key", server)
    for party, identity in parties.items():
        save_identity(home / f"client-{party}.key", identity)
    roster = roster_of(server, parties)
    save_roster(home / "roster.json", roster)
    return roster


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}") from None


def _loaded(path: str | Path, parse: Callable[[Any], T], what: str) -> T:
    with _readable(path):
        data = Path(path).read_bytes()
    try:
        return parse(json.loads(data.decode("utf-8")))
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DecodeError(f"{path} is not a {what}") from None


def _parse(document: Any) -> Roster:
    if document["format"] != _FORMAT:
        raise ValueError
    rows = [*document["clients"]]
    if "helper" in document:
        rows.append({**document["helper"], "id": THIRD})
    if len({row["id"] for row in rows}) != len(rows):
        raise ParameterError("two clients of the roster have one id")
    keys = {row["id"]: _keys(row) for row in rows}
    authority = document.get("authority")
    return Roster(
        bytes.fromhex(document["server"]),
        {party: public for party, (public, _) in keys.items()},
        {party: share_key for party, (_, share_key) in keys.items()},
        bytes.fromhex(document.get("server_share_key", "")),
        None if authority is None else bytes.fromhex(authority),
    )


def _shown(public: bytes, share_key: bytes) -> dict[str, str]:
    return {"public": public.hex(), "share_key": share_key.hex()}


def _keys(row: Any) -> tuple[bytes, bytes]:
    return bytes.fromhex(row["public"]), bytes.fromhex(row["share_key"])
