"""After a contest: standings, contributions and fairness, where the truth is known.

Subgroups are by label mix, as rules that look for the unusual hit clients with few labels first.
The simulation knows it; in a federation it is what clients declare of themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.demo.contest import Contest, Match
from protocols.demo.contest_table import does
from protocols.report.page import page
from protocols.report.recorded import Recorded
from protocols.report.summary import Summary, summary_of
from robust.attacks.attack import Examples

__all__ = ["document_page", "summarized", "truth"]

_MOSTLY, _OFTEN = 0.6, 0.35
"""The share of a client's commonest digit."""


def summarized(contest: Contest, matches: Sequence[Match]) -> Summary:
    """Of at least one round; attackers are set aside in the report on fairness."""
    owned = dict(enumerate(contest.examples, start=1))
    saved = Recorded(
        rounds=tuple(match.seen for match in matches),
        subgroups={client: _mix(examples) for client, examples in owned.items()},
        sizes={client: len(examples) for client, examples in owned.items()},
    )
    history = [match.verdicts for match in matches]
    return summary_of(saved, history, contest.screened.malicious)


def truth(contest: Contest) -> dict[int, str]:
    """Attacker -> what it does."""
    return {client: does(contest, client) for client in contest.screened.malicious}


def document_page(contest: Contest, matches: Sequence[Match]) -> str:
    """The page on everybody who was ever left out."""
    history = [match.verdicts for match in matches]
    title = f"Screening against {', '.join(contest.settings.attacks)}"
    return page(history, title=title, summary=summarized(contest, matches))


def _mix(examples: Examples) -> str:
    top = np.bincount(examples.labels).max() / len(examples)
    return (
        "mostly one digit" if top >= _MOSTLY else "a few digits" if top >= _OFTEN else "many digits"
    )
