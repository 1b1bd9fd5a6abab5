"""STAGE judged requests -> alerts for people and SIEMs, grouped and redacted.

One alert stands for all requests with the same endpoint, field, kind of surprise and name. Values
are shown as shapes unless the caller asks for them: a request may hold anybody's secrets. Paths,
with their digits folded, and names of parameters are always shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Self

from apiwatch.detector import Judged
from apiwatch.features import shape_text
from apiwatch.naming import TECHNIQUE, Name, tag_of

__all__ = ["Alert", "Output", "group", "render"]

PRODUCT, VERSION = "apiwatch", "0.1.0"
_MOST_SOURCES = 20


class Output(StrEnum):
    """How alerts are written. OCSF is version 1.8, class 2004, one JSON object a line."""

    TEXT = "text"
    OCSF = "ocsf"
    ECS = "ecs"
    CEF = "cef"


@dataclass
class Alert:
    """A group of requests. first: the most suspicious of them. times: seconds, NaN if unknown."""

    first: Judged
    name: Name
    count: int = 1
    earliest: float = math.nan
    latest: float = math.nan
    sources: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, judged: Judged, name: Name) -> Self:
        """Of one request."""
        alert = cls(judged, name)
        alert._see(judged)
        return alert

    @property
    def id(self) -> str:
        """16 hexadecimal digits, the same for the same group in every run."""
        judged = self.first
        key = (judged.endpoint, judged.field.label, judged.kind, shape_text(judged.field.value))
        return blake2b("\0".join(key).encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def title(self) -> str:
        """One line."""
        judged = self.first
        return f"{self.name.label} in {judged.field.label} of {judged.endpoint or '/'}"

    @property
    def severity(self) -> int:
        """2 low, 3 medium, 4 high, as OCSF counts: by whether a class is named, and by score."""
        named = self.name.label not in ("unknown", "anomaly", "structure")
        return 2 + int(named) + int(self.first.score > 20)

    def shown(self, *, redact: bool) -> str:
        """The blamed value, or only its shape."""
        field = self.first.field
        hidden = redact and not field.place.is_atom
        return shape_text(field.value).replace("\x01", "␀") if hidden else field.value

    def add(self, judged: Judged) -> None:
        """Take one more request into the group."""
        self.count += 1
        self._see(judged)
        if judged.score > self.first.score:
            self.first = judged

    def _see(self, judged: Judged) -> None:
        time, source = judged.request.time, judged.request.source
        if not math.isnan(time):
            self.earliest = min(time, self.earliest if not math.isnan(self.earliest) else time)
            self.latest = max(time, self.latest if not math.isnan(self.latest) else time)
        if source and source not in self.sources and len(self.sources) < _MOST_SOURCES:
            self.sources.append(source)


def group(judged: Sequence[Judged], names: Sequence[Name]) -> list[Alert]:
    """Alerts, the most suspicious first."""
    found: dict[tuple[str, ...], Alert] = {}
    for one, name in zip(judged, names, strict=True):
        key = (one.endpoint, one.field.label, one.kind, name.label, shape_text(one.field.value))
        if key in found:
            found[key].add(one)
        else:
            found[key] = Alert.of(one, name)
    return sorted(found.values(), key=lambda alert: -alert.first.score)


def render(alerts: Iterable[Alert], output: Output, *, redact: bool, now: float) -> Iterable[str]:
    """One line per alert. now: seconds, for alerts whose log has no times."""
    line = _LINES[output]
    for alert in alerts:
        yield line(alert, redact, now)


def _text(alert: Alert, redact: bool, now: float) -> str:
    del now
    judged = alert.first
    value = _printable(alert.shown(redact=redact))
    return (
        f"{alert.id}  {judged.score:7.1f}  x{alert.count:<5} {alert.name.label:<9} "
        f"{judged.request.method} {_printable(judged.endpoint or '/')}  "
        f"{_printable(judged.field.label)}={value}"
    )


def _ocsf(alert: Alert, redact: bool, now: float) -> str:
    milliseconds = round(1000 * _when(alert.latest, now))
    document = {
        "activity_id": 1,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200401,
        "type_name": "Detection Finding: Create",
        "severity_id": alert.severity,
        "severity": {2: "Low", 3: "Medium", 4: "High"}[alert.severity],
        "status_id": 1,
        "status": "New",
        "time": milliseconds,
        "start_time": round(1000 * _when(alert.earliest, now)),
        "end_time": milliseconds,
        "count": alert.count,
        "confidence_score": round(100 * alert.name.confidence),
        "message": alert.title,
        "metadata": {
            "version": "1.8.0",
            "product": {"name": PRODUCT, "vendor_name": "secagg", "version": VERSION},
        },
        "finding_info": _finding(alert, milliseconds),
        "evidences": [{"data": _evidence(alert, redact)}],
    }
    return json.dumps(document)


def _finding(alert: Alert, milliseconds: int) -> dict[str, Any]:
    technique, technique_name, tactic, tactic_name = TECHNIQUE
    tag = tag_of(alert.name.label)
    return {
        "uid": alert.id,
        "title": alert.title,
        "created_time": milliseconds,
        "types": [alert.name.label] + ([f"{tag.capec} {tag.title}"] if tag else []),
        "attacks": [
            {
                "technique": {"uid": technique, "name": technique_name},
                "tactic": {"uid": tactic, "name": tactic_name},
            }
        ],
    }


def _evidence(alert: Alert, redact: bool) -> dict[str, Any]:
    judged = alert.first
    return {
        "method": judged.request.method,
        "endpoint": judged.endpoint,
        "field": judged.field.label,
        "kind": judged.kind,
        "score": round(judged.score, 2),
        "shape" if redact else "value": alert.shown(redact=redact),
        "sources": alert.sources,
    }


def _ecs(alert: Alert, redact: bool, now: float) -> str:
    tag = tag_of(alert.name.label)
    return json.dumps(
        {
            "@timestamp": datetime.fromtimestamp(_when(alert.latest, now), UTC).isoformat(),
            "ecs.version": "8.11.0",
            "event.kind": "alert",
            "event.category": ["intrusion_detection"],
            "event.type": ["info"],
            "event.id": alert.id,
            "event.module": PRODUCT,
            "event.severity": alert.severity,
            "event.risk_score": round(alert.first.score, 2),
            "message": alert.title,
            "rule.category": alert.name.label,
            "rule.reference": tag.capec if tag else "",
            "threat.technique.id": [TECHNIQUE[0]],
            "http.request.method": alert.first.request.method,
            "url.path": alert.first.endpoint,
            "source.ip": alert.sources,
            "apiwatch": _evidence(alert, redact) | {"count": alert.count},
        }
    )


def _cef(alert: Alert, redact: bool, now: float) -> str:
    judged = alert.first
    extension = {
        "rt": str(round(1000 * _when(alert.latest, now))),
        "cnt": str(alert.count),
        "requestMethod": judged.request.method,
        "request": judged.endpoint,
        "src": alert.sources[0] if alert.sources else "",
        "cs1Label": "field",
        "cs1": judged.field.label,
        "cs2Label": "shape" if redact else "value",
        "cs2": alert.shown(redact=redact),
        "externalId": alert.id,
    }
    head = ("CEF:0", "secagg", PRODUCT, VERSION, judged.kind, alert.title, str(alert.severity * 2))
    front = "|".join([head[0], *(_escaped(part, "|") for part in head[1:])])
    return f"{front}|" + " ".join(f"{k}={_escaped(v, '=')}" for k, v in extension.items() if v)


_LINES: dict[Output, Callable[[Alert, bool, float], str]] = {
    Output.TEXT: _text,
    Output.OCSF: _ocsf,
    Output.ECS: _ecs,
    Output.CEF: _cef,
}


def _when(time: float, now: float) -> float:
    return now if math.isnan(time) else time


def _escaped(text: str, sign: str) -> str:
    """As CEF wants it: no line ends, the separator behind a backslash."""
    quoted = text.replace("\\", "\\\\").replace(sign, f"\\{sign}")
    return _printable(quoted)


def _printable(text: str) -> str:
    """Control characters made visible: an attack must not write to the terminal or forge a line."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: f"\\x{ord(m[0]):02x}", text)
