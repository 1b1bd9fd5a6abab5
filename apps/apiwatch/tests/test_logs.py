"""Every format gives the same request; what cannot be read is counted, or refused by name."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiwatch.errors import LogUnreadable
from apiwatch.event import Request
from apiwatch.logs import Format, Log, detect, request_from_json, request_to_json

AGENT = ("user-agent", "curl/8")
COMBINED = (
    b'10.0.0.7 - bob [21/Nov/2022:18:12:16 +0000] "GET /a?x=1 HTTP/1.1" 200 12 "-" "curl/8"\n'
)
WHEN = 1669054336.0


def one(data: bytes, format: Format | None = None) -> Request:
    (request,) = Log(data.splitlines(keepends=True), format)
    return request


def test_nginx_and_apache_default_lines() -> None:
    request = one(COMBINED)
    assert request == Request(
        method="GET", target="/a?x=1", headers=(AGENT,), time=WHEN, source="10.0.0.7"
    )
    common = COMBINED.replace(b' "-" "curl/8"', b"")
    assert one(common).headers == ()


def test_escapes_of_both_servers_are_undone() -> None:
    line = COMBINED.replace(b"x=1", rb"x=\x22a\"\\")
    assert one(line).target == '/a?x="a"\\'


def test_a_target_with_spaces_is_kept_whole() -> None:
    assert one(COMBINED.replace(b"x=1", b"x=1 or 1=1")).target == "/a?x=1 or 1=1"


def test_json_of_nginx_and_ours_agree() -> None:
    nginx = {
        "remote_addr": "10.0.0.7",
        "time_iso8601": "2022-11-21T18:12:16+00:00",
        "request": "GET /a?x=1 HTTP/1.1",
        "http_user_agent": "curl/8",
        "http_referer": "",
    }
    ours = {
        "method": "GET",
        "path": "/a",
        "params": "x=1",
        "headers": {"user-agent": "curl/8"},
        "time": WHEN,
        "source": "10.0.0.7",
    }
    assert one(json.dumps(nginx).encode()) == one(json.dumps(ours).encode()) == one(COMBINED)


def test_har() -> None:
    entry = {
        "startedDateTime": "2022-11-21T18:12:16.000+00:00",
        "request": {
            "method": "POST",
            "url": "https://api.example/a?x=1",
            "headers": [{"name": "A", "value": "b"}],
            "postData": {"text": "k=v"},
        },
    }
    document = json.dumps({"log": {"entries": [entry, {"no": "request"}]}}).encode()
    log = Log([document])
    (request,) = log
    assert request.target == "/a?x=1"
    assert (request.headers, request.body, request.time) == ((("A", "b"),), "k=v", WHEN)
    assert log.skipped == 1
    assert "entry 2" in log.reason


def test_csv() -> None:
    text = b'method,path,params,body,headers\nPUT,/a,x=1,"a,b","{""h"": ""v""}"\n'
    assert one(text) == request_from_json(
        {"method": "PUT", "target": "/a?x=1", "body": "a,b", "headers": {"h": "v"}}
    )


def test_bad_lines_are_counted_and_the_others_kept() -> None:
    log = Log([COMBINED, b"\xff\xfe\x00\n", b"\n", COMBINED[:40], COMBINED])
    assert len(list(log)) == 2
    assert log.skipped == 2
    assert log.reason == "entry 2: no line of a combined log"


@pytest.mark.parametrize("line", [b"[1]\n", b"{}\n", b'{"method": 3, "path": "/"}\n', b"{\n"])
def test_json_that_is_no_request_is_counted(line: bytes) -> None:
    log = Log([b'{"method": "GET", "path": "/"}\n', line], Format.JSON)
    assert len(list(log)) == 1
    assert log.skipped == 1


def test_an_unknown_format_is_refused() -> None:
    assert detect("method,path") is Format.CSV
    with pytest.raises(LogUnreadable, match="name the format"):
        list(Log([b"hello\n"]))


@pytest.mark.parametrize("text", [b"{}", b"{", b'{"log": {"entries": 3}}', b'{"log": []}'])
def test_a_document_that_is_no_har_is_refused(text: bytes) -> None:
    assert list(Log([b'{"log": {"entries": []}}'], Format.HAR)) == []
    with pytest.raises(LogUnreadable, match="no HAR document"):
        list(Log([text], Format.HAR))


def test_a_deeply_nested_line_is_counted() -> None:
    log = Log([b'{"a":' * 100_000 + b"\n"], Format.JSON)
    assert list(log) == []
    assert "RecursionError" in log.reason


def test_a_byte_order_mark_does_not_hide_the_format() -> None:
    assert one(b"\xef\xbb\xbf" + b'{"method": "GET", "path": "/"}').target == "/"


@given(
    method=st.text(min_size=1),
    target=st.text(min_size=1),
    headers=st.lists(st.tuples(st.text(), st.text())),
    body=st.text(),
    source=st.text(),
    time=st.floats(allow_nan=True, allow_infinity=False),
)
def test_our_json_gives_back_what_it_was_made_of(method, target, headers, body, source, time):
    request = Request(
        method=method,
        target=target,
        headers=tuple(headers),
        body=body,
        source=source,
        time=time,
    )
    again = request_from_json(json.loads(json.dumps(request_to_json(request))))
    assert again.time == time or math.isnan(time)
    assert {n: getattr(again, n) for n in Request.__slots__ if n != "time"} == {
        n: getattr(request, n) for n in Request.__slots__ if n != "time"
    }


@given(st.binary())
def test_no_line_does_more_than_be_skipped(line: bytes) -> None:
    for kind in (Format.JSON, Format.COMBINED):
        log = Log([line.replace(b"\n", b"")], kind)
        assert len(list(log)) + log.skipped <= 1
