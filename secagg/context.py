"""What everybody agrees on before a round, hashed to the 32 bytes that bind every message to it.

The context enters every frame, signature, derived key and mask. A server that shows two clients
two models, two rosters or two parameter sets gives them two contexts, and their masks do not
cancel: the sum it computes is noise, and the integrity check withholds it [Pasquini22].
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.errors import ParameterError
from secagg.identity import Roster
from secagg.primitives.digest import Label, digest

__all__ = ["Round"]


@dataclass(frozen=True, kw_only=True)
class Round:
    """The public name of one round.

    session: 16 to 64 bytes that never repeat, e.g. `os.urandom(16)` at the start of a training run.
    number: the round within the session, 0 … 2**64 - 1.
    model: 32-byte digest of the global model the clients start from, and of whatever else they
        must agree on; each client computes it over what *it* received.
    roster: the server and the clients invited to this round.
    """

    session: bytes
    number: int
    model: bytes
    roster: Roster

    def __post_init__(self) -> None:
        if not isinstance(self.session, bytes) or not 16 <= len(self.session) <= 64:
            raise ParameterError("16 <= len(session) <= 64 must hold: a session is random bytes")
        if isinstance(self.number, bool) or not isinstance(self.number, int):
            raise ParameterError(f"round number must be an int, got {type(self.number).__name__}")
        if not 0 <= self.number < 1 << 64:
            raise ParameterError(f"0 <= number < 2**64 must hold, got {self.number}")
        if not isinstance(self.model, bytes) or len(self.model) != 32:
            raise ParameterError("model must be a digest of 32 bytes")

    def context(self, scheme: int, parameters: bytes) -> bytes:
        """The 32-byte context of this round under a scheme and its encoded parameters."""
        return digest(
            Label.CONTEXT,
            bytes((scheme,)),
            parameters,
            self.session,
            self.number.to_bytes(8, "little"),
            self.model,
            self.roster.digest,
        )
