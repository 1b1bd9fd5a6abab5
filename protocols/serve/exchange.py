"""What travels in the bodies of requests and answers, and how much of it.

A report, what opens statistics, and a request for a share of the sum, are one frame each. An
aggregation job is some relays at once, answered by as many replies in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.serve.task import Task
from secagg.frame import OVERHEAD, parse_header
from secagg.schemes.pine.messages import (
    Close,
    Collect,
    Draw,
    Half,
    Part,
    Relay,
    Reply,
    Settle,
    Sum,
)
from secagg.wire import Blob, Items, Limits, Message, Record, declare, decode, encode, field
from secagg.wire import size_bound as bound_of

__all__ = [
    "JOB", "JOB_ANSWER", "REPORT", "SCREENS", "SHARES",
    "Single", "job_size", "most_frame", "most_job", "packed", "single_of", "unpacked",
]  # fmt: skip

REPORT = "application/secagg;message=report"
JOB = "application/secagg;message=aggregation-job"
JOB_ANSWER = "application/secagg;message=aggregation-job-resp"


@dataclass(frozen=True, kw_only=True)
class Single:
    """A resource of the helper whose requests and answers are one frame each.

    path: its name. request, answer: the types of both bodies. asks, replies: what is in the frames.
    """

    path: str
    request: str
    answer: str
    asks: tuple[type[Message], ...]
    replies: tuple[type[Message], ...]

    def most_request(self, task: Task) -> int:
        """The most bytes of a request in this round; 0 where its plan asks for nothing here."""
        return _most(task, self.asks, task.scheme.third_messages)

    def most_answer(self, task: Task) -> int:
        """The most bytes of an answer."""
        return _most(task, self.replies, task.scheme.third_answers)


SCREENS = Single(
    path="screens",
    request="application/secagg;message=screen-req",
    answer="application/secagg;message=screen",
    asks=(Close, Draw),
    replies=(Part, Half),
)
SHARES = Single(
    path="aggregate_shares",
    request="application/secagg;message=aggregate-share-req",
    answer="application/secagg;message=aggregate-share",
    asks=(Collect, Settle),
    replies=(Sum,),
)

_JOB_BYTES = 1 << 22
_MOST_OF_A_JOB = 64


@declare(code=1, phase="serve")
class _Frame(Record):
    data: bytes = field(Blob(), secret=True)


@declare(code=2, phase="serve")
class _Frames(Record):
    frames: tuple[_Frame, ...] = field(Items(_Frame), secret=True)


def job_size(task: Task) -> int:
    """How many relays are sent at once: the leader holds a vector for each until the replies."""
    return max(1, min(_MOST_OF_A_JOB, _JOB_BYTES // (8 * task.scheme.length)))


def most_frame(task: Task, kind: type[Message]) -> int:
    """The most bytes of a frame with such a message."""
    return OVERHEAD + bound_of(kind, task.scheme.limits)


def single_of(frame: bytes) -> Single:
    """Where a frame of the leader is sent that is no relay."""
    code = parse_header(frame).code
    return SCREENS if code in {kind.code for kind in SCREENS.asks} else SHARES


def most_job(task: Task) -> int:
    """The most bytes of an aggregation job, and of its answer."""
    largest = max(most_frame(task, kind) for kind in (Relay, Reply))
    return 4 + job_size(task) * (8 + largest)


def _most(task: Task, kinds: Sequence[type[Message]], among: Sequence[type[Message]]) -> int:
    return max((most_frame(task, kind) for kind in kinds if kind in among), default=0)


def packed(frames: Sequence[bytes]) -> bytes:
    """Some frames as one body."""
    return encode(_Frames(frames=tuple(_Frame(data=frame) for frame in frames)))


def unpacked(body: bytes) -> list[bytes]:
    """The frames of a body that `packed` made; `DecodeError` for another one."""
    found = decode(_Frames, body, Limits(blob=len(body)))
    return [item.data for item in found.frames]
