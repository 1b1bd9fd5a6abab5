"""Native code in a process of its own: it answers, or `CipherFailed` says that it did not."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

pytest.importorskip("tenseal")

from protocols.cipher_process import CipherProcess
from secagg.errors import CipherFailed, ParameterError
from secagg.identity import AUTHORITY, SERVER
from secagg.machine import Finished
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.ckks.layout import layout
from secagg.schemes.ckks.residues import add
from secagg.testing.network import plain_sum, run
from secagg.testing.parties import make_round
from secagg.testing.rand import SeededRand

SHAPE = layout(4, 5, 20)
RING = SHAPE.ring


def child(code: str, seconds: float = 60) -> CipherProcess:
    return CipherProcess(seconds=seconds, command=(sys.executable, "-c", code))


def test_it_encrypts_and_decrypts_as_in_this_process() -> None:
    cipher = CipherProcess()
    pair = cipher.generate(RING.keys)
    vectors = [np.arange(5, dtype=np.uint32) * n for n in (1, 7)]
    total = np.zeros(SHAPE.words, "<u8")
    for vector in vectors:
        slots = SHAPE.slots(SHAPE.padded_vector(vector))
        add(total, cipher.encrypt(RING, pair.public, slots), RING.keys)
    found = SHAPE.opened(cipher.decrypt(RING, pair.secret, total), len(vectors))
    assert found is not None
    assert found.tolist() == [0, 8, 16, 24, 32]


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "import ctypes; ctypes.string_at(0)",
        "raise SystemExit(3)",
        "print('too little')",
        "import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write(bytes(10**9))",
        "pass",
    ],
    ids=["abort", "segfault", "status", "short", "flood", "nothing"],
)
def test_a_child_that_does_not_answer_as_it_should_is_an_error(code: str) -> None:
    with pytest.raises(CipherFailed, match="gave no answer"):
        child(code).decrypt(RING, bytes(8), np.zeros(SHAPE.words, "<u8"))


def test_a_child_that_hangs_is_killed() -> None:
    start = time.monotonic()
    with pytest.raises(CipherFailed, match="gave no answer"):
        child("import time; time.sleep(600)", seconds=1).generate(RING.keys)
    assert time.monotonic() - start < 30


def test_a_native_crash_costs_the_authority_its_answer_and_the_aggregator_nothing() -> None:
    """The child dies while it decrypts; the round goes on from the authority's snapshot."""
    whole = KeyAuthority.generate(SeededRand("authority"))
    scheme = whole.scheme(clients=4, length=5, width=20, corrupt=0.0, dropout=0.3)
    parties = make_round(scheme, SeededRand("crash"), authority=whole)
    vectors = {party: np.full(5, party, np.uint32) for party in parties.clients}
    frames = [f for f in run(scheme, vectors, parties=parties).frames if f.receiver == AUTHORITY]
    crashing = KeyAuthority(whole.identity, cipher=lambda: child("import os; os.abort()"))
    crashing._pairs = whole._pairs
    machine = crashing.machine(scheme, parties.round)
    saved = machine.snapshot()
    with pytest.raises(CipherFailed):
        machine.receive(SERVER, frames[0].data)
    assert machine.to_send() == []
    again = whole.machine(scheme, parties.round, snapshot=saved)
    again.receive(SERVER, frames[0].data)
    event = again.next_event()
    assert isinstance(event, Finished)
    assert plain_sum(scheme, vectors, frozenset(vectors)).tolist() == [10] * 5


def test_a_limit_of_no_time_is_refused() -> None:
    assert CipherProcess(seconds=0.5)
    for seconds in (0, -1, float("nan"), 1e9):
        with pytest.raises(ParameterError, match="seconds"):
            CipherProcess(seconds=seconds)
