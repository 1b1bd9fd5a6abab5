"""The server keeps one ciphertext vector beside the one that arrives, however many come."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("tenseal")

from secagg.identity import SERVER
from secagg.schemes.ckks import KeyAuthority
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand

LENGTH = 60_000


def frames(parties: Parties) -> Iterator[tuple[int, bytes]]:
    for party in parties.clients:
        machine = parties.machine(party, SeededRand(party))
        machine.submit(np.full(LENGTH, party, np.uint32))
        ((_, frame),) = machine.to_send()
        yield party, frame


def test_memory_does_not_grow_with_the_clients() -> None:
    keeper = KeyAuthority.generate(SeededRand("keeper"))
    scheme = keeper.scheme(clients=8, length=LENGTH, width=32, corrupt=0.0)
    parties = make_round(scheme, SeededRand("streaming"), authority=keeper)
    server = parties.machine(SERVER, SeededRand("server"))
    peaks, kept = [], []
    tracemalloc.start()
    try:
        for party, frame in frames(parties):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            server.receive(party, frame)
            after, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - before)
            kept.append(after - before)
            del frame
    finally:
        tracemalloc.stop()
    vector = 8 * scheme.layout.words
    assert max(kept[1:-1]) < 2000, "more than a row of each client is kept"
    assert max(peaks[1:-1]) < 1.1 * peaks[0]
    assert max(peaks[:-1]) < 4 * vector, "more than what arrives is in memory at a time"
