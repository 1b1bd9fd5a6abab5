"""STAGE bytes of a log -> requests: our JSON lines, nginx and Apache logs, HAR, CSV.

A line that cannot be read is counted and never guessed at; `Log.skipped` says how many and why the
first. Bytes that are no UTF-8 become U+FFFD. A log has no bodies or headers but those that its
format names, and what is not there is not judged.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from apiwatch.errors import LogUnreadable
from apiwatch.event import Request

__all__ = ["Format", "Log", "detect", "request_from_json", "request_to_json"]


class Format(StrEnum):
    """How a log is written. COMBINED is nginx's and Apache's default with or without its tail."""

    JSON = "json"
    COMBINED = "combined"
    HAR = "har"
    CSV = "csv"


_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_COMBINED = re.compile(
    r"(?P<source>\S+) \S+ .*?\[(?P<time>[^\]]*)\] "
    rf"{_QUOTED} (?:\d{{3}}|-) \S+(?: {_QUOTED} {_QUOTED})?"
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_PLAIN = {"t": "\t", "n": "\n", "r": "\r"}
_HEADER_PREFIX = "http_"


@dataclass
class Log:
    """Requests of one log, read once. `skipped` grows while it is read."""

    lines: Iterable[bytes]
    format: Format | None = None
    skipped: int = 0
    reason: str = field(default="")

    def __iter__(self) -> Iterator[Request]:
        text = (line.decode("utf-8", "replace") for line in self.lines)
        first = next((line for line in text if line.strip()), "")
        kind = self.format or detect(first)
        whole = _chain(first, text)
        if kind is Format.HAR:
            yield from self._kept(_har(whole), _har_entry)
        elif kind is Format.CSV:
            yield from self._kept(_rows(whole), _csv_row)
        else:
            parse = _combined if kind is Format.COMBINED else _json_line
            yield from self._kept((line for line in whole if line.strip()), parse)

    def _kept(self, items: Iterable[Any], parse: Callable[[Any], Request]) -> Iterator[Request]:
        for number, item in enumerate(items, 1):
            try:
                yield parse(item)
            except LogUnreadable as error:
                self.skipped += 1
                self.reason = self.reason or f"entry {number}: {error}"


def detect(first: str) -> Format:
    """The format that a log's first line shows."""
    start = first.lstrip("\ufeff \t")
    if start.startswith("{"):
        return Format.HAR if '"log"' in start[:200] or start.strip() == "{" else Format.JSON
    if _COMBINED.match(start):
        return Format.COMBINED
    if "method" in start.lower().split(",")[:20]:
        return Format.CSV
    raise LogUnreadable(
        "the first line is neither JSON, nor a combined log, nor a CSV header with a column "
        "'method'; name the format"
    )


def request_from_json(entry: Mapping[str, Any]) -> Request:
    """Of our own names or those of an nginx `log_format … escape=json`.

    Raises `LogUnreadable` where method or target is missing, or a field is not text.
    """
    method, target = _line_of(entry)
    return Request(
        method=method,
        target=target,
        headers=_headers(entry),
        body=_text(entry, "body", "request_body"),
        time=_time(entry.get("time", entry.get("time_iso8601", entry.get("msec")))),
        source=_text(entry, "source", "remote_addr"),
    )


def request_to_json(request: Request) -> dict[str, Any]:
    """Our own names; what `request_from_json` reads."""
    entry: dict[str, Any] = {"method": request.method, "target": request.target}
    if request.headers:
        entry["headers"] = [list(pair) for pair in request.headers]
    for name in ("body", "source"):
        if getattr(request, name):
            entry[name] = getattr(request, name)
    if not math.isnan(request.time):
        entry["time"] = request.time
    return entry


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first.removeprefix("\ufeff")
    yield from rest


def _json_line(line: str) -> Request:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogUnreadable(f"no JSON: {type(error).__name__}") from None
    if not isinstance(entry, dict):
        raise LogUnreadable("a JSON line that is no object")
    return request_from_json(entry)


def _line_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    line = entry.get("request")
    if isinstance(line, str):
        return _request_line(line)
    method = _text(entry, "method", "request_method")
    target = _text(entry, "target", "request_uri", "uri", "url", "path")
    if not method or not target:
        raise LogUnreadable("an entry without method or target")
    query = _text(entry, "params", "query", "query_string", "args")
    return method, f"{target}?{query}" if query else target


def _text(entry: Mapping[str, Any], *names: str) -> str:
    value = next((entry[name] for name in names if entry.get(name) is not None), "")
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value)
    raise LogUnreadable(f"{names[0]} is a {type(value).__name__} and no text")


def _headers(entry: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    given = entry.get("headers") or {}
    pairs = given.items() if isinstance(given, dict) else given
    found = [(str(pair[0]), str(pair[1])) for pair in pairs if len(pair) == 2]
    named = ((k.removeprefix(_HEADER_PREFIX), v) for k, v in entry.items() if k.startswith("http_"))
    found += [(k.replace("_", "-"), str(v)) for k, v in named if v not in ("", "-", None)]
    return tuple(found)


@lru_cache(maxsize=1 << 12)
def _time(value: Any) -> float:
    """Seconds since the epoch; NaN where there is no time that can be read."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    for form in ("%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"):
        try:
            return datetime.strptime(str(value), form).timestamp()
        except ValueError:
            continue
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _request_line(line: str) -> tuple[str, str]:
    """Method and target; a target may hold spaces, as attacks do."""
    method, _, rest = line.partition(" ")
    target = rest.rsplit(" HTTP/", 1)[0]
    if not method or not target:
        raise LogUnreadable("a request line without method or target")
    return method, target


def _combined(line: str) -> Request:
    match = _COMBINED.match(line)
    if not match:
        raise LogUnreadable("no line of a combined log")
    source, time, request, referer, agent = match.groups()
    method, target = _request_line(_unescape(request))
    pairs = (("referer", referer), ("user-agent", agent))
    headers = tuple((name, _unescape(value)) for name, value in pairs if value not in (None, "-"))
    return Request(method=method, target=target, headers=headers, time=_time(time), source=source)


def _unescape(text: str) -> str:
    """What nginx and Apache escape: quotes, backslashes, control characters."""

    def plain(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 3 else _PLAIN.get(code, code)

    return _ESCAPE.sub(plain, text) if "\\" in text else text


def _har(lines: Iterable[str]) -> Iterator[Any]:
    try:
        document = json.loads("".join(lines))
        entries = document["log"]["entries"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise LogUnreadable(f"no HAR document: {type(error).__name__}") from None
    if not isinstance(entries, list):
        raise LogUnreadable("no HAR document: log.entries is no list")
    yield from entries


def _har_entry(entry: Any) -> Request:
    try:
        asked = entry["request"]
        split = urlsplit(asked["url"])
        headers = tuple((str(pair["name"]), str(pair["value"])) for pair in asked["headers"])
        body = (asked.get("postData") or {}).get("text") or ""
        method = str(asked["method"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LogUnreadable(f"no HAR entry: {type(error).__name__}") from None
    target = f"{split.path or '/'}?{split.query}" if split.query else split.path or "/"
    when = _time(str(entry.get("startedDateTime")))
    return Request(method=method, target=target, headers=headers, body=str(body), time=when)


def _rows(lines: Iterable[str]) -> Iterator[Any]:
    try:
        yield from csv.DictReader(io.StringIO("".join(lines)), restkey="")
    except csv.Error as error:
        raise LogUnreadable(f"no CSV: {error}") from None


def _csv_row(row: dict[str, Any]) -> Request:
    if "" in row:
        raise LogUnreadable("a row with more cells than the header")
    entry = {str(name).strip().lower(): value for name, value in row.items() if value is not None}
    headers = entry.get("headers")
    if headers:
        try:
            entry["headers"] = json.loads(headers)
        except ValueError:
            raise LogUnreadable("headers in a CSV must be a JSON object") from None
    return request_from_json(entry)
