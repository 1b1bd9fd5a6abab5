"""The other side of `protocols.cipher_process`: one operation of the native code, then the end.

    python -m protocols.cipher_worker < request > answer

A request is a line of JSON that names the operation and its ring, then bytes. The exit status says
whether the answer counts; nothing is written to the standard error by this module.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from secagg.errors import CipherFailed
from secagg.schemes.ckks.cipher_tenseal import TensealCipher
from secagg.schemes.ckks.reals import RealRing
from secagg.schemes.ckks.ring import KeyRing, PlainRing

__all__ = ["main"]


def main() -> int:
    """Read one request, write one answer; the exit status."""
    head, _, body = sys.stdin.buffer.read().partition(b"\n")
    try:
        answer = _perform(json.loads(head), body)
    except CipherFailed:
        return 1
    sys.stdout.buffer.write(answer)
    return 0


def _perform(head: dict[str, Any], body: bytes) -> bytes:
    cipher, keys = TensealCipher(), KeyRing(**head["keys"])
    if head["operation"] == "generate":
        pair = cipher.generate(keys)
        return pair.public + pair.secret
    if head["operation"].endswith("_reals"):
        return _perform_reals(cipher, keys, head, body)
    ring = PlainRing(keys=keys, plain=head["plain"], summands=head["summands"])
    key, data = body[: head["key"]], np.frombuffer(body[head["key"] :], "<u8")
    if head["operation"] == "encrypt":
        return cipher.encrypt(ring, key, data.reshape(-1, keys.degree)).tobytes()
    return cipher.decrypt(ring, key, data).tobytes()


def _perform_reals(
    cipher: TensealCipher, keys: KeyRing, head: dict[str, Any], body: bytes
) -> bytes:
    ring = RealRing(
        keys=keys, scale_bits=head["scale"], summands=head["summands"], largest=head["largest"]
    )
    key, data = body[: head["key"]], body[head["key"] :]
    if head["operation"] == "encrypt_reals":
        reals = np.frombuffer(data, "<f8").reshape(-1, keys.degree // 2)
        return cipher.encrypt_reals(ring, key, reals).tobytes()
    return cipher.decrypt_reals(ring, key, np.frombuffer(data, "<u8")).tobytes()


if __name__ == "__main__":
    sys.exit(main())
