"""What the demo with attackers prints: one line per round, and why each client was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from protocols.demo.contest import Contest, Match, last_verdicts
from protocols.report.words import spans
from secagg.identity import PartyId
from secagg.parameters import corrupt_bound
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified

__all__ = [
    "all_exact",
    "does",
    "failures",
    "heading",
    "json_document",
    "reasons",
    "rounds_table",
    "verdict",
]


def heading(contest: Contest) -> RenderableType:
    """What is run, and what is seen of it."""
    plan, settings = contest.plan, contest.settings
    scheme = plan.scheme
    assert isinstance(scheme, SecAggPlusVerified), "the plan has a screen"
    corrupt = corrupt_bound(scheme.clients, scheme.corrupt)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("clients", f"{settings.clients}, of whom attack: {_attackers(contest)}")
    grid.add_row("data", f"scikit-learn digits, labels by Dirichlet({settings.alpha:g})")
    grid.add_row("model", f"64-{settings.hidden}-10, {plan.structure.size:,} parameters")
    grid.add_row(
        "scheme",
        f"{scheme.name}, EXPERIMENTAL: against a cheating server and {corrupt} corrupt clients, "
        f"{scheme.clients - scheme.survivors} may be missing or left out",
    )
    grid.add_row(
        "opened",
        f"of each update its weight and {settings.rows} numbers of a sketch, drawn when all are "
        "in; and the sum",
    )
    return Group(Text("Federated averaging with attackers, screened", style="bold cyan"), grid)


def _attackers(contest: Contest) -> str:
    sides: dict[str, list[int]] = {}
    for client in contest.screened.malicious:
        attack = contest.screened.attack_of(client)
        assert attack is not None, "malicious clients have an attack"
        sides.setdefault(attack.name, []).append(client)
    return "; ".join(f"{name}: {', '.join(map(str, who))}" for name, who in sides.items())


def rounds_table(contest: Contest, matches: Sequence[Match]) -> RenderableType:
    """One line per round, with the unprotected run beside it."""
    if not matches:
        return Text("no round was run", "dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    backdoor = contest.has_backdoor
    for header, style in (
        ("\nround", "dim"),
        ("accuracy\n(open)", "bold"),
        *([("backdoor\n(open)", "bold")] if backdoor else []),
        ("in\nsum", ""),
        ("attack-\ners out", "green"),
        ("honest\nout", "red"),
        ("label\nread", "magenta"),
        ("ms client\n·server", ""),
        ("\nexact", ""),
    ):
        table.add_column(header, style=style, justify="right", no_wrap=True)
    for match in matches:
        present = len(match.verdicts.by_client.keys() & set(contest.screened.malicious))
        table.add_row(*_cells(match, present, backdoor=backdoor))
    audits = _AUDITS if any(match.audited for match in matches) else ""
    return Group(table, Text(_LEGEND + audits, "dim"))


_LEGEND = """\
(open)      the same clients and attacks, without any screening
backdoor    share of other digits that the trigger turns into a 3
out         beyond the norm bound, or excluded by a test, of those not silent
label read  most frequent digits, told by what is opened · guessed, in %
exact       the sum is, bit for bit, that of what the clients in it encoded
"""

_AUDITS = """\
audit       clients got a model with a public perturbation; its mean was not applied
"""


def _cells(match: Match, attackers: int, *, backdoor: bool) -> list[str | Text]:
    outcome = match.outcome
    included = 0 if outcome.result is None else len(outcome.result.included)
    costs = list(outcome.clients.values())
    mean = sum(cost.cpu for cost in costs) / len(costs)
    caught, wronged = match.excluded
    return [
        f"{'audit ' if match.audited else ''}{match.number}",
        _beside(match.accuracy, match.open_accuracy),
        *([_beside(match.success, match.open_success)] if backdoor else []),
        f"{included}/{len(costs)}",
        f"{len(caught)} of {attackers}",
        str(len(wronged)) if wronged else "-",
        _read(match),
        f"{mean * 1000:.0f}·{outcome.server_cpu * 1000:.0f}",
        Text("✓", style="green") if outcome.exact else Text("✗", style="bold red"),
    ]


def _read(match: Match) -> str:
    read = match.read
    return "-" if read is None else f"{read.found.value * 100:.0f}·{read.control.value * 100:.0f}"


def _beside(screened: float, unprotected: float) -> Text:
    return Text.assemble(f"{screened:.0%} ", (f"({unprotected:.0%})", "dim"))


def reasons(contest: Contest, matches: Sequence[Match]) -> RenderableType:
    """Why each client was left out, in words; of those that were more than once, the last time."""
    said: dict[tuple[str, int, str], list[PartyId]] = {}
    for client, (number, found) in sorted(last_verdicts(matches).items()):
        for finding in found.reasons:
            key = does(contest, client), number, finding.in_words
            said.setdefault(key, []).append(client)
    lines = [_line(clients, *key) for key, clients in said.items()]
    return Group(Text("Why clients were kept out", style="bold"), *lines) if lines else Text("")


def does(contest: Contest, client: PartyId) -> str:
    """The name of its attack, or "honest"."""
    attack = contest.screened.attack_of(client)
    return "honest" if attack is None else attack.name


def _line(clients: Sequence[PartyId], truth: str, number: int, words: str) -> Text:
    who = f"client{'s' if len(clients) > 1 else ''} {', '.join(map(str, clients))} "
    style = "red" if truth == "honest" else "green"
    return Text.assemble((who, "bold"), (truth, style), (f", round {number}: ", "dim"), words)


def failures(matches: Sequence[Match]) -> Text:
    """Why rounds ended without a sum."""
    said: dict[str, list[int]] = {}
    for match in matches:
        if match.outcome.failure is not None:
            said.setdefault(str(match.outcome.failure), []).append(match.number)
    lines = [f"no sum in {spans(numbers)}: {why}" for why, numbers in said.items()]
    return Text("\n".join(lines), "bold red")


def verdict(contest: Contest, matches: Sequence[Match], seconds: float) -> Text:
    """The last line."""
    wronged = set().union(*(match.excluded[1] for match in matches))
    last = matches[-1]
    caught = f"{len(last.excluded[0])} of {len(contest.screened.malicious)} attackers kept out"
    honest = f"{len(wronged)} honest clients ever kept out"
    exact = f"{sum(match.outcome.exact for match in matches)} of {len(matches)} sums exact"
    opened = f"{last.opened} numbers opened of each update"
    line = f"{exact}; {caught} at the end, {honest}; {opened}; {seconds:.0f} s"
    mark, style = ("✓ ", "bold green") if all_exact(matches) else ("✗ ", "bold red")
    return Text(mark + line, style=style)


def all_exact(matches: Sequence[Match]) -> bool:
    """Whether there was a round, a sum in each, and each sum was exact."""
    return bool(matches) and all(match.outcome.exact for match in matches)


def json_document(contest: Contest, matches: Sequence[Match], seconds: float) -> dict[str, object]:
    """The same for machines."""
    return {
        "scheme": contest.plan.scheme.name,
        "clients": contest.settings.clients,
        "attackers": {
            str(client): getattr(contest.screened.attack_of(client), "name", None)
            for client in contest.screened.malicious
        },
        "plan": contest.plan.digest.hex(),
        "rounds": [_fields(match) for match in matches],
        "exact": all_exact(matches),
        "seconds": seconds,
    }


def _fields(match: Match) -> dict[str, object]:
    result = match.outcome.result
    return {
        "number": match.number,
        "audit": match.audited,
        "accuracy": match.accuracy,
        "backdoor": match.success,
        "unprotected": {"accuracy": match.open_accuracy, "backdoor": match.open_success},
        "included": [] if result is None else sorted(result.included),
        "beyond": sorted(match.beyond),
        "excluded": {
            str(client): [vars(reason) for reason in match.verdicts.by_client[client].reasons]
            for client in match.verdicts.excluded
        },
        "attackers_kept_out": sorted(match.excluded[0]),
        "honest_kept_out": sorted(match.excluded[1]),
        "opened": match.opened,
        "labels_read": None if match.read is None else asdict(match.read),
        "exact": match.outcome.exact,
        "failure": None if match.outcome.failure is None else str(match.outcome.failure),
        "seconds": match.seconds,
    }
