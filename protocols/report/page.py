"""One HTML file that says why clients were excluded. It loads nothing and runs nothing.

Every text from outside is escaped. Plots have a text beside them and a table below them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from protocols.html import whole_page
from protocols.report.plot import history_svg
from protocols.report.summary import Summary
from protocols.report.words import (
    CONTRIBUTION,
    LEGEND,
    changes,
    clients_of,
    contribution,
    named,
    number,
    rounds_of,
    spans,
    strip,
)
from protocols.svg import NEEDED, can_plot
from robust.decide import Verdicts
from robust.explain import Point, history_of
from robust.fairness import FairnessReport, Part
from robust.rule import Finding
from secagg.errors import ParameterError

__all__ = ["page"]

_MOST_SHOWN = 100


def page(
    history: Sequence[Verdicts],
    *,
    title: str,
    summary: Summary | None = None,
    clients: Sequence[int] | None = None,
) -> str:
    """The whole page.

    history: verdicts by round. summary: standings, contributions and whom exclusions hit. clients:
    whom to explain; by default everybody who was excluded at least once.

    Raises `ParameterError` for an empty history, or a client that is not in it.
    """
    if not history:
        raise ParameterError("history: at least one round must hold")
    everybody, excluded = clients_of(history)
    chosen = excluded if clients is None else tuple(clients)
    if unknown := sorted(set(chosen) - set(everybody)):
        raise ParameterError(f"client {unknown[0]} is in no round of the history")
    parts = [
        _lead(history, everybody, excluded),
        "" if can_plot() or not chosen else f'<p class="note">{escape(NEEDED)}</p>',
        *_contents(chosen, history),
        *([] if summary is None else _standings(summary)),
        *(_section(client, history) for client in chosen),
        *_abstained(history),
        *([] if summary is None or summary.fairness is None else _fairness(summary.fairness)),
        f"<footer>{_FOOTER}</footer>",
    ]
    return whole_page(title=title, body="\n".join(parts), style=_STYLE)


def _lead(history: Sequence[Verdicts], everybody: Sequence[int], excluded: Sequence[int]) -> str:
    numbers = [verdicts.number for verdicts in history]
    span = (
        f"Round {numbers[0]} was"
        if len(numbers) == 1
        else (f"{len(numbers)} rounds, from {numbers[0]} to {numbers[-1]}, were")
    )
    return (
        f"<p>{span} screened. {len(everybody)} clients took part, {len(excluded)} were excluded at "
        f"least once, {len(history[-1].excluded)} of them in the last round.</p>"
    )


def _contents(chosen: Sequence[int], history: Sequence[Verdicts]) -> Iterator[str]:
    if not chosen:
        yield "<p>Nobody was excluded.</p>"
        return
    rows = []
    for client in chosen:
        out, present = rounds_of(client, history)
        tests = sorted({one.test for verdicts in history for one in _reasons(client, verdicts)})
        link = f'<a href="#client-{client}">client {client}</a>'
        cells = (f"{len(out)} of {len(present)} rounds", escape(", ".join(tests) or "-"))
        rows.append((link, *cells))
    table = _table("Clients explained on this page", ("client", "excluded in", "by"), rows)
    yield f'<nav aria-label="Clients">{table}</nav>'


def _standings(summary: Summary) -> Iterator[str]:
    marked = [trail for trail in summary.trails if not trail.spotless]
    shown = summary.trails if len(summary.trails) <= _MOST_SHOWN else marked
    scored = summary.contributions is not None
    rows = [
        (
            str(trail.client),
            f"<code>{strip(trail)}</code>",
            f"{trail.record.score:.2f}",
            *([contribution(summary, trail.client)] if scored else []),
            escape(changes(trail)),
        )
        for trail in sorted(shown, key=lambda trail: (trail.record.score, trail.client))
    ]
    yield "<h2>Standings</h2>"
    explained = [LEGEND, *([CONTRIBUTION] if scored else [])]
    yield f"<p class=note>{escape('. '.join(explained))}.</p>"
    head = ("client", "rounds", "score", *(["contribution"] if scored else []), "standing")
    hidden = len(summary.trails) - len(shown)
    caption = f"Lowest scores first; {hidden} clients never left out are not listed"
    yield _table(caption if hidden else "Lowest scores first", head, rows)


def _section(client: int, history: Sequence[Verdicts]) -> str:
    out, present = rounds_of(client, history)
    shown = next(
        verdicts for verdicts in reversed(history) if verdicts.number == (out or present)[-1]
    )
    verdict = shown.by_client[client]
    state = "excluded" if verdict.excluded else "kept"
    named = f" ({spans(out)})" if out else ""
    parts = [
        f'<section id="client-{client}" aria-labelledby="head-{client}">',
        f'<h2 id="head-{client}">Client {client}</h2>',
        f"<p>Excluded in {len(out)} of the {len(present)} rounds that judged it{named}. "
        f"Round {shown.number}: {state}.</p>",
        *(f"<p class=reason>{escape(one.in_words)}</p>" for one in verdict.reasons),
        _findings(verdict.findings),
        *_plots(client, history),
        "</section>",
    ]
    return "\n".join(parts)


def _findings(findings: Sequence[Finding]) -> str:
    rows = [
        (
            escape(name),
            number(one.figure),
            number(one.threshold),
            number(one.p_value),
            _result(one),
        )
        for name, one in named(findings)
    ]
    head = ("test", "figure", "threshold", "p-value", "result")
    return _table("All tests of that round", head, rows)


def _plots(client: int, history: Sequence[Verdicts]) -> Iterator[str]:
    span = history[0].number, history[-1].number
    for test, points in history_of(client, history).items():
        if any(point.finding.excludes for point in points):
            label = _label(client, test, points)
            if can_plot() and len(points) > 1:
                yield f"<figure>{history_svg(points, test=test, label=label, span=span)}"
                yield f"<figcaption>{escape(label)}</figcaption></figure>"
            yield _history_table(test, points)


def _label(client: int, test: str, points: Sequence[Point]) -> str:
    out = spans([point.number for point in points if point.finding.excludes])
    first, last = points[0].finding, points[-1].finding
    return (
        f"Client {client}, test {test}: figure {number(first.figure)} in round {points[0].number} "
        f"and {number(last.figure)} in round {points[-1].number}, against a threshold of "
        f"{number(last.threshold)} there; beyond it in rounds {out}."
    )


def _history_table(test: str, points: Sequence[Point]) -> str:
    rows = [
        (
            str(point.number),
            number(point.finding.figure),
            number(point.finding.threshold),
            _result(point.finding),
        )
        for point in points
    ]
    title = f"{escape(test)}: all rounds"
    table = _table(title, ("round", "figure", "threshold", "result"), rows)
    return f"<details><summary>{title}</summary>{table}</details>"


def _result(finding: Finding) -> str:
    return "<strong>excludes</strong>" if finding.excludes else "passes"


def _abstained(history: Sequence[Verdicts]) -> Iterator[str]:
    found: dict[tuple[str, str], list[int]] = {}
    for verdicts in history:
        for one in verdicts.abstained:
            found.setdefault((one.detector, one.reason.value), []).append(verdicts.number)
    if found:
        yield "<h2>Tests that could not tell</h2><ul>"
        for (detector, reason), numbers in sorted(found.items()):
            said = escape(f"{detector}, rounds {spans(numbers)}: {reason}")
            yield f"<li>{said}</li>"
        yield "</ul>"


def _fairness(report: FairnessReport) -> Iterator[str]:
    kind = "Exclusions" if report.attackers is None else "False exclusions"
    yield "<h2>Whom exclusions hit</h2>"
    yield (
        f"<p>{kind}: {report.all.excluded} of {report.all.clients} clients, who were excluded in "
        f"at least {report.often:.0%} of their rounds. Intervals {1 - report.level:.0%}; p-values "
        "are exact and corrected for the number of parts. Subgroups are as declared.</p>"
    )
    for title, parts in (("subgroup", report.subgroups), ("data size", report.sizes)):
        if parts:
            head = ("clients", "excluded", "rate", "interval", "weight lost", "p-value", "result")
            rows = [_part(part, compared=True) for part in parts]
            rows.append(_part(report.all, compared=False))
            yield _table(f"By {title}", (title, *head), rows)


def _part(part: Part, *, compared: bool) -> tuple[str, ...]:
    judged = (number(part.p_value), escape(part.verdict.value)) if compared else ("", "")
    return (
        escape(part.name),
        str(part.clients),
        str(part.excluded),
        f"{part.excluded / part.clients:.1%}",
        f"{part.low:.1%} to {part.high:.1%}",
        f"{part.weight_lost:.1%}",
        *judged,
    )


def _reasons(client: int, verdicts: Verdicts) -> tuple[Finding, ...]:
    verdict = verdicts.by_client.get(client)
    return () if verdict is None else verdict.reasons


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are escaped already; it scrolls by itself where it is too wide."""
    titles = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "\n".join(
        f"<tr><th scope=row>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return (
        f"<div class=wide><table><caption>{caption}</caption>\n<thead><tr>{titles}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


_FOOTER = (
    "A verdict is a statistical decision and can be wrong: thresholds are set so that the expected "
    "share of honest clients that are ever excluded stays within a budget, for clients that fit "
    "the model which each test states."
)

_STYLE = """
th, td { white-space: nowrap; }
td:last-child { white-space: normal; }
strong { color: var(--bad); }
code { white-space: pre; }
.reason { border-left: 3px solid var(--bad); padding-left: .8rem; }
figure svg { width: 100%; max-width: 40rem; }
@media print { details { display: none; } }
"""
