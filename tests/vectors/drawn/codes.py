"""The numbers of the messages, in the order in which they travel."""

from __future__ import annotations

import enum

__all__ = ["Code"]


class Code(enum.IntEnum):
    """The fifth byte of a frame."""

    ADVERT = 1
    COHORT = 2
    SHARES = 3
    INBOX = 4
    MASKED = 5
    SURVIVORS = 6
    CONSENT = 7
    CONSENTS = 8
    UNMASK = 9
