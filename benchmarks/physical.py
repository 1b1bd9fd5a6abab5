"""What the machine could do at best: speeds measured, work counted, seconds derived.

The bound of a party is the work that the protocol makes unavoidable, at the speed at which this
machine does such work in isolation. Parts that really overlap are added, and parts of which a
cleverer program might do less are counted only where the protocol itself asks for them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.workload import Workload
from secagg.primitives.seal import open_sealed, seal

__all__ = ["Bound", "Speeds", "Work", "client_work", "measure", "server_work"]

_WORD = 4  # bytes of a residue of 32 bits
_CHUNK = 1 << 17  # stays in the second-level cache
_FAR = 1 << 27  # larger than the last-level cache
_RATES = ("keystream", "memory", "hash")
_DURATIONS = ("exchange", "sign", "verify", "seal", "open")
_SIGNATURES = 6  # Advert, Shares, Masked, Consent, Unmask, and the attestation of the members
_SERVER_FRAMES = 4  # Cohort, Inbox, Survivors, Consents


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Bytes per second, and seconds per operation."""

    keystream: float
    memory: float
    hash: float
    exchange: float
    sign: float
    verify: float
    seal: float
    open: float

    def best(self, other: Speeds) -> Speeds:
        """The faster of two measurements, one by one: rates up, durations down."""
        rates = {name: max(getattr(self, name), getattr(other, name)) for name in _RATES}
        durations = {name: min(getattr(self, name), getattr(other, name)) for name in _DURATIONS}
        return Speeds(**rates, **durations)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Bytes of keystream, of memory traffic and of hashing; numbers of public-key operations."""

    keystream: int
    memory: int
    hashed: int
    exchanges: int
    signs: int
    verifies: int
    seals: int = 0
    opens: int = 0

    def at(self, speeds: Speeds) -> Bound:
        """The seconds that this work takes at these speeds."""
        return Bound(
            keystream=self.keystream / speeds.keystream,
            memory=self.memory / speeds.memory,
            hashing=self.hashed / speeds.hash,
            public_key=self.exchanges * speeds.exchange
            + self.signs * speeds.sign
            + self.verifies * speeds.verify
            + self.seals * speeds.seal
            + self.opens * speeds.open,
        )


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Seconds, by kind of work."""

    keystream: float
    memory: float
    hashing: float
    public_key: float

    @property
    def physical(self) -> float:
        """Keystream and memory traffic: what no implementation of the masking avoids."""
        return self.keystream + self.memory

    @property
    def all(self) -> float:
        """Also the hashing under signatures and the public-key operations."""
        return self.physical + self.hashing + self.public_key


def client_work(workload: Workload) -> Work:
    """One surviving client's, where nobody is lost before the masks are agreed.

    Keystream: a mask per neighbour and its own, the check coefficients, the rounding bits.
    Memory: the float32 update is read and the packed vector written. Signatures to verify: the
    neighbours' adverts, the surviving neighbours' attestations, a quorum of consents.
    """
    scheme = workload.scheme
    degree, vector = scheme.neighbourhood.degree, _WORD * workload.dimension
    attested = round(degree * len(workload.survivors) / workload.clients)
    return Work(
        keystream=vector * (degree + 1 + scheme.check_count + 1),
        memory=2 * vector,
        hashed=vector,
        exchanges=degree + 2,
        signs=_SIGNATURES,
        verifies=degree + attested + scheme.quorum + _SERVER_FRAMES,
        seals=degree,
        opens=degree,
    )


def server_work(workload: Workload) -> Work:
    """The server's. Keystream: a mask per survivor, and one per edge from a lost client to a
    survivor, of which a sparse graph has so many on average. Memory: each vector is read once.
    """
    scheme, clients = workload.scheme, workload.clients
    alive, lost = len(workload.survivors), len(workload.lost)
    edges = round(lost * scheme.neighbourhood.degree * alive / (clients - 1))
    vector = _WORD * workload.dimension
    return Work(
        keystream=vector * (alive + edges + scheme.check_count),
        memory=vector * (alive + 1),
        hashed=vector * alive,
        exchanges=edges,
        signs=clients + 3,  # an Inbox each; the other three are broadcasts
        verifies=2 * clients + 4 * alive,
    )


def measure() -> Speeds:
    """The speeds of this machine, one thread, best of several tries each."""
    mine, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    public = other.public_key()
    signer, text = Ed25519PrivateKey.generate(), os.urandom(96)
    signature, verifier = signer.sign(text), signer.public_key()
    sealed = seal(text, public.public_bytes_raw(), b"")
    return Speeds(
        keystream=_CHUNK / _best(_keystream(), 500),
        memory=2 * _FAR / _best(_copy(), 1),
        hash=_CHUNK * 32 / _best(_hash(), 1),
        exchange=_best(lambda: mine.exchange(public), 200),
        sign=_best(lambda: signer.sign(text), 200),
        verify=_best(lambda: verifier.verify(signature, text), 200),
        seal=_best(lambda: seal(text, public.public_bytes_raw(), b""), 100),
        open=_best(lambda: open_sealed(sealed, other, b""), 100),
    )


def _keystream() -> Callable[[], object]:
    cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(os.urandom(16))).encryptor()
    zeros, out = bytes(_CHUNK), bytearray(_CHUNK + 16)
    return lambda: cipher.update_into(zeros, out)


def _copy() -> Callable[[], object]:
    source, target = np.ones(_FAR, np.uint8), np.zeros(_FAR, np.uint8)
    return lambda: np.copyto(target, source)


def _hash() -> Callable[[], object]:
    data = bytes(_CHUNK * 32)
    return lambda: hashlib.blake2b(data).digest()


def _best(work: Callable[[], object], count: int, tries: int = 7) -> float:
    """Seconds of one call, the least over `tries` runs of `count` calls."""
    seconds = []
    for _ in range(tries):
        start = time.process_time()
        for _ in range(count):
            work()
        seconds.append((time.process_time() - start) / count)
    return min(seconds)
