"""The variant for transports where every exchange is dear: see docs/spec/brief.md."""

from secagg.schemes.secagg_plus.brief.client import Contribution
from secagg.schemes.secagg_plus.brief.params import SecAggPlusBrief

__all__ = ["Contribution", "SecAggPlusBrief"]
