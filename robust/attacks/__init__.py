"""Attacks on federated learning, to test detectors with: `attack` has the interface.

    free_rider_*    want the model and do not train
    poison_*        want a worse model
    backdoor*       want a model that obeys a trigger
    adaptive_*      know what they are tested for

All of them work on arrays in memory; none talks to anything.
"""
