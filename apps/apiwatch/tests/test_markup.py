"""Every character of an XML body is in one text, and none of them costs more than its length."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiwatch.event import Place, Request
from apiwatch.fields import fields
from apiwatch.markup import is_xml, leaves

HEAD = '<?xml version="1.0"?>'


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("", []),
        (f'{HEAD}<a><b c="1">x</b></a>', [("$", HEAD), ("$.a.b@c", "1"), ("$.a.b", "x")]),
        ("<a b='&lt;&#x24;'>&amp;lt;</a>", [("$.a@b", "<$"), ("$.a", "&lt;")]),
        ("<a><![CDATA[<b>&lt;]]><![CDATA[]]></a>", [("$.a", "<b>&lt;")]),
        ("<a><!-- x --></a>", [("$.a", "<!-- x -->")]),
        ("<a b/><c/>d", [("$.a@", "b"), ("$", "d")]),
        ("<a></b></a></a>", [("$.a", "</b>"), ("$", "</a>")]),
        ("<a>x<", [("$.a", "x"), ("$.a", "<")]),
        ('<a b="c>x</a>', [("$", '<a b="c>x</a>')]),
    ],
)
def test_texts_and_attributes_have_paths(body: str, found: list[tuple[str, str]]) -> None:
    assert list(leaves(body)) == found


def test_entities_that_a_document_defines_are_seen_and_not_expanded() -> None:
    body = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    ((path, text),) = leaves(body)
    assert (path, text) == ("$", body)


@given(st.text("<>/'\"=ab !?-[]&; "))
def test_nothing_is_lost(body: str) -> None:
    shown = "".join(path.rpartition(".")[2] + text for path, text in leaves(body))
    kept = set(body) - set("<>/'\"=&; ") if "&" in body else set(body) - set("<>/'\"= ![]-?")
    inside = {"a", "b"} & kept
    opened = set("".join(part.partition(">")[0] for part in body.split("<")[1:]))
    assert inside - opened <= set(shown)


def test_time_and_size_grow_with_length() -> None:
    long = 60_000
    bodies = [
        "<" + "a" * long,
        "<a " + "b" * long + ">",
        '<a "' * (long // 4),
        "<a " + "b= " * (long // 3) + ">",
        "<a>" * (long // 3),
        "<![CDATA[" * (long // 9),
        "<!--" * (long // 4),
        "</a>" * (long // 4),
        "<" + "n" * (long // 2) + ">" + '<b c="1">' * (long // 18),
    ]
    start = time.process_time()
    sizes = [sum(len(path) + len(text) for path, text in leaves(body)) for body in bodies]
    assert time.process_time() - start < 5.0
    assert max(sizes) < 200 * long


def test_only_what_says_that_it_is_xml_is_taken_apart() -> None:
    assert is_xml("application/soap+xml", " <a/>")
    assert is_xml("", f"{HEAD}<a/>")
    assert not is_xml("", "<script>alert(1)</script>")
    assert not is_xml("text/xml", "a=b")
    body = f'{HEAD}<a><b c="%253Cscript%253E"/></a>'
    found = fields(Request(method="POST", target="/", body=body))[1]
    values = {(f.name, f.value) for f in found if f.place is Place.XML}
    assert values == {("$", HEAD), ("$.a.b@c", "<script>")}
    assert ("xml:$.a.b@c") in {f.value for f in found if f.place is Place.NAME}
