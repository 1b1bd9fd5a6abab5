"""The page of explanations: everything said, nothing loaded, nothing injected."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

from protocols.report.page import page
from protocols.report.plot import history_svg
from protocols.report.summary import Summary, trails_of
from protocols.report.terminal import rendered
from protocols.report.words import number, spans
from protocols.svg import can_plot
from robust.decide import Verdict, Verdicts
from robust.detect import Abstained, Reason
from robust.explain import history_of
from robust.fairness import RoundWeights, fairness_report
from robust.rule import Finding
from secagg.errors import ParameterError

EVIL = '<script>alert("x")</script>&'
plots = pytest.mark.skipif(not can_plot(), reason="needs matplotlib, the extra `report`")


def finding(figure: float, *, test: str = "training", threshold: float = 0.2) -> Finding:
    return Finding(
        test=test,
        figure=figure,
        threshold=threshold,
        excludes=figure < threshold,
        p_value=0.25,
        in_words=f"No evidence of training {EVIL}",
    )


def history(rounds: int = 4) -> list[Verdicts]:
    """Client 3 is excluded in odd rounds, client 5 never; one test abstains."""
    found = []
    for at in range(rounds):
        out = Verdict(
            client=3, excluded=at % 2 == 1, findings=(finding(0.9), finding(0.5 - 0.4 * (at % 2)))
        )
        kept = Verdict(client=5, excluded=False, findings=(finding(0.8),))
        abstained = (Abstained(detector="clone", reason=Reason.TOO_FEW_CLIENTS),)
        found.append(Verdicts(number=at, verdicts=(out, kept), abstained=abstained))
    return found


class Reader(HTMLParser):
    """Tags and attributes; raises for a tag that is not closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def values(self, name: str) -> Iterator[str]:
        return (str(attrs[name]) for _, attrs in self.tags if name in attrs)


@pytest.fixture(params=["with plots", "without"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "without":
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    elif not can_plot():
        pytest.skip("needs matplotlib, the extra `report`")
    return can_plot()


def test_a_page_is_whole_and_loads_nothing(either: bool) -> None:
    text = page(history(), title="A run")
    read = Reader(text)
    names = [tag for tag, _ in read.tags]
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & set(names)
    assert all(value.startswith("#") for value in read.values("href"))
    assert all(value.startswith("#") for value in read.values("xlink:href"))
    assert not list(read.values("src"))
    assert "default-src 'none'" in text
    assert "url(" not in text.replace("url(#", "")
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    ids = list(read.values("id"))
    assert len(set(ids)) == len(ids)
    assert {value[1:] for value in read.values("href")} <= set(ids)


def test_a_page_says_why(either: bool) -> None:
    text = page(history(), title="A run")
    assert 'id="client-3"' in text
    assert 'id="client-5"' not in text
    assert "Excluded in 2 of the 4 rounds that judged it (1, 3)" in text
    assert "No evidence of training" in text
    assert "<td>0.1</td><td>0.2</td><td>0.25</td><td><strong>excludes</strong></td>" in text
    assert "training 2: all rounds" in text
    assert "clone, rounds 0 to 3: too few clients to compare" in text
    assert ("pip install" in text) is not either
    assert ("<svg" in text) is either


def test_what_comes_from_outside_is_text(either: bool) -> None:
    groups = {3: f"north {EVIL}", 5: "south"}
    weights = [RoundWeights(number=0, weights={3: 0.0, 5: 1.0})]
    report = fairness_report(weights, subgroups=groups, sizes={3: 1, 5: 9})
    summary = Summary(trails=trails_of(history()), contributions=None, fairness=report)
    text = page(history(), title=f"Run {EVIL}", summary=summary)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "By subgroup" in text
    assert "By data size" in text
    Reader(text)


def test_who_is_explained_can_be_chosen() -> None:
    text = page(history(), title="A run", clients=[5])
    assert 'id="client-5"' in text
    assert 'id="client-3"' not in text
    with pytest.raises(ParameterError, match="client 4 is in no round"):
        page(history(), title="A run", clients=[4])
    with pytest.raises(ParameterError, match="at least one round"):
        page([], title="A run")


def test_nobody_excluded_is_said_too() -> None:
    text = page(history()[:1], title="A run")
    assert "Nobody was excluded" in text
    assert "Round 0 was screened" in text


def test_the_page_of_a_history_is_always_the_same(either: bool) -> None:
    assert page(history(), title="A run") == page(history(), title="A run")


def test_a_plot_of_one_round_is_not_drawn(either: bool) -> None:
    text = page(history(2)[1:], title="A run")
    assert "Excluded in 1 of the 1 rounds that judged it (1)" in text
    assert "<svg" not in text
    assert "training 2: all rounds" in text


def test_rounds_in_a_row_are_a_span() -> None:
    assert spans([]) == ""
    assert spans([1, 2]) == "1, 2"
    assert spans([1, 2, 3, 5, 7, 8, 9, 10]) == "1 to 3, 5, 7 to 10"


# -- plots ------------------------------------------------------------------------------------


@plots
def test_a_plot_has_a_name_and_takes_the_color_of_the_text() -> None:
    points = history_of(3, history())["training 2"]
    svg = history_svg(points, test="training 2", label=f"Client 3 {EVIL}")
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == f"Client 3 {EVIL}"
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "<metadata" not in svg
    used = set(re.findall(r"url\(#([^)]*)\)", svg)) | set(re.findall(r'href="#([^"]*)"', svg))
    assert used
    assert used <= set(re.findall(r'\bid="([^"]*)"', svg))


@plots
def test_a_threshold_far_away_hides_nothing() -> None:
    def ticks(threshold: float) -> list[str]:
        out = [
            Verdict(client=1, excluded=True, findings=(finding(0.1, threshold=one),))
            for one in (0.2, threshold)
        ]
        rounds = [Verdicts(number=at, verdicts=(one,), abstained=()) for at, one in enumerate(out)]
        svg = history_svg(history_of(1, rounds)["training"], test="training", label="x")
        return re.findall(r"<text[^>]*>([^<]*)</text>", svg)

    assert "0.30" in ticks(0.3)
    assert "0.200" in ticks(1e290)
    assert not [text for text in ticks(1e290) if "1e" in text]


def test_without_the_extra_a_plot_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    points = history_of(3, history())["training"]
    with pytest.raises(ImportError, match=r"pip install 'secagg\[report\]'"):
        history_svg(points, test="training", label="x")


# -- terminal ---------------------------------------------------------------------------------


def test_the_terminal_says_the_same() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(rendered(history()))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "client 3  excluded in 2 of 4 rounds, last in round 3" in text
    assert "test training 2: figure 0.1, threshold 0.2, p = 0.25" in text
    assert "client 5" not in text
    assert "clone could not tell: too few clients" in text
    assert EVIL in text  # and no markup of the terminal's


def test_numbers_have_three_digits() -> None:
    assert [number(one) for one in (0.123456, 1e-30, float("nan"), None)] == [
        "0.123", "1e-30", "-", "-",
    ]  # fmt: skip
