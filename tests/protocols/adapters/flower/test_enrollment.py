"""Key files and roster files."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from protocols.adapters.flower.__main__ import main
from protocols.enrollment import (
    enroll,
    load_identity,
    load_roster,
    save_identity,
    save_roster,
)
from secagg.errors import DecodeError, ParameterError
from secagg.identity import Identity


def test_what_is_enrolled_fits_together(tmp_path: Path) -> None:
    roster = enroll(tmp_path / "keys", 3)
    assert load_roster(tmp_path / "keys" / "roster.json") == roster
    assert load_identity(tmp_path / "keys" / "server.key").public == roster.server
    for party, public in roster.clients.items():
        identity = load_identity(tmp_path / "keys" / f"client-{party}.key")
        assert (identity.public, identity.share_key) == (public, roster.share_keys[party])
    assert roster.ids == (1, 2, 3)


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
def test_only_the_owner_may_read_a_key(tmp_path: Path) -> None:
    enroll(tmp_path, 2)
    for path in tmp_path.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "client-1.key").chmod(0o640)
    with pytest.raises(ParameterError, match=r"client-1\.key is open to other users"):
        load_identity(tmp_path / "client-1.key")


@pytest.mark.skipif(os.name != "posix", reason="folders are synchronized on POSIX")
def test_a_key_is_on_the_disk_before_its_card_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    save_identity(tmp_path / "a.key", Identity.from_bytes(bytes(range(32))))
    assert len(synced) == 2  # the file and its folder


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    enroll(tmp_path, 2)
    before = (tmp_path / "server.key").read_bytes()
    with pytest.raises(FileExistsError):
        enroll(tmp_path, 2)
    assert (tmp_path / "server.key").read_bytes() == before


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "ü"])
def test_what_is_no_key_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my.key"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(DecodeError, match=r"my\.key is not a key file"):
        load_identity(path)


@pytest.mark.parametrize("load", [load_identity, load_roster])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        ("folder", "Is a directory"),
        ("file/x", "Not a directory"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the texts are POSIX's")
def test_a_file_that_cannot_be_read_is_named(
    load: Callable[[Path], object], name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(ParameterError, match=rf"{re.escape(str(path))} cannot be read: {reason}"):
        load(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    enroll(tmp_path, 2)
    load_identity(tmp_path / "server.key")
    (tmp_path / "server.key").chmod(0)
    with pytest.raises(ParameterError, match="cannot be read: Permission denied"):
        load_identity(tmp_path / "server.key")


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", "{}", '{"format": "secagg-roster-2", "clients": []}']
)
def test_what_is_no_roster_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    path.write_text(text, "utf-8")
    with pytest.raises(DecodeError, match=r"roster\.json is not a roster file"):
        load_roster(path)


def test_a_roster_with_one_id_twice_is_refused(tmp_path: Path) -> None:
    enroll(tmp_path, 2)
    path = tmp_path / "roster.json"
    document = json.loads(path.read_text("utf-8"))
    document["clients"][1]["id"] = 1
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(ParameterError, match=r"roster\.json: two clients .* one id"):
        load_roster(path)


def test_the_roster_holds_no_secret(tmp_path: Path) -> None:
    enroll(tmp_path, 2)
    text = (tmp_path / "roster.json").read_text("utf-8")
    for path in tmp_path.glob("*.key"):
        assert path.read_text("ascii").strip() not in text


def test_save_and_load_one_identity(tmp_path: Path) -> None:
    identity = Identity.from_bytes(bytes(range(32)))
    save_identity(tmp_path / "a.key", identity)
    assert load_identity(tmp_path / "a.key").public == identity.public


def test_save_and_load_a_roster(tmp_path: Path) -> None:
    roster = enroll(tmp_path, 2)
    save_roster(tmp_path / "copy.json", roster)
    assert load_roster(tmp_path / "copy.json") == roster


def test_a_roster_file_names_the_key_authority(tmp_path: Path) -> None:
    """It was left out, and with it what a client insists on."""
    roster = replace(enroll(tmp_path, 2), authority=Identity.generate(os.urandom).public)
    save_roster(tmp_path / "copy.json", roster)
    assert load_roster(tmp_path / "copy.json") == roster
    document = json.loads((tmp_path / "copy.json").read_text())
    (tmp_path / "copy.json").write_text(json.dumps({**document, "authority": "00"}))
    with pytest.raises(ParameterError, match="every public key of a roster has 32 bytes"):
        load_roster(tmp_path / "copy.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", str(tmp_path), "--clients", "2"]) == 0
    assert "2 client keys" in capsys.readouterr().out
    assert len(load_roster(tmp_path / "roster.json")) == 2
    assert main(["enroll", str(tmp_path), "--clients", "2"]) == 2
    assert "File exists" in capsys.readouterr().err
    assert main(["enroll", str(tmp_path), "--clients", "0"]) == 2
    assert "clients >= 1 must hold" in capsys.readouterr().err


def test_without_flower_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['flwr'] = None\n"
        "from protocols.adapters.flower import SecurePlan\n"
        "try:\n    from protocols.adapters.flower import secure_aggregation_mod\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install 'secagg[flower]'" in done.stdout


def test_a_client_does_not_pay_for_the_servers_imports() -> None:
    code = (
        "import sys\nfrom protocols.adapters.flower import secure_aggregation_mod\n"
        "print('flwr.app' in sys.modules, 'protocols.adapters.flower.strategy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "False"]
