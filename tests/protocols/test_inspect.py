"""What a frame shows: structure, never content; and garbage is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import DistributedNoise, RoundPlan
from protocols.inspect import inspect
from protocols.simulate import Frame, run_round
from secagg.errors import DecodeError
from secagg.frame import OVERHEAD
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.wire import Limits, size_bound


@pytest.fixture
def frames(plan: RoundPlan, updates: dict[int, tuple[Any, int]]) -> dict[str, bytes]:
    """One frame of each type."""
    seen: list[Frame] = []
    run_round(plan, updates, on_frame=seen.append)
    return {inspect(frame.data).message: frame.data for frame in seen}


def test_header_and_sizes_show(frames: dict[str, bytes]) -> None:
    info = inspect(frames["Cohort"])
    assert (info.version, info.scheme, info.phase) == (1, "secagg_plus", "shares")
    assert (info.sender, info.receiver) == ("server", "everybody it concerns")
    assert info.size == len(frames["Cohort"]) == info.body + OVERHEAD
    assert info.fields == {
        "adverts": "6 rows of 132 bytes: peer 4, mask_key 32, share_key 32, signature 64"
    }
    assert info.context == f"{frames['Cohort'][5:13].hex()}…"
    assert info.signature == f"{frames['Cohort'][-64:-56].hex()}…"


def test_every_scheme_is_known() -> None:
    schemes = (PlainInsecure, SecAggPlus, SecAggPlusSemiHonest, SecAggPlusBrief)
    for kind in schemes:
        scheme = kind(clients=5, length=1, width=32)
        for message in (*scheme.server_messages, *scheme.client_messages):
            frame = b"SA" + bytes((1, scheme.code, message.code)) + bytes(40)
            smallest = frame + bytes(size_bound(message, Limits())) + bytes(64)
            info = inspect(smallest)
            assert (info.scheme, info.message) == (scheme.name, message.__name__)


def test_a_vector_shows_its_length_only(frames: dict[str, bytes], plan: RoundPlan) -> None:
    info = inspect(frames["Masked"])
    assert info.fields["vector"] == f"{plan.scheme.limits.vector} bytes"
    assert info.receiver == "server"
    assert info.sender == "client 6"


def test_no_content_of_any_message_shows(frames: dict[str, bytes]) -> None:
    for name, data in frames.items():
        shown = repr(dataclasses.asdict(inspect(data)))
        body = data[45:-64]
        pieces = (body[at : at + 4].hex() for at in range(8, len(body) - 4))
        assert not any(piece in shown for piece in pieces if piece != "00000000"), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "a frame has at least 109 bytes, got 0"),
        (lambda data: b"XX" + data[2:], "not a frame of this library"),
        (lambda data: data[:2] + b"\x63" + data[3:], "wire version 99"),
        (lambda data: data[:3] + b"\x63" + data[4:], "scheme 99 is not one of this library"),
        (lambda data: data[:4] + b"\x63" + data[5:], "secagg_plus has no message of type 99"),
        (lambda data: data[:45] + b"\0" + data[45:], "trailing bytes|rows|shorter"),
        (lambda data: data[:-65] + data[-64:], "message is shorter than its fields"),
    ],
)
def test_garbage_is_refused_by_name(frames: dict[str, bytes], change: Any, message: str) -> None:
    inspect(frames["Cohort"])
    with pytest.raises(DecodeError, match=message):
        inspect(change(frames["Cohort"]))


@given(st.binary(max_size=300), st.integers(1, 4), st.integers(0, 10))
def test_any_bytes_are_a_frame_or_a_decode_error(body: bytes, scheme: int, code: int) -> None:
    header = b"SA" + bytes((1, scheme, code)) + os.urandom(40)
    with contextlib.suppress(DecodeError):
        assert inspect(header + body + bytes(64)).body == len(body)
    with pytest.raises(DecodeError):
        inspect(b"?" + body)


def test_a_disclosure_of_noise_is_a_frame_like_any_other() -> None:
    plan = RoundPlan.for_update(
        np.zeros(20), clients=10, clip=NormClip(1.0),
        privacy=DistributedNoise(multiplier=1.0, removal=True),
    )  # fmt: skip
    frames: list[Frame] = []
    run_round(plan, dict.fromkeys(range(1, 11), (np.zeros(20), 1)), on_frame=frames.append)
    kinds = {inspect(frame.data).message for frame in frames}
    assert "Excess" in kinds
    assert "Unmask" in kinds
