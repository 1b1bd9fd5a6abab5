"""Alerts are grouped, redacted, and what each format's readers expect."""

from __future__ import annotations

import json
import math
import re

import pytest
from traffic import attacks, usual

from apiwatch import Detector, Field, Judged, Place, Request, Settings
from apiwatch.alerts import Output, group, render
from apiwatch.naming import Name

SETTINGS = Settings(cells=16, slots=8, salt=b"0123456789abcdef")
DETECTOR = Detector.learn(usual(300), SETTINGS)


def alerts(name: str = "sqli"):
    judged = list(DETECTOR.judge([*attacks(), attacks()[0]]))
    return group(judged, [Name(name, 0.75)] * len(judged))


def lines(output: Output, *, redact: bool = True) -> list[str]:
    return list(render(alerts(), output, redact=redact, now=1.7e9))


def test_same_kinds_of_requests_are_one_alert() -> None:
    found = alerts()
    assert sorted(alert.count for alert in found) == [1, 1, 1, 2]
    assert [alert.id for alert in found] == [alert.id for alert in alerts()]
    assert found[0].first.score == max(alert.first.score for alert in found)


def test_times_and_sources_are_gathered() -> None:
    request = attacks()[0]
    requests = [
        Request(method="GET", target=request.target, time=time, source=source)
        for time, source in ((20.0, "b"), (10.0, "a"), (math.nan, ""), (15.0, "a"))
    ]
    (alert,) = group(list(DETECTOR.judge(requests)), [Name("sqli", 1.0)] * 4)
    assert (alert.earliest, alert.latest, alert.sources) == (10.0, 20.0, ["b", "a"])


@pytest.mark.parametrize("output", list(Output))
def test_values_are_redacted_by_default(output: Output) -> None:
    assert "jndi" not in "".join(lines(output))
    assert "jndi" in "".join(lines(output, redact=False))


def test_ocsf_is_valid_by_the_published_schema() -> None:
    schema = pytest.importorskip("ocsf_json_schema")
    jsonschema = pytest.importorskip("jsonschema")
    found = schema.get_ocsf_schema(version="1.8.0")
    embedded = schema.OcsfJsonSchemaEmbedded(found).get_class_schema("detection_finding")
    validator = jsonschema.validators.validator_for(embedded)(embedded)
    for redact in (True, False):
        for line in lines(Output.OCSF, redact=redact):
            document = json.loads(line)
            assert list(validator.iter_errors(document)) == []
            assert document["class_uid"] == 2004
    assert list(validator.iter_errors(document | {"severity_id": "high"}))


def test_ecs_and_cef() -> None:
    document = json.loads(lines(Output.ECS)[0])
    assert document["event.kind"] == "alert"
    assert document["threat.technique.id"] == ["T1190"]
    assert document["rule.reference"] == "CAPEC-66"
    head = lines(Output.CEF)[0].split("|")
    assert head[:4] == ["CEF:0", "secagg", "apiwatch", "0.1.0"]


@pytest.mark.parametrize("output", list(Output))
def test_an_attack_forges_no_line_and_no_terminal_code(output: Output) -> None:
    text = "a\nCEF:0|x\x1b[31m\u2028|="
    field = Field(Place.QUERY, "/", "q|\n", text)
    judged = Judged(Request(method="GET", target="/"), "/\n", 9.0, field, "gram")
    (line,) = render(group([judged], [Name("unknown", 0.0)]), output, redact=False, now=0.0)
    assert not set("\n\x1b\u2028") & set(line)
    if output is Output.CEF:
        head, _, rest = line.partition("|rt=")
        value = rest.partition(" cs2=")[2].partition(" externalId=")[0]
        assert len(re.split(r"(?<!\\)\|", head)) == 7
        assert value.endswith("\\=")
