"""What all pages have in common: one HTML file that loads nothing and runs nothing.

A policy in the page forbids scripts and requests. Pages follow the reader's light or dark scheme,
and print. Whoever fills one escapes every text from outside.
"""

from __future__ import annotations

from html import escape

__all__ = ["whole_page"]


def whole_page(*, title: str, body: str, style: str = "") -> str:
    """The file. title: any text. body: HTML, inside of <main>. style: CSS after that of all pages.

    Of classes, `wide` scrolls by itself where it is too wide, and `note` is faint and small.
    """
    head = _HEAD.format(title=escape(title), style=_STYLE + style)
    return f"{head}\n<body><main>\n<h1>{escape(title)}</h1>\n{body}\n</main></body>\n</html>\n"


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>"""

_STYLE = """
:root { --ink: #1b1e24; --paper: #ffffff; --faint: #595f69; --line: #d5d9e0; --bad: #b3261e;
  --link: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #16181c; --faint: #a3a9b4;
  --line: #3a3f48; --bad: #ff8a80; --link: #8ab4f8; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 50rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
a { color: var(--link); }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
caption { text-align: left; color: var(--faint); font-size: .9rem; padding-bottom: .2rem; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line);
  font-weight: normal; }
th[scope=col] { color: var(--faint); font-size: .85rem; }
.note, footer, figcaption, summary { color: var(--faint); font-size: .9rem; }
figure { margin: 1.2rem 0 .4rem; break-inside: avoid; }
figure svg { max-width: 100%; height: auto; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; }
tr { break-inside: avoid; }
h2 { break-after: avoid; }
"""
