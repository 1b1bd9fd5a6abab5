"""The client that uploads: one report of a round, stored before it is sent, sent until it is taken.

The spool is a folder of the client: its journal, the report of each round that it joined, and with
a budget the ledger of what is spent. A report that is there is sent again as it is, whatever the
update is by then, so that no crash and no lost answer makes a second contribution.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols import files
from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.round import ClientRound
from protocols.serve import exchange
from protocols.serve.peer import Peer, json_of
from protocols.serve.task import Task
from secagg.errors import InputRefused, ParameterError, RequestRefused
from secagg.identity import THIRD, Identity, PartyId, Roster
from secagg.rand import Rand
from secagg.scheme import Floors

__all__ = ["NOTHING_BESIDE", "Limit", "Uploaded", "load_update", "party_of", "prepared", "upload"]

_MOST_ANSWER = 4096


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a client lets be known of its updates, by its own configuration.

    opened: most numbers of one update that a round opens beside the sum. epsilon, delta: the budget
    of all its rounds together, of which the ledger is in the spool; epsilon = 0 for none. With one,
    plans without noise are refused. Raises `ParameterError` for a budget that is none.
    """

    opened: int = 0
    epsilon: float = 0.0
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if self.opened < 0:
            raise ParameterError(f"opened >= 0 must hold, got {self.opened}")
        if not self.epsilon >= 0:
            raise ParameterError(f"epsilon >= 0 must hold, got {self.epsilon}")

    @property
    def floors(self) -> Floors:
        """What its machine insists on."""
        return Floors(opened=self.opened)

    def ledger(self, spool: Path) -> PrivacyLedger | None:
        """What it has spent, in the file of the spool; None without a budget."""
        if not self.epsilon:
            return None
        return PrivacyLedger.open(spool / "privacy.jsonl", epsilon=self.epsilon, delta=self.delta)


NOTHING_BESIDE = Limit()
"""The sum and nothing else is opened; what it costs is not counted."""


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """What the leader acknowledged. was_stored: whether an earlier run had made the report."""

    client: PartyId
    size: int
    report: str
    was_stored: bool


def party_of(identity: Identity, roster: Roster) -> PartyId:
    """The client that the roster lists with this key; `ParameterError` if there is none."""
    for party, public in roster.clients.items():
        if public == identity.public and party != THIRD:
            return party
    raise ParameterError("the roster lists no client with this key: compare cards")


def load_update(path: Path, task: Task) -> NDArray[np.float64]:
    """The update in a .npy file, float64 (size,); `InputRefused` for anything else."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
    except (ValueError, EOFError):
        raise InputRefused(f"{path} is not an .npy file of numbers") from None
    size = task.invitation.plan.structure.size
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise InputRefused(f"{path} is not an .npy file of numbers")
    if found.shape != (size,):
        raise InputRefused(f"{path} has shape {found.shape}, the plan is for ({size},)")
    return found.astype(np.float64)


def prepared(
    task: Task,
    identity: Identity,
    update: NDArray[np.float64],
    weight: int,
    spool: Path,
    limit: Limit = NOTHING_BESIDE,
    rand: Rand = os.urandom,
) -> tuple[bytes, bool]:
    """The one report of this client in this round, and whether it was there before.

    It is on the disk when this returns. Raises `LocalProtocolError` where the round was joined and
    has no report, as after a crash between the two: this client is out of the round;
    `InputRefused` for an update or a weight that the plan does not allow; and for a plan that this
    client's limit does not, `ParameterError` or `dp.errors.BudgetExceeded`.
    """
    files.make_folder(spool, mode=0o700)
    path, journal_path = spool / f"{task.id}.report", spool / "journal.json"
    with files.locked(journal_path):
        if path.exists():
            return path.read_bytes(), True
        journal = _journal(journal_path)
        me = party_of(identity, task.invitation.roster)
        client = ClientRound(
            task.invitation,
            identity,
            me,
            journal=journal,
            floors=limit.floors,
            ledger=limit.ledger(spool),
            rand=rand,
        )
        client.submit(update, weight)
        ((_, frame),) = client.to_send()
        files.replace(journal_path, journal.to_bytes())
        files.replace(path, frame)
        return frame, False


def upload(
    task: Task,
    identity: Identity,
    update: NDArray[np.float64],
    weight: int,
    *,
    spool: Path,
    leader: Peer,
    limit: Limit = NOTHING_BESIDE,
) -> Uploaded:
    """Make the report, or find it, and send it until it is acknowledged.

    Raises what `prepared` and `Peer.post` raise.
    """
    frame, was_stored = prepared(task, identity, update, weight, spool, limit)
    path = f"/tasks/{task.id}/reports"
    answer = leader.post(path, frame, exchange.REPORT, _MOST_ANSWER)
    name = hashlib.sha256(frame).hexdigest()
    if _acknowledged(answer) != name:
        raise RequestRefused("unexpectedAnswer", "what the leader acknowledges is not this report")
    client = party_of(identity, task.invitation.roster)
    return Uploaded(client=client, size=len(frame), report=name, was_stored=was_stored)


def _acknowledged(answer: bytes) -> object:
    """The name of the report that the leader says it stored."""
    found = json_of(answer)
    return found.get("report") if isinstance(found, dict) else None


def _journal(path: Path) -> ClientJournal:
    return ClientJournal.from_bytes(path.read_bytes()) if path.exists() else ClientJournal()
