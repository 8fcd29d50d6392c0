"""Check programs: our parsers on hostile bytes, with nothing else in reach."""

from __future__ import annotations

import os
from typing import Any

import pytest

from enclave.core.errors import InvalidError
from enclave.wire.messages.launcher import RunCheck


def _file(data: bytes) -> int:
    fd = os.memfd_create("file")
    os.write(fd, data)
    return fd


def _run(stand: Any, message: RunCheck, *files: bytes) -> Any:
    descriptors = [_file(data) for data in files]
    try:
        reply, _ = stand.client.call_with_descriptors(message, descriptors=descriptors, timeout_s=60)
    finally:
        for fd in descriptors:
            os.close(fd)
    return reply


def test_a_check_runs_on_files_by_descriptor_and_is_recorded(stand: Any) -> None:
    request = {"act": "check", "names": ["a.csv"]}
    message = RunCheck(module="enclave.disclosure.parse", names=("a.csv",), request=request)
    reply = _run(stand, message, b"age,n\n40,12\n")
    assert reply.exit_code == 0
    assert len(reply.result["files"]) == 1
    outcomes = [event["outcome"] for event in stand.ledger.events(kind="check.run")]
    assert outcomes == ["intent", "ok"]
    assert stand.descendants() == []


@pytest.mark.parametrize("module", ["os", "enclave.cli.main", "enclave.disclosure.parse.x"])
def test_only_listed_modules_run(stand: Any, module: str) -> None:
    with pytest.raises(InvalidError):
        _run(stand, RunCheck(module=module, names=(), request={}))


def test_names_and_descriptors_must_match(stand: Any) -> None:
    with pytest.raises(InvalidError):
        _run(stand, RunCheck(module="enclave.disclosure.parse", names=("a", "b"), request={}), b"x")


def test_a_check_that_is_too_slow_is_ended(stand: Any) -> None:
    message = RunCheck(module="enclave.disclosure.parse", names=("a.csv",), request={}, timeout_s=0.01)
    assert _run(stand, message, b"a\n1\n").exit_code != 0
    assert stand.descendants() == []
