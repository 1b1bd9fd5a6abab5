"""One server, pairwise masks: [Bonawitz17] as the complete graph, [Bell20] as the sparse one.

`SecAggPlus` withstands a malicious server; `SecAggPlusSemiHonest` saves the consent round and
trusts the server to follow the protocol.
"""

from secagg.schemes.secagg_plus.params import SecAggPlus, SecAggPlusSemiHonest

__all__ = ["SecAggPlus", "SecAggPlusSemiHonest"]
