"""The ledger's socket: the quick way and the long way say the same, and nobody on one connection disturbs another."""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.arrival import append_id, event_fits, read_append
from enclave.audit.event import Event, event_from_json, event_to_json
from enclave.audit.spelling import spelled
from enclave.audit.vocabulary import check_kind, known_kinds
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import ConflictError, EnclaveError, InvalidError
from enclave.wire.client import WireClient
from enclave.wire.framing import WireError, encode, receive_frame
from enclave.wire.messages.audit import Append, State

GOOD = {
    "id": "0" * 32,
    "time": "2026-11-22T12:00:00.000000Z",
    "kind": "audit.rebuild",
    "actor": "service:test",
    "outcome": "ok",
    "detail": {"rows": 1},
}
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["audit.rebuild", "cell.execute", "ok", "refused", "0" * 32, "no.such_kind"]),
    st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=2),
    st.dictionaries(
        st.sampled_from(["rows", "cause", "x"]), st.one_of(st.text(max_size=3), st.integers(), st.booleans())
    ),
)
keys = st.sampled_from([*Event.__slots__, "more"])


def request(event, *, bodies=None, request_id="ab" * 8, **more):
    body = {"event": event, "bodies": bodies or {}}
    return encode({"v": 1, "id": request_id, "type": "audit.append", "body": body, **more})


def long_way(event):
    """What the wire and the vocabulary say to an object, without any shortcut."""
    try:
        return canonical_bytes(event_to_json(check_kind(event_from_json(event))))
    except EnclaveError as error:
        return type(error), error.code


def quick_way(event):
    try:
        return read_append(request(event)).data
    except EnclaveError as error:
        return type(error), error.code


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(keys, odd, max_size=4), st.sets(keys, max_size=2))
def test_the_quick_way_takes_and_refuses_what_the_long_way_does(changes, absent):
    event = {key: value for key, value in (GOOD | changes).items() if key not in absent}
    assert quick_way(event) == long_way(event)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, odd, max_size=3))
def test_an_event_that_fits_is_one_that_the_long_way_leaves_as_it_is(changes):
    event = GOOD | changes
    if event_fits(event):
        assert canonical_bytes(event_to_json(check_kind(event_from_json(event)))) == canonical_bytes(event)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 40))
def test_a_changed_frame_is_another_event_or_an_error_of_ours(new, place, length):
    frame = request(GOOD)
    changed = frame[:place] + new + frame[place + length :]
    try:
        arrival = read_append(changed)
    except (WireError, EnclaveError):
        return
    assert canonical_bytes(json.loads(arrival.data)) == arrival.data
    check_kind(event_from_json(json.loads(arrival.data)))


strange = st.one_of(st.text(max_size=8), st.sampled_from(['"', "\\", "\x7f", "é", "\u2028", "\n", "{", ",", "0"]))
of_type = {
    "string": strange,
    "integer": st.integers(),
    "number": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    "boolean": st.booleans(),
    "array": st.lists(strange, max_size=2),
    "object": st.dictionaries(strange, st.integers(), max_size=2),
}


@st.composite
def events(draw):
    """Events of any declared kind, with texts that JSON has to escape."""
    kind = draw(st.sampled_from(sorted(known_kinds().values(), key=lambda one: one.name)))
    detail = {name: draw(of_type[wanted]) for name, wanted in kind.detail.items() if draw(st.booleans())}
    event = GOOD | {"kind": kind.name, "detail": detail, "outcome": draw(st.sampled_from(["ok", "intent", "refused"]))}
    for name in draw(st.sets(st.sampled_from(["reason", "project", "cell", "ticket", "actor", "time"]))):
        event[name] = draw(strange)
    if draw(st.booleans()):
        event |= {"objects": draw(st.lists(strange, max_size=3)), "version": draw(st.integers())}
    return event


@settings(max_examples=400, deadline=None)
@given(events())
def test_the_pattern_of_a_kind_takes_what_the_long_way_takes_with_the_same_bytes(event):
    wanted = long_way(event)
    assert quick_way(event) == wanted
    found = spelled(canonical_bytes(event)) if isinstance(wanted, bytes) else None
    if found is not None:
        told = [found[name].decode() for name in ("actor", "id", "kind", "outcome")]
        assert told == [event[name] for name in ("actor", "id", "kind", "outcome")]


@settings(max_examples=400, deadline=None)
@given(events(), st.binary(max_size=3), st.integers(0, 250), st.integers(0, 3))
def test_what_a_pattern_takes_is_canonical_whatever_was_changed(event, new, place, length):
    text = canonical_bytes(event)
    changed = text[:place] + new + text[place + length :]
    if spelled(changed) is not None:
        read = json.loads(changed)
        assert canonical_bytes(read) == changed
        check_kind(event_from_json(read if read.get("reason") else read | {"reason": "given"}))


def test_every_kind_has_a_pattern_that_takes_an_event_of_plain_texts():
    plain = {"string": "a", "integer": 1, "number": 2, "boolean": True}
    for kind in known_kinds().values():
        detail = {name: plain[wanted] for name, wanted in kind.detail.items() if wanted in plain}
        assert spelled(canonical_bytes(GOOD | {"kind": kind.name, "detail": detail})) is not None


def test_a_second_spelling_of_an_event_is_no_frame():
    frame = request(GOOD)
    for other in (frame.replace(b'"rows":1', b'"rows": 1'), frame.replace(b'"rows":1', b'"rows":1,"rows":1')):
        with pytest.raises(WireError):
            read_append(other)


def test_the_long_way_takes_bodies():
    arrival = read_append(request(GOOD, bodies={"why": "words"}))
    assert (arrival.bodies, arrival.data) == ({"why": "words"}, canonical_bytes(GOOD))
    with pytest.raises(InvalidError):
        read_append(request(GOOD, bodies={"why": "words"}, more=1))


def test_only_a_request_with_an_id_of_ours_goes_the_quick_way():
    assert append_id(request(GOOD)) == b"ab" * 8
    assert append_id(request(GOOD, request_id='x"},"id":"y')) is None
    assert append_id(encode({"v": 1, "id": "ab", "type": "audit.state", "body": {}})) is None


@pytest.fixture
def line(auditd):
    """A bare connection to the ledger."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(auditd.home.socket("auditd")))
    yield sock
    sock.close()


def send(sock, data):
    sock.sendall(struct.pack(">I", len(data)) + data)


def answer(sock):
    return receive_frame(sock)[0]


def fresh(**changes):
    return GOOD | {"id": secrets.token_hex(16)} | changes


def test_requests_that_follow_each_other_without_waiting_are_all_answered_in_order(auditd, line):
    frames = [request(fresh(detail={"rows": n}), request_id=f"{n:04x}") for n in range(50)]
    line.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))
    answers = [answer(line) for _ in frames]
    assert [one["id"] for one in answers] == [f"{n:04x}" for n in range(50)]
    seqs = [one["body"]["seq"] for one in answers]
    assert seqs == list(range(seqs[0], seqs[0] + 50))


def test_a_frame_that_comes_byte_by_byte_is_taken(auditd, line):
    frame = request(fresh())
    for byte in struct.pack(">I", len(frame)) + frame:
        line.send(bytes([byte]))
    assert answer(line)["ok"] is True


def test_an_event_that_is_refused_leaves_the_others_of_its_batch_alone(auditd, line):
    good, bad, twice = fresh(), fresh(kind="no.such_kind"), fresh()
    other = twice | {"detail": {"rows": 9}}
    frames = [request(one) for one in (good, bad, twice, twice, other)]
    line.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))
    answers = [answer(line) for _ in frames]
    assert [one["ok"] for one in answers] == [True, False, True, True, False]
    assert answers[2]["body"]["seq"] == answers[3]["body"]["seq"]
    assert answers[4]["error"]["code"] == "event_id_reused"
    assert [e["id"] for e in auditd.events(kind="audit.rebuild")] == [good["id"], twice["id"]]


def test_a_connection_may_append_ask_and_append_again(auditd, line):
    send(line, request(fresh()))
    first = answer(line)["body"]["seq"]
    send(line, encode({"v": 1, "id": "ab", "type": "audit.state", "body": {}}))
    assert answer(line)["body"]["size"] >= first + 1
    send(line, request(fresh()))
    assert answer(line)["body"]["seq"] > first


@pytest.mark.parametrize("words", [b"\0\0\0\5hello", b"\xff\xff\xff\xff", b"\0\0\0\2[]"])
def test_who_sends_no_frame_is_cut_off_and_the_others_are_served(auditd, line, words):
    line.sendall(words)
    assert line.recv(100) == b""
    assert auditd.client.record("audit.rebuild", actor="service:test").seq > 0


def test_who_does_not_read_the_answers_is_cut_off_and_the_others_are_served(auditd, line):
    line.setblocking(False)
    one = fresh()
    frame = struct.pack(">I", len(request(one))) + request(one)
    end = time.monotonic() + 60
    with pytest.raises(OSError):
        while time.monotonic() < end:
            try:
                line.send(frame * 50)
            except BlockingIOError:
                time.sleep(0.01)
    assert auditd.client.record("audit.rebuild", actor="service:test").seq > 0


def test_a_stranger_is_refused_by_name(auditd, monkeypatch):
    monkeypatch.setattr(auditd.daemon._server, "_allowed", frozenset({os.getuid() + 1}))
    client = WireClient(auditd.home.socket("auditd"))
    with pytest.raises(EnclaveError) as caught:
        client.call(Append(event=fresh()))
    assert caught.value.family == "denied"
    client.close()


def test_an_open_connection_does_not_keep_the_ledger_from_closing(auditd, line):
    send(line, request(fresh()))
    answer(line)
    began = time.monotonic()
    auditd.stop()
    assert time.monotonic() - began < 30
    assert line.recv(1) == b""


def test_a_receipt_tells_the_ledgers_time_and_it_never_goes_back(auditd):
    times = [auditd.client.record("audit.rebuild", actor="service:test").time for _ in range(20)]
    assert times == sorted(times)
    assert [r["received"] for r in auditd.records() if r["event"]["kind"] == "audit.rebuild"] == times


def test_writers_over_many_connections_share_commits(auditd, monkeypatch):
    commits = []
    commit = auditd.daemon.ledger._commit
    monkeypatch.setattr(auditd.daemon.ledger, "_commit", lambda batch: (commits.append(len(batch)), commit(batch))[1])
    start = threading.Barrier(16)

    def write():
        start.wait()
        for _ in range(20):
            auditd.client.record("audit.rebuild", actor="service:test")

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(commits) >= 320
    assert len(commits) < 320


def test_a_conflict_reaches_the_client_as_one(auditd):
    event = Event(**(GOOD | {"id": "b" * 32}))
    auditd.client.append(event)
    with pytest.raises(ConflictError):
        auditd.client.append(Event(**(GOOD | {"id": "b" * 32, "detail": {"rows": 2}})))
    client = WireClient(auditd.home.socket("auditd"))
    assert client.call(State()).size >= 2
    client.close()
