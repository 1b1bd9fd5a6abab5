"""What a server is told when a client cannot go on; and what stays with the client."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Context, Error, Message, RecordDict

from protocols.adapters.flower import (
    ClientSettings,
    SecureAggregation,
    mod_from,
    secure_aggregation_mod,
)
from protocols.adapters.flower.refusal import (
    CONFIGURATION,
    INTERNAL,
    TRAINING,
    Withheld,
    refusal,
    withholding,
)
from protocols.testing import Arrays, Local
from secagg import errors

SECRET = "patient 4711"
MODEL = {"w": np.linspace(-1, 1, 6, dtype=np.float32)}
Run = Callable[..., SecureAggregation]


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + np.float32(0.125)}, {}, 10)


def reasons(grid: Any) -> list[str]:
    return [str(reply.error.reason) for reply in grid.replies if reply.has_error()]


def everything_sent(grid: Any) -> str:
    return " ".join(
        f"{reply.error.reason if reply.has_error() else dict(reply.content.config_records)}"
        for reply in grid.replies
    )


# -- the user's function ----------------------------------------------------------------------


def test_an_exception_of_the_users_function_stays_with_the_client(
    run: Run, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def train(party: int, model: Arrays) -> Local:
        if party == 2:
            raise type(SECRET.replace(" ", ""), (Exception,), {})(SECRET)
        return trained(party, model)

    grid = local_grid(train)
    assert set(run(grid).reports[1].included) == {1, 3, 4, 5}
    assert reasons(grid) == [TRAINING]
    assert "4711" not in everything_sent(grid)
    (record,) = (each for each in caplog.records if each.exc_info)
    assert (record.name, record.levelno) == ("flwr", logging.ERROR)
    assert SECRET in caplog.text  # with its traceback, where its owner finds it
    assert "in train_" in caplog.text


def test_an_error_reply_of_the_users_function_stays_with_the_client(
    run: Run, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(message: Message, context: Context, call_next: Any) -> Message:
        if context.node_config["partition-id"] == 2:
            return Message(Error(code=0, reason=SECRET), reply_to=message)
        return call_next(message, context)

    grid = local_grid(trained, mods=(secure_aggregation_mod, failing))
    assert set(run(grid).reports[1].included) == {1, 3, 4, 5}
    assert reasons(grid) == [TRAINING]
    assert SECRET not in everything_sent(grid)
    assert SECRET in caplog.text


def test_a_function_that_returns_no_message(run: Run, local_grid: Any) -> None:
    def nothing(message: Message, context: Context, call_next: Any) -> Any:
        return SECRET if context.node_config["partition-id"] == 2 else call_next(message, context)

    grid = local_grid(trained, mods=(secure_aggregation_mod, nothing))
    assert set(run(grid).reports[1].included) == {1, 3, 4, 5}
    assert reasons(grid) == [TRAINING]


def test_a_client_that_failed_takes_part_in_the_next_round(run: Run, local_grid: Any) -> None:
    failures = iter([True])

    def train(party: int, model: Arrays) -> Local:
        if party == 2 and next(failures, False):
            raise OSError(SECRET)
        return trained(party, model)

    strategy = run(local_grid(train), rounds=2)
    assert [set(report.included) for report in strategy.reports.values()] == [
        {1, 3, 4, 5},
        {1, 2, 3, 4, 5},
    ]


def test_without_the_protocol_an_exception_is_flowers_as_ever(
    local_grid: Any, to_record: Any
) -> None:
    def train(party: int, model: Arrays) -> Local:
        raise KeyError("no such file")

    grid = local_grid(train, **{"secagg-required": False})
    content = RecordDict({"arrays": to_record(MODEL)})
    (reply,) = grid.send_and_receive([Message(content, next(iter(grid.contexts)), "train")])
    assert (reply.error.code, reply.error.reason) == (2, "KeyError('no such file')")


# -- files of the node ------------------------------------------------------------------------

# what is done to the file of that key of the node configuration
TROUBLE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: path.unlink(missing_ok=True),
    "a directory": lambda path: (path.unlink(missing_ok=True), path.mkdir()),
    "empty": lambda path: path.write_bytes(b""),
    "not text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("secagg-identity", CONFIGURATION),
        ("secagg-roster", CONFIGURATION),
        ("secagg-journal", "the journal cannot be|not a client journal"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_loss_that_names_no_path(
    key: str,
    reason: str,
    trouble: str,
    run: Run,
    local_grid: Any,
    enrolled: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    grid = local_grid(trained)
    config = grid.contexts[1007].node_config
    path = tmp_path / "mine"
    source = Path(config[key])
    if source.exists():
        path.write_bytes(source.read_bytes())
        path.chmod(0o600)
    config[key] = str(path)
    TROUBLE[trouble](path)
    strategy = run(grid)
    if (key, trouble) == ("secagg-journal", "missing"):  # the positive twin: a new client
        assert set(strategy.reports[1].included) == {1, 2, 3, 4, 5}
        return
    assert set(strategy.reports[1].included) == {2, 3, 4, 5}
    assert all(re.search(reason, text) for text in reasons(grid))
    assert reasons(grid)
    for part in (str(tmp_path), str(enrolled), "mine"):
        assert part not in everything_sent(grid)
    if reason == CONFIGURATION:
        assert str(path) in caplog.text


@pytest.mark.parametrize(
    "path", ["missing/journal", "file/journal"], ids=["no folder", "a file for a folder"]
)
def test_a_journal_that_cannot_be_written_is_a_loss(
    path: str, run: Run, local_grid: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    grid = local_grid(trained)
    grid.contexts[1007].node_config["secagg-journal"] = str(tmp_path / path)
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    assert reasons(grid)[0].startswith("LocalProtocolError: the journal cannot be ")
    assert str(tmp_path) not in everything_sent(grid)


def test_a_misspelled_floor_is_told_to_its_owner_only(
    run: Run, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    grid = local_grid(trained)
    grid.contexts[1007].node_config["secagg-flor-clients"] = 5
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    assert set(reasons(grid)) == {CONFIGURATION}
    assert "unknown keys in the node configuration: secagg-flor-clients" in caplog.text


def test_settings_from_code_that_raise_are_a_loss(run: Run, local_grid: Any) -> None:
    def settings(context: Context) -> ClientSettings:
        if context.node_config["partition-id"] == 2:
            raise KeyError(SECRET)
        return ClientSettings.from_node_config(context.node_config)

    grid = local_grid(trained, mods=(mod_from(settings),))
    assert set(run(grid).reports[1].included) == {1, 3, 4, 5}
    assert set(reasons(grid)) == {CONFIGURATION}


# -- errors of ours ---------------------------------------------------------------------------


@pytest.fixture
def message(local_grid: Any) -> Message:
    """A message of some grid, to be replied to."""
    local_grid(trained)
    return Message(RecordDict(), 1, "train")


@pytest.mark.parametrize("name", sorted(set(errors.__all__) | {"Withheld"}))
def test_the_text_of_an_error_is_sent_for_listed_types_only(name: str, message: Message) -> None:
    public = {
        "Aborted",
        "DecodeError",
        "LocalProtocolError",
        "ParameterError",
        "RemoteProtocolError",
    }
    kind = Withheld if name == "Withheld" else getattr(errors, name)
    error = kind("masked", SECRET) if name in ("Aborted", "RequestRefused") else kind(SECRET)
    reason = refusal(message, error).error.reason
    if name == "Withheld":
        assert reason == SECRET  # which is one of the fixed texts, wherever it is raised
    elif name in public:
        assert reason == f"{name}: {error}"
    else:
        assert reason == f"{name}: see the client's log"


def test_a_new_type_of_error_says_nothing_until_it_is_listed(message: Message) -> None:
    class Detailed(errors.ParameterError):
        pass

    reason = refusal(message, Detailed(SECRET)).error.reason
    assert reason == "Detailed: see the client's log"


def test_a_bug_of_ours_says_nothing_of_where_it_is(
    run: Run, local_grid: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise AssertionError(SECRET)

    monkeypatch.setattr("protocols.adapters.flower.answer.Layout.encode", broken)
    grid = local_grid(trained)
    assert run(grid).failures
    assert set(reasons(grid)) == {INTERNAL}
    assert SECRET in caplog.text


def test_an_interrupt_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt), withholding(INTERNAL):
        raise KeyboardInterrupt
    with pytest.raises(Withheld, match=f"^{INTERNAL}$"), withholding(INTERNAL):
        raise KeyError(SECRET)


def test_what_is_withheld_is_not_behind_the_exception_that_is_shown() -> None:
    with pytest.raises(Withheld) as caught, withholding(INTERNAL):
        raise KeyError(SECRET)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
