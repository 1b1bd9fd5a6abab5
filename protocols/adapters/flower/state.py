"""What a client keeps between messages, each of which starts a fresh process.

It is one ConfigRecord in `context.state`: the journal, and a snapshot for each of the two rounds
that can be open, in the stages "dealt" and "masked". A snapshot holds secrets; the SuperNode keeps
it in memory and it never travels to the server. Whatever is absent or of another round is refused,
which the server sees as a drop-out.

The journal is in a file as well, and the file counts: a SuperNode that starts again has lost its
state, and a client that joins one round twice endangers others (docs/spec/brief.md, section 7).
Each step that sends something, deal, mask and unmask, is claimed beside it by a file that can be
created once only.
"""

from __future__ import annotations

import os
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from protocols.journal import ClientJournal
from secagg.errors import LocalProtocolError

__all__ = ["DEALT", "MASKED", "STATE", "Store"]

STATE = "secagg"
DEALT, MASKED = "dealt", "masked"


class Store:
    """The record, taken out of the state so that the user's own code does not meet it.

    journal: the client's journal; changes are kept by `save`. Raises `DecodeError` for a journal
    that is damaged: only its owner can say what to do then.
    """

    def __init__(self, state: RecordDict, journal_file: Path | None) -> None:
        found = state.config_records.get(STATE)
        self._record = ConfigRecord() if found is None else found
        self._file = journal_file
        self._read: bytes | None = None
        self.journal = self._load()
        if found is not None:
            del state[STATE]

    def save(self, state: RecordDict) -> None:
        """Put the record back, and write the journal; before anything is sent."""
        state[STATE] = self._record
        journal = self.journal.to_bytes()
        self._record["journal"] = journal
        if self._file is not None and journal != self._read:
            unfinished = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
            with unfinished.open("wb") as file:
                file.write(journal)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._file)
            _sync(self._file.parent)

    def claim(self, step: str, session: bytes, number: int) -> None:
        """Take a step of a round, once and for all; `LocalProtocolError` if it was taken before.

        Flower may run two messages of one node side by side, and the state that one leaves can be
        overwritten by the other's, so neither state nor journal tells what has been sent. A file
        that only one process can create does. Without a file the step is remembered in the state,
        which serves where one process runs all, as in a simulation.
        """
        name = f"{session.hex()}.{number}.{step}"
        if self._file is None:
            self._claim_in_state(name)
            return
        folder = self._file.with_name(f"{self._file.name}.steps")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            _sync(folder)
        except FileExistsError:
            raise LocalProtocolError(f"step {step!r} of round {number} was taken before") from None
        except OSError:
            raise LocalProtocolError("the journal cannot be written") from None

    def _claim_in_state(self, name: str) -> None:
        taken = self._record.get("steps")
        steps = taken.decode().split("\n") if isinstance(taken, bytes) and taken else []
        if name in steps:
            raise LocalProtocolError("this step of the round was taken before")
        self._record["steps"] = "\n".join([*steps[-32:], name]).encode()

    def deal(self, session: bytes, number: int, snapshot: bytes) -> None:
        """Keep a round that has begun, in the place of one that was dealt and never used."""
        self.drop(DEALT)
        self._put(DEALT, session, number, snapshot)

    def mask(self, session: bytes, number: int, snapshot: bytes) -> None:
        """The round that was dealt is masked now; one that was never unmasked is over."""
        self.drop(MASKED)
        self._take(DEALT)
        self._put(MASKED, session, number, snapshot)

    def has(self, stage: str, session: bytes, number: int) -> bool:
        """Whether this round is in this stage."""
        return bool(self._record.get(f"{stage}.round") == _name(session, number))

    def get(self, stage: str, session: bytes, number: int) -> bytes:
        """The snapshot of this round; `LocalProtocolError` unless it is in this stage."""
        snapshot = self._record.get(stage)
        if not self.has(stage, session, number) or not isinstance(snapshot, bytes):
            raise LocalProtocolError(
                f"round {number} is not {stage} here: the state is stale, lost, or used already"
            )
        return snapshot

    def drop(self, stage: str) -> None:
        """Forget the round in this stage, for good."""
        name = self._take(stage)
        if isinstance(name, bytes):
            self.journal.finish(name[:-8], int.from_bytes(name[-8:], "little"))

    def _load(self) -> ClientJournal:
        if self._file is not None and self._file.exists():
            self._read = self._file.read_bytes()
            return ClientJournal.from_bytes(self._read)
        saved = self._record.get("journal")
        return ClientJournal.from_bytes(saved) if isinstance(saved, bytes) else ClientJournal()

    def _put(self, stage: str, session: bytes, number: int, snapshot: bytes) -> None:
        self._record[stage] = snapshot
        self._record[f"{stage}.round"] = _name(session, number)

    def _take(self, stage: str) -> object:
        self._record.pop(stage, None)
        return self._record.pop(f"{stage}.round", None)


def _name(session: bytes, number: int) -> bytes:
    return session + number.to_bytes(8, "little")


def _sync(folder: Path) -> None:
    """Make names in `folder` outlive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
