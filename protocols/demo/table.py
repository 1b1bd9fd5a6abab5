"""What the demo prints: what is run, one line per round, and whether every sum was exact."""

from __future__ import annotations

from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dp.mechanism import ByClients
from protocols.demo.training import Federation, RoundReport
from protocols.private import Private
from secagg.parameters import corrupt_bound
from secagg.quantize import FixedPoint, NormClip
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedRounded, EncryptedScheme
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest

__all__ = ["all_exact", "heading", "json_document", "rounds_table", "verdict"]


def heading(federation: Federation) -> RenderableType:
    """What is run, and what it does and does not protect."""
    plan, digits = federation.plan, federation.digits
    sizes = sorted(len(examples) for examples in digits.clients.values())
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("data", f"scikit-learn digits, {sizes[0]} to {sizes[-1]} for each client, non-IID")
    grid.add_row("model", f"64-64-10, {plan.structure.size:,} parameters")
    grid.add_row("scheme", _scheme(plan.scheme))
    grid.add_row("encoding", _encoding(plan.quantize))
    grid.add_row("privacy", _privacy(federation))
    return Group(Text("Federated averaging by secure sums", style="bold cyan"), grid)


def rounds_table(reports: list[RoundReport]) -> RenderableType:
    """One line per round, and what the columns mean."""
    if not reports:
        return Text("no round was run", "dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    stages = list(reports[0].dropped)
    initials = "·".join(stage[0] for stage in stages)
    spends = any(report.epsilon is not None for report in reports)
    for header, style in (
        ("\nround", "dim"),
        ("accu-\nracy", "bold"),
        ("in\nsum", ""),
        (f"silent at\n{initials}", "yellow"),
        ("kB\nup", ""),
        ("kB\ndown", ""),
        ("ms client\n·server", ""),
        *([("\nclip", ""), ("\nepsilon", "magenta")] if spends else [("off\nby", "")]),
        ("\ntold", "magenta"),
        ("\nexact", ""),
    ):
        table.add_column(header, style=style, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            *_cells(report),
            *(_spent(report) if spends else _off(report)),
            _told(report),
            _mark(report),
        )
    legend = _LEGEND.format(stages="·".join(stages)) + (_SPENT if spends else _OFF) + _TOLD + _EXACT
    failures = [
        Text(f"round {report.number}: {report.failure}", style="red")
        for report in reports
        if report.failure
    ]
    return Group(table, Text(legend, "dim"), *failures)


_LEGEND = """\
accuracy    of the model after the round, on 360 digits that nobody trained on
silent at   clients gone before sending: {stages}
kB, ms      frames and CPU of the protocol, per client that stayed; no training
"""
_OFF = "off by      largest distance from the plaintext mean of the clients in the sum\n"
_SPENT = """\
clip        the L2 norm that an update is cut to
epsilon     what all rounds so far tell about one client's updates, at most
"""
_TOLD = """\
told        is a client in the sum? Asked by who knows its update: 0.5 is a coin
"""
_EXACT = """\
exact       the sum is, bit for bit, that of what these clients encoded,
            or that with no more beside it than two aggregators' noise
"""


def stopped(federation: Federation, reports: list[RoundReport]) -> Text:
    """Why there are fewer rounds than were asked for."""
    done = f"the model so far has {reports[-1].accuracy:.1%}" if reports else "there is no model"
    return Text(
        f"the privacy budget affords no further round, {done}: {federation.stopped}", "yellow"
    )


def verdict(reports: list[RoundReport], seconds: float) -> Text:
    """The last line."""
    count = f"{sum(report.exact for report in reports)} of {len(reports)} rounds"
    if all_exact(reports):
        return Text(f"✓ all sums were exact: {count}, in {seconds:.1f} s", style="bold green")
    return Text(f"✗ not all sums were exact: {count}", style="bold red")


def all_exact(reports: list[RoundReport]) -> bool:
    """Whether there was a round, a sum in each, and each sum was exact."""
    return bool(reports) and all(report.exact for report in reports)


def json_document(
    federation: Federation, reports: list[RoundReport], seconds: float
) -> dict[str, object]:
    """The same for machines."""
    plan = federation.plan
    return {
        "scheme": plan.scheme.name,
        "clients": plan.scheme.clients,
        "parameters": plan.structure.size,
        "width": plan.scheme.width,
        "plan": plan.digest.hex(),
        "rounds": [_fields(report) for report in reports],
        "exact": all_exact(reports),
        "stopped": None if federation.stopped is None else str(federation.stopped),
        "seconds": seconds,
    }


def _fields(report: RoundReport) -> dict[str, object]:
    # JSON has no NaN: a round without a sum has no deviation.
    deviation = report.deviation if report.failure is None else None
    told = None if report.told is None else asdict(report.told)
    return {**vars(report), "deviation": deviation, "told": told}


def _scheme(scheme: Scheme) -> str:
    if not isinstance(scheme, SecAggPlus | SecAggPlusSemiHonest | EncryptedScheme | TwoAggregators):
        return f"plain, INSECURE: the server reads the update of all {scheme.clients} clients"
    corrupt = corrupt_bound(scheme.clients, scheme.corrupt)
    others = f"{corrupt} corrupt of {scheme.clients}, {scheme.clients - scheme.survivors} dropouts"
    if isinstance(scheme, EncryptedRounded):
        return f"encrypted to a key authority that rounds, and is not the server, {others}"
    if isinstance(scheme, EncryptedScheme):
        return f"encrypted to a key authority that is not the server, {others}"
    if isinstance(scheme, TwoAggregators):
        proven = "norms" if scheme.entries is None else f"entries of 0 to {scheme.entries.most}"
        return f"two aggregators, private unless both collude, {proven} verified, {others}"
    if isinstance(scheme, SecAggPlus):
        return f"secagg_plus, against a cheating server, {others}"
    return f"secagg_plus_semi_honest, {others}; a lying server reads updates"


def _encoding(quantize: FixedPoint | Private) -> str:
    if isinstance(quantize, Private):
        mechanism = quantize.mechanism
        return (
            f"norm <= {mechanism.clip:g} as {mechanism.units:,} units, rotated, every client "
            f"counts as one, {mechanism.width} bits"
        )
    kind = "norm" if isinstance(quantize.clip, NormClip) else "range"
    return (
        f"{kind} <= {quantize.clip.bound:g}, unit 2^-{quantize.fraction_bits}, weights up to "
        f"{quantize.max_weight}, {quantize.width} bits"
    )


def _privacy(federation: Federation) -> str:
    quantize, ledger = federation.plan.quantize, federation.ledger
    if ledger is None or not isinstance(quantize, Private):
        return "the sum itself is not hidden: no noise is added in this run"
    noise = quantize.mechanism.noise
    budget = f"epsilon {ledger.epsilon:g} at delta {ledger.delta:g} for all rounds"
    deviation = f"noise of {quantize.noise_deviation:.3g} on each coordinate of a sum"
    if isinstance(noise, ByClients):
        return f"{budget}; {deviation}, by any {noise.parts} honest clients"
    if quantize.is_split:
        return f"{budget}; {deviation}, by each of two aggregators"
    return f"{budget}; {deviation}, by the server, which is TRUSTED with the sum"


def _spent(report: RoundReport) -> tuple[str, ...]:
    return f"{report.clip:.3g}", f"{report.epsilon:.3f}"


def _off(report: RoundReport) -> tuple[str, ...]:
    return ("-" if report.failure else f"{report.deviation:.0e}",)


def _told(report: RoundReport) -> str:
    return "-" if report.told is None else f"{report.told.found.value:.2f}"


def _mark(report: RoundReport) -> Text:
    return Text("✓", style="green") if report.exact else Text("✗", style="bold red")


def _cells(report: RoundReport) -> tuple[str, ...]:
    return (
        str(report.number),
        f"{report.accuracy:.1%}",
        f"{report.included}/{report.cohort}",
        "·".join(map(str, report.dropped.values())),
        f"{report.bytes_up / 1000:.1f}",
        f"{report.bytes_down / 1000:.1f}",
        f"{report.client_cpu * 1000:.0f}·{report.server_cpu * 1000:.0f}",
    )
