"""Every exception of `secagg`, in one tree.

The type says who is to blame and what is still usable afterwards:

    SecAggError
    ├── ParameterError          the configuration; nothing was started
    ├── InputRefused            the caller's update; nothing was sent
    ├── DecodeError             some bytes; the machine that refused them is unchanged
    ├── ProtocolError
    │   ├── LocalProtocolError  you; the machine is unchanged
    │   └── RemoteProtocolError a peer; this client is finished
    │       └── ReportRefused   a client, whose report does not verify; it is not counted
    ├── LeakageExceeded         a plan that opens too much; nothing was sent
    ├── Aborted                 nobody: the round ended without output, as the scheme requires
    ├── CipherFailed            native code of another library; nothing was released
    ├── IntegrityError          the released sum is not the sum of the inputs; it was withheld
    ├── RequestRefused          a request over the network; the other side says what was wrong
    ├── Unreachable             nobody: the other side gave no answer; ask again
    └── StoreFailed             a store on disk; what it could not keep was not acknowledged

No message carries a key, a share, a mask or a coordinate of an update, so that it may be logged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = [
    "Aborted",
    "CipherFailed",
    "DecodeError",
    "InputRefused",
    "IntegrityError",
    "LeakageExceeded",
    "LocalProtocolError",
    "ParameterError",
    "ProtocolError",
    "RemoteProtocolError",
    "ReportRefused",
    "RequestRefused",
    "SecAggError",
    "StoreFailed",
    "Unreachable",
]


class SecAggError(Exception):
    """Root of the tree."""


class ParameterError(SecAggError, ValueError):
    """A parameter breaks an inequality that the scheme needs. The message states it."""


class InputRefused(SecAggError, ValueError):
    """An update cannot be aggregated: NaN, infinity, wrong shape, dtype or structure.

    The message names the leaf and the position, never the value. Nothing left the client.
    """


class DecodeError(SecAggError, ValueError):
    """Bytes are not one canonical message of this version, scheme and context.

    The machine is unchanged; go on with the next message.
    """


class LeakageExceeded(SecAggError):
    """A round would open more of this client's updates than its ledger allows. Nothing left it."""


class ProtocolError(SecAggError):
    """The state machine refuses a step."""


class LocalProtocolError(ProtocolError):
    """You called something that this state does not allow. The machine is unchanged."""


class RemoteProtocolError(ProtocolError):
    """An authenticated peer broke the protocol. A client that raises this is finished."""


class ReportRefused(RemoteProtocolError):
    """A client's report does not verify: its input is out of bounds, or its proof is not one.

    The report is not counted, and nothing but this was learned of it.
    """


class Aborted(SecAggError):
    """The round ended without an output, because going on would not be private or not be exact.

    Attributes
    ----------
    phase: the phase in which the round ended.
    missing: ids of the parties whose message was due in that phase and did not arrive.
    culprits: ids of parties that provably caused it; leave them out of the next round.
    """

    def __init__(
        self,
        phase: str,
        reason: str,
        missing: Iterable[int] = (),
        culprits: Iterable[int] = (),
    ) -> None:
        self.phase = phase
        self.reason = reason
        self.missing = frozenset(missing)
        self.culprits = frozenset(culprits)
        absent = f"; missing: {_shorten(self.missing)}" if self.missing else ""
        guilty = f"; caused by: {_shorten(self.culprits)}" if self.culprits else ""
        super().__init__(f"aborted in phase {phase!r}: {reason}{absent}{guilty}")

    def __reduce__(self) -> tuple[type[Aborted], tuple[object, ...]]:
        # the message alone would not rebuild it, and process pools copy exceptions
        return Aborted, (self.phase, self.reason, self.missing, self.culprits)


class CipherFailed(SecAggError):
    """Native code that encrypts or decrypts failed, hung or died. Nothing left this party."""


class IntegrityError(SecAggError):
    """A result failed its integrity check and was withheld: a wrong sum is worse than none."""


class RequestRefused(SecAggError):
    """A server refused a request. The same request again would be refused again.

    Attributes
    ----------
    problem: the name of the reason, as in the problem document of the answer.
    detail: what was wrong with the request.
    """

    def __init__(self, problem: str, detail: str) -> None:
        self.problem = problem
        self.detail = detail
        super().__init__(f"{problem}: {detail}")

    def __reduce__(self) -> tuple[type[RequestRefused], tuple[str, str]]:
        return RequestRefused, (self.problem, self.detail)


class Unreachable(SecAggError):
    """The other side gave no answer in the time allowed. Nothing stored is lost; ask again."""


class StoreFailed(SecAggError):
    """A store on disk is full, damaged, or open elsewhere. What it did not keep was not answered.

    What it acknowledged before is in it.
    """


def _shorten(ids: Collection[int], most: int = 20) -> str:
    shown = ", ".join(map(str, sorted(ids)[:most]))
    return shown if len(ids) <= most else f"{shown}, … ({len(ids)} in all)"
