"""Secure aggregation for federated learning: the server learns the sum, and nothing else.

A `Round` names what everybody agreed on; a scheme such as `SecAggPlus` turns it into machines,
one per party, that exchange bytes however you like. `secagg.testing.run` drives a whole round in
one process and is the shortest complete example.
"""

from secagg.context import Round
from secagg.errors import (
    Aborted,
    CipherFailed,
    DecodeError,
    InputRefused,
    IntegrityError,
    LeakageExceeded,
    LocalProtocolError,
    ParameterError,
    ProtocolError,
    RemoteProtocolError,
    ReportRefused,
    RequestRefused,
    SecAggError,
    StoreFailed,
    Unreachable,
)
from secagg.identity import BROADCAST, SERVER, FirstUseRoster, Identity, PartyId, Roster
from secagg.machine import (
    Aggregate,
    Discarded,
    Event,
    Failed,
    Finished,
    Machine,
    PeerRejected,
)
from secagg.rand import Rand
from secagg.scheme import Floors, Scheme

__all__ = [
    "BROADCAST",
    "SERVER",
    "Aborted",
    "Aggregate",
    "CipherFailed",
    "DecodeError",
    "Discarded",
    "Event",
    "Failed",
    "Finished",
    "FirstUseRoster",
    "Floors",
    "Identity",
    "InputRefused",
    "IntegrityError",
    "LeakageExceeded",
    "LocalProtocolError",
    "Machine",
    "ParameterError",
    "PartyId",
    "PeerRejected",
    "ProtocolError",
    "Rand",
    "RemoteProtocolError",
    "ReportRefused",
    "RequestRefused",
    "Roster",
    "Round",
    "Scheme",
    "SecAggError",
    "StoreFailed",
    "Unreachable",
]
