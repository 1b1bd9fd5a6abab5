"""Federated averaging in one process, with attackers: for the demo, benchmarks and detectors.

    data          data sets, and how clients share them
    model         a small network that trains all clients of a round at once
    federation    rounds: who sends what, and what the server makes of it
    observe       sketches of a round without a cryptographic scheme

Nothing is encrypted here. `protocols.simulate` runs real rounds; this says what is in them.
"""
