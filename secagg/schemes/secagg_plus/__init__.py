"""One server, pairwise masks: [Bonawitz17] as the complete graph, [Bell20] as the sparse one.

`SecAggPlus` withstands a malicious server. `SecAggPlusBrief` does so in fewer exchanges, at a
price that docs/spec/brief.md names. `SecAggPlusSemiHonest` trusts the server to be honest.
"""

from secagg.schemes.secagg_plus.brief import Contribution, SecAggPlusBrief
from secagg.schemes.secagg_plus.params import SecAggPlus, SecAggPlusSemiHonest

__all__ = ["Contribution", "SecAggPlus", "SecAggPlusBrief", "SecAggPlusSemiHonest"]
