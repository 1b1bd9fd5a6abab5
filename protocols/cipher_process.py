"""`Cipher` in a process of its own: what hangs is killed, what crashes takes nobody along.

Every operation is one short-lived process. It starts in about half a second, which a key authority
spends once a round; a client that encrypts its own update needs no such fence.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import numpy as np

from secagg.errors import CipherFailed, ParameterError
from secagg.schemes.ckks.cipher import KeyPair
from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.reals import RealRing, Reals
from secagg.schemes.ckks.residues import Residues
from secagg.schemes.ckks.ring import KeyRing, PlainRing

__all__ = ["CipherProcess"]

_WORKER = (sys.executable, "-m", "protocols.cipher_worker")


class CipherProcess:
    """TenSEAL in a child process.

    seconds: what one operation may take before it is killed. command: what to run; a test runs
    something worse. Raises `CipherFailed` whatever the child does but answer as it should.
    """

    def __init__(self, *, seconds: float = 120, command: Sequence[str] = _WORKER) -> None:
        if not 0 < seconds < 86_400:
            raise ParameterError(f"0 < seconds < 86400 must hold, got {seconds}")
        self._seconds = seconds
        self._command = tuple(command)

    def generate(self, keys: KeyRing) -> KeyPair:
        """A fresh key pair."""
        public = (keys.key_words * keys.bits + 7) // 8
        secret = 8 * (keys.count + 1) * keys.degree
        answer = self._run(_head("generate", keys), b"", public + secret)
        return KeyPair(public=answer[:public], secret=answer[public:])

    def encrypt(self, ring: PlainRing, public: bytes, slots: Slots) -> Residues:
        """Plaintexts -> residues of fresh ciphertexts."""
        head = _ring_head("encrypt", ring, public)
        size = 8 * len(slots) * ring.keys.words
        return np.frombuffer(self._run(head, public + slots.tobytes(), size), "<u8").copy()

    def decrypt(self, ring: PlainRing, secret: bytes, residues: Residues) -> Slots:
        """Residues -> plaintexts."""
        head = _ring_head("decrypt", ring, secret)
        size = 8 * (residues.size // ring.keys.words) * ring.keys.degree
        answer = self._run(head, secret + residues.tobytes(), size)
        return np.frombuffer(answer, "<u8").reshape(-1, ring.keys.degree).copy()

    def encrypt_reals(self, ring: RealRing, public: bytes, reals: Reals) -> Residues:
        """Reals -> residues of fresh CKKS ciphertexts."""
        head = _real_head("encrypt_reals", ring, public)
        size = 8 * len(reals) * ring.keys.words
        return np.frombuffer(self._run(head, public + reals.tobytes(), size), "<u8").copy()

    def decrypt_reals(self, ring: RealRing, secret: bytes, residues: Residues) -> Reals:
        """Residues -> reals."""
        head = _real_head("decrypt_reals", ring, secret)
        size = 4 * (residues.size // ring.keys.words) * ring.keys.degree
        answer = self._run(head, secret + residues.tobytes(), size)
        return np.frombuffer(answer, "<f8").reshape(-1, ring.keys.degree // 2).copy()

    def _run(self, head: bytes, body: bytes, size: int) -> bytes:
        """What the child answers; never more than a byte beyond `size` is read."""
        with subprocess.Popen(  # noqa: S603  the caller's own command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            clock = threading.Timer(self._seconds, child.kill)
            feeder = threading.Thread(target=_feed, args=(child.stdin, head + b"\n" + body))
            clock.start()
            feeder.start()
            try:
                answer = child.stdout.read(size + 1)
                if len(answer) > size:
                    child.kill()
                status = child.wait()
            finally:
                clock.cancel()
                child.kill()
                feeder.join()
        if status or len(answer) != size:
            raise CipherFailed(f"the process of the native code gave no answer: status {status}")
        return answer


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except BrokenPipeError:
        return  # the child's status says more


def _head(operation: str, keys: KeyRing, **fields: int) -> bytes:
    return json.dumps({"operation": operation, "keys": dataclasses.asdict(keys), **fields}).encode()


def _ring_head(operation: str, ring: PlainRing, key: bytes) -> bytes:
    return _head(operation, ring.keys, plain=ring.plain, summands=ring.summands, key=len(key))


def _real_head(operation: str, ring: RealRing, key: bytes) -> bytes:
    sizes = {"scale": ring.scale_bits, "summands": ring.summands, "largest": ring.largest}
    return _head(operation, ring.keys, **sizes, key=len(key))
