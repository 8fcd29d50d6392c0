"""Each change of an alert is a Detection Finding of OCSF, as our part of its schema wants it; RFC 5424 around it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.audit.alerts.model import STATES, Alert, Hit
from enclave.audit.alerts.ocsf import ACTIVITIES, finding_of
from enclave.audit.alerts.rules import known_rules
from enclave.audit.alerts.syslog import framed, message_of
from enclave.audit.ocsf import line_of

SCHEMA = json.loads((Path(__file__).parent / "ocsf_schema.json").read_text("utf-8"))
AT = "2026-11-22T12:00:00.500000Z"
HIT = Hit(subject="rosa", key="2026-11-22", value=2.5, first_seq=7, last_seq=9, events=3, moment=AT, drill="")
HEAD = re.compile(
    r'<(\d+)>1 (\S+) (\S+) enclave-watchd (\d+) alert \[enclave@32473((?: [a-z]+="(?:[^"\\\]]|\\.)*")*)\] \ufeff(.*)',
    re.DOTALL,
)


def alert_of(rule: str, **changes: str) -> Alert:
    return replace(Alert(id="ab" * 16, rule=rule, severity=known_rules()[rule].severity, hit=HIT, opened=AT), **changes)


@pytest.mark.row("S10.6")
@pytest.mark.parametrize("rule", sorted(known_rules()))
def test_every_rule_and_every_change_gives_a_finding_of_the_schema(rule: str) -> None:
    for change, state in zip(ACTIVITIES, STATES, strict=True):
        for drill in ("", "0123456789abcdef"):
            verdict = "expected" if change == "resolve" else ""
            alert = replace(alert_of(rule, state=state, verdict=verdict), hit=replace(HIT, drill=drill))
            finding = finding_of(alert, rule=known_rules()[rule], change=change, at=AT, product_version="1")
            jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(line_of(finding)))
            assert finding["time"] == 1795348800500
            assert finding["type_uid"] == finding["class_uid"] * 100 + finding["activity_id"]


@given(st.text(max_size=60), st.text(max_size=30))
def test_a_message_is_one_rfc_5424_line_whatever_the_names_hold(subject: str, drill: str) -> None:
    alert = replace(alert_of("bulk_read"), hit=replace(HIT, subject=subject, drill=drill))
    line = line_of(finding_of(alert, rule=known_rules()["bulk_read"], change="open", at=AT, product_version="1"))
    assert line.isascii()
    assert line.isprintable()
    message = message_of(line, host="host name", process=7)
    found = HEAD.fullmatch(message.decode())
    assert found, message
    priority, at, host, process, _, text = found.groups()
    assert (priority, at, host, process) == (str(13 * 8 + 3), "2026-11-22T12:00:00.500Z", "host-name", "7")
    assert json.loads(text)["evidences"][0]["actor"]["user"]["uid"] == subject
    count, _, rest = framed(message).partition(b" ")
    assert int(count) == len(rest)
