"""A task: one round as a plan file names it. Its id is the context that binds every message.

    [task]
    session = "0f1e…"     # 32 hexadecimal digits or more, fresh for every training run
    number = 1
    size = 1000           # coordinates of an update

beside `[scheme]` and `[quantize]`. Leader, helper and clients each read their own copy of the file
and of the roster: who has another one has another context, and is refused.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from protocols.invitation import Invitation
from protocols.planfile import PlanFile
from protocols.toml_table import parsed, read_table
from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.identity import Identity, PartyId, Roster
from secagg.schemes.pine import TwoAggregators
from secagg.wire import Message

__all__ = ["Task", "TaskChoice", "Tasks", "load_task"]


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """`[task]`: which round of which session.

    session: 16 to 64 bytes in hexadecimal, which never repeat. number: of the round; rounds of a
    session are served in ascending order. size: coordinates of an update. model: the
    `model_digest` of the model that all start from, in hexadecimal; "" for 32 zero bytes.
    """

    session: str = ""
    number: int = 0
    size: int = 0
    model: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.size < 1 << 31:
            raise ParameterError(f"1 <= size < 2**31 must hold, got {self.size}")
        if len(self.digest) != 32:
            raise ParameterError("model must be 64 hexadecimal digits, or empty")
        if not 16 <= len(self.name) <= 64:
            raise ParameterError("session must be 32 to 128 hexadecimal digits")

    @property
    def name(self) -> bytes:
        """The session, 16 to 64 bytes."""
        return _from_hex("session", self.session)

    @property
    def digest(self) -> bytes:
        """What names the model, 32 bytes."""
        return _from_hex("model", self.model) if self.model else bytes(32)


@dataclass(frozen=True)
class Task:
    """One round, the same for every party."""

    invitation: Invitation

    @property
    def scheme(self) -> TwoAggregators:
        """The scheme of its plan."""
        scheme = self.invitation.plan.scheme
        assert isinstance(scheme, TwoAggregators), "load_task refuses others"
        return scheme

    @cached_property
    def context(self) -> bytes:
        """The 32 bytes that every frame of the round carries."""
        return self.invitation.round.context(self.scheme.code, self.scheme.encoded())

    @cached_property
    def id(self) -> str:
        """The context as resources name it: 43 characters, as in [DAP]."""
        return base64.urlsafe_b64encode(self.context).decode().rstrip("=")

    def endpoint(self, identity: Identity, me: PartyId, *accepts: type[Message]) -> Endpoint:
        """One party's end, for these messages; it keeps no state of the round."""
        return Endpoint(
            scheme=self.scheme.code,
            context=self.context,
            me=me,
            identity=identity,
            roster=self.invitation.roster,
            accepts={kind.code: kind for kind in accepts},
            limits=self.scheme.limits,
        )


def load_task(path: Path, roster: Roster) -> Task:
    """The task of a plan file. Raises `ParameterError` naming the key, and `OSError`."""
    try:
        document = parsed(path.read_text(encoding="utf-8"))
        if "task" not in document:
            raise ParameterError("[task] is missing: which round is to be served?")
        choice = read_table(TaskChoice, "task", document.pop("task"))
        plan = PlanFile.of(document).plan(np.zeros(choice.size))
        if not isinstance(plan.scheme, TwoAggregators):
            raise ParameterError('scheme.name = "pine" must stand: others have no two aggregators')
        invitation = Invitation(
            plan=plan,
            session=choice.name,
            number=choice.number,
            model=choice.digest,
            roster=roster,
        )
    except (ParameterError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: {error}") from None
    return Task(invitation)


class Tasks:
    """The tasks of a plan file, or of every `*.toml` of a folder, also of those that come later.

    on_error: is told once of a file that came later and cannot be used. check: raises
    `ParameterError` for a task that this server cannot serve. Raises what `load_task` and `check`
    raise for those that are there at the start.
    """

    def __init__(
        self,
        source: Path,
        roster: Roster,
        on_error: Callable[[ParameterError], None],
        check: Callable[[Task], None] | None = None,
    ) -> None:
        self._source, self._roster, self._on_error = source, roster, on_error
        self._check = check
        self._read: dict[Path, int] = {}
        self._told: set[Path] = set()
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()
        for path in self._paths():
            self._load(path)

    @property
    def is_open(self) -> bool:
        """Whether more tasks may come."""
        return self._source.is_dir()

    def all(self) -> list[Task]:
        """Every task by now, by number: rounds of a session are served in ascending order."""
        self._renew()
        return sorted(self._tasks.values(), key=lambda task: task.invitation.number)

    def until(self, task: Task) -> list[Task]:
        """Tasks of its session with numbers up to its own, ascending."""
        last = task.invitation
        return [
            each
            for each in self.all()
            if each.invitation.session == last.session and each.invitation.number <= last.number
        ]

    def find(self, name: str) -> Task | None:
        """The task of that id."""
        if name not in self._tasks:
            self._renew()
        return self._tasks.get(name)

    def _renew(self) -> None:
        if not self.is_open:
            return
        with self._lock:
            for path in self._paths():
                try:
                    self._load(path)
                except ParameterError as error:
                    self._on_error(error)
                except OSError as error:
                    self._unread(path, error)

    def _unread(self, path: Path, error: OSError) -> None:
        """It is tried again; told once, or not at all if it was taken away since it was listed."""
        self._read.pop(path, None)
        if path not in self._told and not isinstance(error, FileNotFoundError):
            self._told.add(path)
            self._on_error(ParameterError(f"{path} cannot be read: {error.strerror}"))

    def _paths(self) -> list[Path]:
        return sorted(self._source.glob("*.toml")) if self.is_open else [self._source]

    def _load(self, path: Path) -> None:
        changed = path.stat().st_mtime_ns
        if self._read.get(path) == changed:
            return
        self._read[path] = changed
        task = load_task(path, self._roster)
        if self._check is not None:
            self._check(task)
        self._tasks.setdefault(task.id, task)


def _from_hex(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ParameterError(f"{name} must be hexadecimal digits") from None
