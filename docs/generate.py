"""Writes the tables of the specification from the code: `python docs/generate.py [--check]`.

A page holds a line `<!-- generated: KIND SCHEME -->` and, after its first run, the table down to
`<!-- end -->`. With `--check` nothing is written and a stale page is an error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from secagg.machine import Signal, Transitions, Trigger
from secagg.schemes.ckks import messages as ckks_messages
from secagg.schemes.ckks import states as ckks_states
from secagg.schemes.ckks.screened import messages as screened_messages
from secagg.schemes.ckks.screened import states as screened_states
from secagg.schemes.pine import messages as pine_messages
from secagg.schemes.pine import states as pine_states
from secagg.schemes.plain import messages as plain_messages
from secagg.schemes.plain import states as plain_states
from secagg.schemes.secagg_plus import messages as plus_messages
from secagg.schemes.secagg_plus import states as plus_states
from secagg.schemes.secagg_plus.brief import messages as brief_messages
from secagg.schemes.secagg_plus.brief import states as brief_states
from secagg.schemes.secagg_plus.verified import messages as verified_messages
from secagg.schemes.secagg_plus.verified import states as verified_states
from secagg.sketch import chance, most_norm, slack
from secagg.wire import Message

DOCS = Path(__file__).parent
BLOCK = re.compile(r"<!-- generated: (\w+) (\w+) -->\n(?:.*?<!-- end -->\n)?", re.DOTALL)

MESSAGES = {
    "pine": pine_messages,
    "plain": plain_messages,
    "ckks": ckks_messages,
    "ckks_screened": screened_messages,
    "secagg_plus": plus_messages,
    "secagg_plus_brief": brief_messages,
    "secagg_plus_verified": verified_messages,
}
TABLES: dict[str, dict[str, Transitions]] = {
    "pine": {
        "Client": pine_states.CLIENT,
        "Leader": pine_states.LEADER,
        "Helper": pine_states.HELPER,
        "Leader, statistics": pine_states.LEADER_OF_SCREEN,
        "Leader, groups": pine_states.LEADER_OF_GROUPS,
        "Helper, statistics": pine_states.HELPER_OF_SCREEN,
    },
    "plain": {"Client": plain_states.CLIENT, "Server": plain_states.SERVER},
    "ckks": {
        "Client": ckks_states.CLIENT,
        "Server": ckks_states.SERVER,
        "Authority": ckks_states.AUTHORITY,
    },
    "ckks_screened": {
        "Server": screened_states.SERVER,
        "Authority": screened_states.AUTHORITY,
    },
    "secagg_plus": {
        "Client": plus_states.CLIENT,
        "Server": plus_states.SERVER,
        "Client, semi-honest": plus_states.CLIENT_SEMI_HONEST,
        "Server, semi-honest": plus_states.SERVER_SEMI_HONEST,
    },
    "secagg_plus_brief": {"Client": brief_states.CLIENT, "Server": brief_states.SERVER},
    "secagg_plus_verified": {
        "Client": verified_states.CLIENT,
        "Server": verified_states.SERVER,
        "Server, groups": verified_states.SERVER_OF_GROUPS,
    },
}


def messages(scheme: str) -> Iterator[str]:
    """One row per message: number, name, phase, route and meaning, fields."""
    yield "| type | message | phase | from and to | fields |"
    yield "|--:|---|---|---|---|"
    module = MESSAGES[scheme]
    kinds = (getattr(module, name) for name in module.__all__)
    for kind in sorted((k for k in kinds if _is_message(k)), key=lambda k: k.code):
        route = " ".join((kind.__doc__ or "").split())
        fields = "; ".join(f"`{name}`: {codec.spec}" for name, codec in kind.codecs())
        yield f"| {kind.code} | `{kind.__name__}` | {kind.phase} | {route} | {fields} |"


def states(scheme: str) -> Iterator[str]:
    """One table per side: state, trigger, states that may follow. All else is refused."""
    for side, table in TABLES[scheme].items():
        yield f"\n**{side}**\n"
        yield "| state | on | leads to |"
        yield "|---|---|---|"
        for state, row in table.items():
            for trigger, after in row.items():
                names = ", ".join(f"`{kind.__name__}`" for kind in after)
                yield f"| `{state.__name__}` | {_named(trigger)} | {names} |"


def bounds(_: str) -> Iterator[str]:
    """Rows of a sketch: slack, soft bound, and how likely a larger norm passes."""
    norms = (1.5, 2, 3, 4)
    yield "| k | τ | β | " + " | ".join(f"{norm} B passes" for norm in norms) + " |"
    yield "|--:" * (3 + len(norms)) + "|"
    for rows in (64, 128, 256, 1024):
        allowed = 1 + slack(rows)
        ratios = ((allowed / norm) ** 2 for norm in norms)
        shown = " | ".join(f"2^-{chance(rows, a):.0f}" if a < 1 else "may" for a in ratios)
        yield f"| {rows} | {allowed - 1:.2f} | {most_norm(rows):.2f} | {shown} |"


def render(text: str) -> str:
    """`text` with every generated block renewed."""
    makers = {"messages": messages, "states": states, "bounds": bounds}

    def block(match: re.Match[str]) -> str:
        kind, scheme = match.groups()
        return _joined(f"<!-- generated: {kind} {scheme} -->", makers[kind](scheme))

    return BLOCK.sub(block, text)


def main() -> int:
    """Renew all pages, or with `--check` tell which are stale."""
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = render(old)
        if new == old:
            continue
        stale.append(page.name)
        if "--check" not in sys.argv:
            page.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print("stale, run `python docs/generate.py`:", ", ".join(stale))
        return 1
    return 0


def _joined(head: str, lines: Iterable[str]) -> str:
    return "\n".join([head, *lines, "", "<!-- end -->", ""])


def _is_message(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Message)


def _named(trigger: Trigger) -> str:
    return trigger.value if isinstance(trigger, Signal) else f"`{trigger.__name__}`"


if __name__ == "__main__":
    sys.exit(main())
