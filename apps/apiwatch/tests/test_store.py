"""A profile on disk is whole or refused, and the old one survives a write that fails."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from traffic import usual

from apiwatch import Settings, gather
from apiwatch.classes import BENIGN, ClassSums
from apiwatch.errors import ChangedMeanwhile, ProfileUnreadable
from apiwatch.store import Profile
from apiwatch.work import learnt

SETTINGS = Settings(cells=12, slots=6, salt=b"0123456789abcdef")


@pytest.fixture
def profile() -> Profile:
    return learnt(gather(usual(100)), SETTINGS, None)


def test_what_another_command_wrote_meanwhile_is_not_written_over(
    profile: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "p"
    profile.save(path)
    slow, quick = Profile.load(path), Profile.load(path)
    quick.threshold = 3.0
    quick.save(path)
    quick.save(path)  # its own is no other's
    slow.threshold = 5.0
    with pytest.raises(ChangedMeanwhile, match="run this again"):
        slow.save(path)
    assert Profile.load(path).threshold == 3.0
    slow.save(tmp_path / "another")
    again = Profile.load(path)
    again.save(path)
    quick.save(path)
    assert not again.is_changed(path)  # the same profile
    profile.save(path, anyway=True)
    assert again.is_changed(path)
    again.save(path, anyway=True)
    assert Profile.load(path).threshold == 3.0
    path.unlink()
    again.save(path)


@pytest.mark.parametrize("classes", [False, True])
def test_it_comes_back_as_it_was(profile: Profile, tmp_path: Path, classes: bool) -> None:
    if classes:
        weights = {BENIGN: 4, "xss": 5}
        pairs = [("hello", BENIGN), ("<script>", "xss")]
        profile.classes = ClassSums.learn(pairs, weights, weights)
    path = tmp_path / "p"
    profile.save(path)
    again = Profile.load(path)
    assert again.detector.digest == profile.detector.digest
    assert again.usual.shapes == profile.usual.shapes
    assert np.array_equal(again.sites, profile.sites)
    assert (again.classes.digest if again.classes else None) == (
        profile.classes.digest if profile.classes else None
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_damage_is_noticed(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "p"
    profile.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:10], whole[:-1], whole + b"x", b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ProfileUnreadable):
            Profile.load(path)
    for position in range(19, len(whole), len(whole) // 20):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ProfileUnreadable, match="truncated or was changed"):
            Profile.load(path)


def test_a_full_disk_leaves_the_old_profile(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p"
    profile.save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    profile.threshold = 3.0
    with pytest.raises(OSError, match="No space left"):
        profile.save(path)
    assert path.read_bytes() == before
    assert [file for file in tmp_path.iterdir() if file.suffix != ".lock"] == [path]
