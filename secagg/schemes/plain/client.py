"""The client of the plain scheme: one message."""

from __future__ import annotations

from typing import Any

from secagg.frame import Endpoint
from secagg.primitives.ring import check_vector, pack
from secagg.rand import Rand
from secagg.role_speaker import Speaker
from secagg.scheme import Scheme
from secagg.schemes.plain import states
from secagg.schemes.plain.messages import Update
from secagg.schemes.plain.states import Waiting

__all__ = ["PlainClient"]


class PlainClient(Speaker[Waiting]):
    """Sends its vector as soon as it has one."""

    phases = ("update",)
    transitions = states.CLIENT

    def __init__(self, params: Scheme, endpoint: Endpoint) -> None:
        super().__init__(endpoint.me)
        self._params = params

    def message(self, value: Any, rand: Rand) -> Update:
        vector = check_vector(value, self._params.length, self._params.width)
        return Update(vector=pack(vector, self._params.width))
