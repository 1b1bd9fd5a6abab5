"""Messages of the scheme with two aggregators."""

from __future__ import annotations

from typing import ClassVar

from secagg.wire import IDS, Blob, Fixed, Message, Packed, Rows, Table, Uint, declare, field

__all__ = [
    "Close",
    "Collect",
    "Draw",
    "Half",
    "Part",
    "Relay",
    "Reply",
    "Report",
    "Settle",
    "Sum",
]

SEALED_SEEDS = 4 * 32 + 48
PUBLIC_SIZE = 4 * 32


@declare(code=1, phase="reports")
class Report(Message):
    """client -> leader: a share for each aggregator, sealed, and what they have in common."""

    nonce: bytes = field(Fixed(16))
    public: bytes = field(Fixed(PUBLIC_SIZE))
    for_leader: bytes = field(Packed())
    for_helper: bytes = field(Fixed(SEALED_SEEDS))
    attested: bytes = field(Fixed(64))


@declare(code=2, phase="reports")
class Relay(Message):
    """leader -> helper: one client's report but for the leader's share, and the verifier share."""

    for_client: ClassVar[bool] = True

    client: int = field(Uint(4))
    nonce: bytes = field(Fixed(16))
    public: bytes = field(Fixed(PUBLIC_SIZE))
    leader_digest: bytes = field(Fixed(32))
    for_helper: bytes = field(Fixed(SEALED_SEEDS))
    attested: bytes = field(Fixed(64))
    verifier: bytes = field(Blob(), secret=True)


@declare(code=3, phase="reports")
class Reply(Message):
    """helper -> leader: its verifier share, or nothing where its part of a report is malformed."""

    for_client: ClassVar[bool] = True

    client: int = field(Uint(4))
    verifier: bytes = field(Blob(), secret=True)


@declare(code=4, phase="sum")
class Collect(Message):
    """leader -> helper: whose inputs are to be in the sum. There is one in a round."""

    accepted: Table = field(Rows(IDS))


@declare(code=5, phase="sum")
class Sum(Message):
    """helper -> leader: the sum of its shares of those inputs."""

    share: bytes = field(Blob(), secret=True)


@declare(code=6, phase="screen")
class Close(Message):
    """leader -> helper: of whom something is opened, fixed before the draw, and a commitment to
    the leader's nonce. There is one in a round.
    """

    batch: Table = field(Rows(IDS))
    commitment: bytes = field(Fixed(32))


@declare(code=7, phase="screen")
class Part(Message):
    """helper -> leader: its nonce."""

    nonce: bytes = field(Fixed(32))


@declare(code=8, phase="screen")
class Draw(Message):
    """leader -> helper: its nonce, and a commitment to its half of what is opened."""

    nonce: bytes = field(Fixed(32))
    commitment: bytes = field(Fixed(32))


@declare(code=9, phase="screen")
class Half(Message):
    """helper -> leader: its half of what is opened."""

    values: bytes = field(Blob(), secret=True)


@declare(code=10, phase="sum")
class Settle(Message):
    """leader -> helper: its half, and whose inputs are to be in the sum, in the place of `Collect`.
    There is one in a round.
    """

    accepted: Table = field(Rows(IDS))
    blind: bytes = field(Fixed(32))
    values: bytes = field(Blob(), secret=True)
