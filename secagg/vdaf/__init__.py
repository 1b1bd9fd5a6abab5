"""Verifiable distributed aggregation [VDAF, draft 20]: proofs over shares, and what uses them.

A client shares an encoded measurement and a proof that it is valid among aggregators. Each of
them turns its share into a verifier share; together these say whether the measurement is valid,
and nothing else about it. `prio3` has the functions of the specification, `pine` the one for
vectors of bounded norm [PINE].
"""
