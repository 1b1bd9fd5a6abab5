"""Plan files: defaults, every key, and one-line refusals that name the key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import ByClients, ByServer, Composed, ReductionAccountant
from dp.layers import ByLayers
from protocols.planfile import (
    SCHEMES,
    PlanFile,
    PrivacyChoice,
    Quantizer,
    SchemeChoice,
    ScreenChoice,
    Training,
)
from secagg.errors import ParameterError
from secagg.quantize import HalfEven, NormClip, RangeClip, Stochastic

EXAMPLES = Path(__file__).parents[2] / "examples" / "plans"
TABLES = {
    "scheme": SchemeChoice,
    "quantize": Quantizer,
    "privacy": PrivacyChoice,
    "screen": ScreenChoice,
    "training": Training,
}


def test_an_empty_file_is_all_defaults() -> None:
    assert PlanFile.parse("") == PlanFile()
    assert PlanFile.parse("[scheme]\n[quantize]\n[privacy]\n[screen]\n[training]\n") == PlanFile()


def test_the_written_out_example_has_every_key_at_its_default() -> None:
    text = (EXAMPLES / "digits.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    assert document.keys() == TABLES.keys()
    for name, kind in TABLES.items():
        assert list(document[name]) == [item.name for item in dataclasses.fields(kind)]
    assert PlanFile.parse(text) == PlanFile()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_makes_a_plan(path: Path) -> None:
    file = PlanFile.load(path)
    assert file.plan(np.zeros(100)).scheme.clients == file.scheme.clients


def test_every_key_reaches_the_plan() -> None:
    file = PlanFile.parse(
        """
        [scheme]
        name = "semi-honest"
        clients = 10
        corrupt = 0.1
        dropout = 0.5
        threshold = 3
        [quantize]
        clip = "range"
        bound = 2
        max_weight = 7
        width = 44
        rounding = "half-even"
        [training]
        rounds = 2
        drop = 0.4
        alpha = 1
        epochs = 1
        batch = 8
        learning_rate = 1
        seed = 5
        """
    )
    plan = file.plan(np.zeros(3))
    scheme, quantize = plan.scheme, plan.quantize
    assert isinstance(scheme, SCHEMES["semi-honest"])
    assert (scheme.clients, scheme.corrupt, scheme.dropout) == (10, 0.1, 0.5)
    assert (scheme.threshold, scheme.width) == (3, 44)
    assert (quantize.clip, quantize.max_weight) == (RangeClip(2.0), 7)
    assert quantize.rounding == HalfEven()
    assert file.training == Training(
        rounds=2, drop=0.4, alpha=1.0, epochs=1, batch=8, learning_rate=1.0, seed=5
    )


def test_defaults_of_the_encoding() -> None:
    plan = PlanFile().plan(np.zeros(3))
    assert plan.quantize.clip == NormClip(8.0)
    assert plan.quantize.rounding == Stochastic()
    assert plan.scheme.width == 32


def test_plain_has_no_corrupt_clients() -> None:
    file = PlanFile.parse('[scheme]\nname = "plain-insecure"\ncorrupt = 0.9')
    assert type(file.plan(np.zeros(3)).scheme) is SCHEMES["plain-insecure"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sceme]", "unknown table: 'sceme'; did you mean 'scheme'?"),
        (
            "clients = 3",
            "unknown table: 'clients'; known are scheme, quantize, privacy, screen, training",
        ),
        ("scheme = 3", r"scheme must be a table: write \[scheme\]"),
        ("[scheme]\ncleints = 3", r"unknown key of \[scheme\]: 'cleints'; did you mean 'clients'"),
        ("[training]\nlr = 3", r"unknown key of \[training\]: 'lr'; known are rounds, drop"),
        ('[scheme]\nname = "secagg"', r"\[scheme\] name cannot be 'secagg'; did you mean 'sec"),
        ('[scheme]\nname = "x"', "name cannot be 'x'; known are secagg_plus, semi-honest, plain"),
        ('[quantize]\nclip = "Norm"', r"\[quantize\] clip cannot be 'Norm'; did you mean 'norm'"),
        ('[quantize]\nrounding = "up"', r"\[quantize\] rounding cannot be 'up'; known are stoch"),
        ('[scheme]\nclients = "3"', "scheme.clients must be an integer, got '3'"),
        ("[scheme]\nclients = 3.0", "scheme.clients must be an integer, got 3.0"),
        ("[scheme]\nclients = true", "scheme.clients must be an integer, got True"),
        ("[scheme]\ndropout = true", "scheme.dropout must be a number, got True"),
        ("[scheme]\nname = 3", "scheme.name must be a string, got 3"),
        ("[training]\nseed = 0xffffffffffffffffffff", "training.seed is beyond the 64 bits"),
        (f"[training]\nseed = {'9' * 5000}", "not TOML"),
        ("[training]\nrounds = 0", r"\[training\] 1 <= rounds <= 1000 must hold, got 0"),
        ("[training]\ndrop = 1.0", r"\[training\] 0 <= drop < 1 must hold, got 1.0"),
        ("[training]\ndrop = nan", r"\[training\] 0 <= drop < 1 must hold, got nan"),
        ("[training]\nalpha = 0", r"\[training\] 0.01 <= alpha <= 1e6 must hold, got 0.0"),
        ("[training]\nepochs = 0", r"\[training\] 1 <= epochs <= 100 must hold, got 0"),
        ("[training]\nbatch = 0", r"\[training\] 1 <= batch <= 2000 must hold, got 0"),
        ("[training]\nlearning_rate = 0", r"0 < learning_rate <= 10 must hold, got 0"),
        ("[training]\nseed = -1", r"\[training\] 0 <= seed < 2\*\*32 must hold, got -1"),
        ("[training]\ndrop = 0.5", r"training.drop <= scheme.dropout must hold, got 0.5 and 0.3"),
        ("rounds", "not TOML: Expected '='"),
    ],
)
def test_refusals_are_one_line_and_name_the_key(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        PlanFile.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scheme]\nclients = 1", "clients >= 2"),
        ("[scheme]\ncorrupt = 1.0", "0 <= corrupt < 1"),
        ("[scheme]\nthreshold = 1", "<= threshold <="),
        ("[quantize]\nbound = 0", "0 < clip bound < inf"),
        ("[quantize]\nbound = inf", "0 < clip bound < inf"),
        ("[quantize]\nmax_weight = 0", "max_weight >= 1"),
        ("[quantize]\nwidth = 8", r"clients \* max_weight < 2\*\*\(width - 1\)"),
        ("[quantize]\nwidth = 65", "<= width <= 64"),
    ],
)
def test_values_that_make_no_plan_are_refused_with_the_inequality(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        PlanFile.parse(text).plan(np.zeros(10))
    assert "\n" not in str(caught.value)


def test_files_are_utf8(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"# \xff")
    with pytest.raises(ParameterError, match="not UTF-8"):
        PlanFile.load(path)
    path.write_text("# ü", encoding="utf-8")
    assert PlanFile.load(path) == PlanFile()
    with pytest.raises(FileNotFoundError):
        PlanFile.load(tmp_path / "absent.toml")


_values: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(1 << 65), 1 << 65), st.floats(), st.booleans(), st.text(max_size=5)
)


@given(
    st.sampled_from(
        [(t, item.name) for t, kind in TABLES.items() for item in dataclasses.fields(kind)]
    ),
    _values,
)
def test_no_value_of_any_key_does_anything_but_work_or_be_refused(
    key: tuple[str, str], value: Any
) -> None:
    table, name = key
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, str):
        shown = '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    try:
        PlanFile.parse(f"[{table}]\n{name} = {shown}").plan(np.zeros(2))
    except ParameterError as error:
        assert str(error)  # noqa: PT017  both outcomes are fine, any other exception is not


def test_the_reference_page_lists_every_key_with_its_default() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "reference" / "plan-file.md").read_text(encoding="utf-8")
    for table, kind in TABLES.items():
        section = page.split(f"## `[{table}]`")[1].split("\n## ")[0]
        rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
        listed = [(row[1].strip(" `"), row[3].strip(" `")) for row in rows]
        defaults = [(item.name, item.default) for item in dataclasses.fields(kind)]
        assert listed == [(name, json.dumps(default)) for name, default in defaults]


def test_the_example_on_the_reference_page_is_the_one_in_the_folder() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "reference" / "plan-file.md").read_text(encoding="utf-8")
    shown = page.split("```toml\n")[1].split("```")[0]
    assert PlanFile.parse(shown) == PlanFile.load(EXAMPLES / "cross_silo.toml")


def private(**changes: Any) -> PlanFile:
    return PlanFile(
        quantize=Quantizer(bound=1.0, max_weight=1),
        privacy=PrivacyChoice(**{"epsilon": 8.0, **changes}),
    )


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({}, ByClients), ({"removal": True}, ByLayers), ({"by": "server"}, ByServer)],
)
def test_privacy_says_who_adds_the_noise(changes: Any, kind: type[Any]) -> None:
    plan = private(**changes).plan(np.zeros(20))
    assert type(plan.quantize.mechanism.noise) is kind
    spent = ReductionAccountant().epsilon(Composed(((plan.event, 15),)), 1e-5)
    assert spent == pytest.approx(8.0, rel=1e-6)
    assert spent <= 8.0


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (private(by="server", removal=True), "removal is of the clients' noise"),
        (dataclasses.replace(private(), quantize=Quantizer()), "max_weight = 1 must stand"),
        (
            dataclasses.replace(private(), quantize=Quantizer(max_weight=1, rounding="half-even")),
            "rounding must be 'stochastic'",
        ),
        (
            dataclasses.replace(private(), quantize=Quantizer(max_weight=1, clip="range")),
            "needs a NormClip",
        ),
        (
            dataclasses.replace(private(removal=True), scheme=SchemeChoice(name="plain-insecure")),
            "removal of noise needs a scheme",
        ),
    ],
)
def test_what_noise_does_not_go_with(file: PlanFile, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        file.plan(np.zeros(20))
