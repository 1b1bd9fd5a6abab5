"""Parameters of the plain scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.machine import Role
from secagg.parameters import dropout_bound
from secagg.primitives.ring import packed_size
from secagg.scheme import Scheme
from secagg.schemes.plain.client import PlainClient
from secagg.schemes.plain.messages import Update
from secagg.schemes.plain.server import PlainServer
from secagg.wire import Limits, Message

__all__ = ["PlainInsecure"]


@dataclass(frozen=True, kw_only=True)
class PlainInsecure(Scheme):
    """INSECURE: vectors travel in the clear. The frame, context and signatures are real.

    dropout: fraction of the invited clients that may be lost.
    """

    dropout: float = 0.3

    code: ClassVar[int] = 1
    name: ClassVar[str] = "plain-INSECURE"
    trusts_server: ClassVar[bool] = True
    corrupt: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        dropout_bound(self.clients, self.dropout)
        object.__setattr__(self, "dropout", float(self.dropout) + 0.0)  # -0.0 is the same plan
        if self.survivors < 1:
            raise ParameterError(f"survivors >= 1 must hold, got {self.survivors}")

    @property
    def survivors(self) -> int:
        return self.clients - dropout_bound(self.clients, self.dropout)

    @property
    def opened_of(self) -> int:
        return 1

    @property
    def limits(self) -> Limits:
        return Limits(vector=packed_size(self.length, self.width))

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return ()

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (Update,)

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return PlainClient(self, endpoint)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        return PlainServer(self, endpoint)
