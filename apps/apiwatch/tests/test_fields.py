"""Nothing of a request is left out, cut, or hidden behind an encoding."""

from __future__ import annotations

import sys
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiwatch.event import Place, Request
from apiwatch.fields import endpoint_of, fields
from apiwatch.hashing import hash_text
from apiwatch.normalize import fold, template


def values(request: Request, place: Place) -> list[tuple[str, str]]:
    return [(f.name, f.value) for f in fields(request)[1] if f.place is place]


def test_a_deep_path_is_fields_as_well_and_takes_no_square_of_its_length() -> None:
    request = Request(method="GET", target="/a" * 40 + "/b1" * 3000)
    found = [f for f in fields(request)[1] if f.place is Place.PATH]
    assert [f.value for f in found] == ["a"] * 40 + ["b1"] * 3000
    assert [f.scope for f in found[:3]] == ["/", "/a/", "/a/a/"]
    assert len({f.scope for f in found}) == 32
    assert len(fields(Request(method="GET", target="/a" * 9))[1]) == 9 + 1 + 10 + 1 + 1


def test_long_texts_are_not_remembered() -> None:
    salt = bytes(16)
    for size, kept in ((50, True), (5000, False)):
        text = "".join(["x"] * size)
        before = sys.getrefcount(text)
        hash_text(salt, text)
        template(text)
        assert (sys.getrefcount(text) > before) is kept


def test_what_is_folded_slice_by_slice_is_folded_throughout() -> None:
    assert fold("ﬁ") == "fi"
    assert fold("＜script＞" * 1000) == "<script>" * 1000
    assert sorted(fold("\u0300\u0316" * 5000)) == sorted("\u0300\u0316" * 5000)


def test_every_part_is_a_field() -> None:
    request = Request(
        method="post",
        target="/shop/42/buy?q=a+b&q=c&flag",
        headers=(("Cookie", "sid=1; theme=dark"), ("X-A", "v"), ("Content-Type", "a/json")),
        body='{"a": {"b": [1, "x", null]}, "c": true}',
    )
    endpoint, found = fields(request)
    assert endpoint == "/shop/0/buy"
    assert values(request, Place.METHOD) == [("", "POST")]
    assert values(request, Place.PATH) == [("", "shop"), ("", "42"), ("", "buy")]
    assert values(request, Place.QUERY) == [("q", "a b"), ("q", "c"), ("flag", "")]
    assert values(request, Place.COOKIE) == [("sid", "1"), ("theme", "dark")]
    assert ("x-a", "v") in values(request, Place.HEADER)
    assert values(request, Place.JSON) == [
        ("$.a.b[]", "1"),
        ("$.a.b[]", "x"),
        ("$.a.b[]", "null"),
        ("$.c", "true"),
    ]
    assert len(found) == 3 + 1 + 4 + 1 + 3 + 1 + 3 + 4 + 2 + 2 + 4


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "%3Cscript%3E",
        "%253Cscript%253E",
        "\uff1cscript\uff1e",
        "%EF%BC%9Cscript%EF%BC%9E",
    ],
)
def test_encodings_do_not_hide(text: str) -> None:
    (field,) = values(Request(method="GET", target=f"/a?x={text}"), Place.QUERY)
    assert field == ("x", "<script>")


def test_a_third_encoding_leaves_percent_signs() -> None:
    text = quote(quote(quote("<", safe=""), safe=""), safe="")
    ((_, value),) = values(Request(method="GET", target=f"/a?x={text}"), Place.QUERY)
    assert value == "%3C"


def test_long_values_are_whole() -> None:
    ((_, value),) = values(Request(method="GET", target="/a?x=" + "a" * 10**6 + "'"), Place.QUERY)
    assert len(value) == 10**6 + 1
    assert value.endswith("'")


def test_form_multipart_and_other_bodies() -> None:
    assert values(Request(method="POST", target="/", body="a=%31&b=2+3"), Place.FORM) == [
        ("a", "1"),
        ("b", "2 3"),
    ]
    assert values(Request(method="POST", target="/", body="<x a='1'/>"), Place.BODY) == [
        ("", "<x a='1'/>")
    ]
    body = '--B\r\nContent-Disposition: form-data; name="f"\r\n\r\nhi\r\n--B--\r\n'
    headers = (("Content-Type", "multipart/form-data; boundary=B"),)
    request = Request(method="POST", target="/", headers=headers, body=body)
    assert ("f", "hi") in values(request, Place.FORM)


@pytest.mark.parametrize("body", ["{broken", "[" * 100_000])
def test_json_that_is_none_is_a_body(body: str) -> None:
    assert values(Request(method="POST", target="/", body=body), Place.BODY) == [("", body)]


def test_numbers_and_tokens_fold_in_endpoints_only() -> None:
    token = "d5222950-e688-4e3d-a357-4fac35041b42"
    assert endpoint_of(Request(method="GET", target=f"/U12/{token}?x")) == "/u0/*"


@given(st.text(), st.text(), st.text(), st.lists(st.tuples(st.text(), st.text())))
def test_any_request_has_fields(method, target, body, headers) -> None:
    request = Request(method=method, target=target, body=body, headers=tuple(headers))
    endpoint, found = fields(request)
    assert endpoint == endpoint_of(request)
    assert len(found) >= 3
