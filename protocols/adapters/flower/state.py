"""What a client keeps between messages, each of which starts a fresh process.

It is one ConfigRecord in `context.state`: the journal, and a snapshot for each of the two rounds
that can be open, in the stages "dealt" and "masked"; or of the one round, "screened", where the
plan has a screen. A snapshot holds secrets; the SuperNode keeps
it in memory and it never travels to the server. Whatever is absent or of another round is refused,
which the server sees as a drop-out.

The journal is in a file as well, and the file counts: a SuperNode that starts again has lost its
state, and a client that joins one round twice endangers others (docs/spec/brief.md, section 7).
Two processes of one node may have read the same journal: each writes what it changed into what is
there by then, one after the other under a lock. The lock only keeps the journal complete. That no
step is taken twice does not rest on it: each that sends something, such as deal, mask and unmask,
is claimed by a file beside the journal that can be created once only. A step that was claimed and
whose reply never left is lost, and with it this client in that round. Files of rounds long over are
removed, and no step of such a round can be claimed again: the newest round of a session tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from protocols import files
from protocols.invitation import round_name
from protocols.journal import ClientJournal
from secagg.errors import LocalProtocolError

__all__ = ["DEALT", "MASKED", "SCREENED", "STATE", "Store"]

STATE = "secagg"
_OPEN = 4  # rounds of a session that steps may be taken in; two are open at a time
DEALT, MASKED, SCREENED = "dealt", "masked", "screened"


class Store:
    """The record, taken out of the state so that the user's own code does not meet it.

    journal: the client's journal; changes are kept by `save`. Raises `DecodeError` for a journal
    that is damaged and `LocalProtocolError` for one that cannot be read: only its owner can say
    what to do then. No text says where it is, as texts go to the server.
    """

    def __init__(self, state: RecordDict, journal_file: Path | None) -> None:
        found = state.config_records.get(STATE)
        self._record = ConfigRecord() if found is None else found
        self._file = journal_file
        self._before = (self._stored() or self._remembered()).to_bytes()
        self.journal = ClientJournal.from_bytes(self._before)
        if found is not None:
            del state[STATE]

    def save(self, state: RecordDict) -> None:
        """Put the record back, and write the journal; before anything is sent."""
        state[STATE] = self._record
        journal = self.journal.to_bytes()
        self._record["journal"] = journal
        if self._file is not None and journal != self._before:
            with _named("the journal cannot be written"), files.locked(self._file):
                self._write(self._file)

    def _write(self, file: Path) -> None:
        """What has changed here, into what others have written meanwhile."""
        before = ClientJournal.from_bytes(self._before)
        whole = self.journal.onto(self._stored() or before, since=before)
        files.replace(file, whole.to_bytes())

    def claim(self, step: str, session: bytes, number: int) -> None:
        """Take a step of a round, once and for all; `LocalProtocolError` if it was taken before.

        Flower may run two messages of one node side by side, and the state that one leaves can be
        overwritten by the other's, so neither state nor journal tells what has been sent. A file
        that only one process can create does. Without a file the step is remembered in the state,
        which serves where one process runs all, as in a simulation.
        """
        name = f"{session.hex()}.{number}.{step}"
        if self._file is None:
            if name in self._claimed():
                raise _taken(step, number)
            self._record["steps"] = "\n".join([*self._claimed()[-32:], name]).encode()
            return
        folder = self._file.with_name(f"{self._file.name}.steps")
        with _named("the journal cannot be written"):
            folder.mkdir(mode=0o700, exist_ok=True)
            try:
                os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                raise _taken(step, number) from None
            files.sync_folder(folder)
            is_over = _over(folder, session, number)
        if is_over:  # it may have been claimed, and the file be gone
            raise _taken(step, number)

    def _claimed(self) -> list[str]:
        taken = self._record.get("steps")
        return taken.decode().split("\n") if isinstance(taken, bytes) else []

    def deal(self, session: bytes, number: int, snapshot: bytes) -> None:
        """Keep a round that has begun, in the place of one that was dealt and never used."""
        self.drop(DEALT)
        self._put(DEALT, session, number, snapshot)

    def mask(self, session: bytes, number: int, snapshot: bytes) -> None:
        """The round that was dealt is masked now; one that was never unmasked is over."""
        self.drop(MASKED)
        self._take(DEALT)
        self._put(MASKED, session, number, snapshot)

    def keep(self, session: bytes, number: int, snapshot: bytes) -> None:
        """A round with a screen as it is now, in the place of what it was, or of an older round."""
        if not self.has(SCREENED, session, number):
            self.drop(SCREENED)
        self._put(SCREENED, session, number, snapshot)

    def has(self, stage: str, session: bytes, number: int) -> bool:
        """Whether this round is in this stage."""
        return bool(self._record.get(f"{stage}.round") == round_name(session, number))

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

    def _stored(self) -> ClientJournal | None:
        """The journal in the file; None if there is none yet."""
        if self._file is None:
            return None
        with _named("the journal cannot be read"), suppress(FileNotFoundError):
            return ClientJournal.from_bytes(self._file.read_bytes())
        return None

    def _remembered(self) -> ClientJournal:
        saved = self._record.get("journal")
        return ClientJournal.from_bytes(saved) if isinstance(saved, bytes) else ClientJournal()

    def _put(self, stage: str, session: bytes, number: int, snapshot: bytes) -> None:
        self._record[stage] = snapshot
        self._record[f"{stage}.round"] = round_name(session, number)

    def _take(self, stage: str) -> object:
        self._record.pop(stage, None)
        return self._record.pop(f"{stage}.round", None)


def _over(folder: Path, session: bytes, number: int) -> bool:
    """Whether that round is over for its session, by the newest one. Removes files of those."""
    found = {path: int(path.name.split(".")[1]) for path in folder.glob(f"{session.hex()}.*")}
    least = max(found.values(), default=number) - _OPEN
    for path, its in found.items():
        if its < least:
            path.unlink(missing_ok=True)  # others clear too
    return number < least


def _taken(step: str, number: int) -> LocalProtocolError:
    return LocalProtocolError(f"step {step!r} of round {number} was taken before")


@contextmanager
def _named(trouble: str) -> Iterator[None]:
    """`LocalProtocolError` in the place of an error of the file system, which names the path."""
    try:
        yield
    except OSError as error:
        raise LocalProtocolError(f"{trouble}: {error.strerror}") from None
