"""secagg_plus with statistics that clients cannot lie about: docs/spec/verified.md."""

from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.proof import FraudProof
from secagg.schemes.secagg_plus.verified.screen import OpenedMap, Reference, Screen

__all__ = ["FraudProof", "OpenedMap", "Reference", "Screen", "SecAggPlusVerified"]
