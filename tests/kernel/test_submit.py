"""Handing in results: files are frozen as they are, and go nowhere but the submit socket."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import enclave_kernel
from enclave.core.errors import DeniedError
from enclave.runtime.log import Log
from enclave.wire.messages.airlock import AskStatus, EgressStatus, EgressStatusList, Submit
from enclave.wire.peer import Call, WireServer
from enclave_kernel.errors import EnclaveError

WORDS = {"title": "Figure", "purpose": "paper", "description": "mean age by group"}


@dataclass
class Airlock:
    """The far side of the submit socket; remembers what arrived."""

    folder: Path
    requests: list[tuple[Submit, list[bytes], list[int]]] = field(default_factory=list)
    refuse: bool = False

    def submit(self, message: Submit, call: Call) -> EgressStatus:
        if self.refuse:
            raise DeniedError("project: wanted an open one, got one that is closed", code="project_not_open")
        contents = [os.pread(fd, 1 << 20, 0) for fd in call.descriptors]
        self.requests.append((message, contents, [fcntl.fcntl(fd, fcntl.F_GET_SEALS) for fd in call.descriptors]))
        for fd in call.descriptors:
            os.close(fd)
        return self.status(message)

    def ask(self, _message: AskStatus, _call: Call) -> EgressStatusList:
        return EgressStatusList(requests=tuple(self.status(message) for message, *_ in self.requests))

    def status(self, message: Submit) -> EgressStatus:
        finding = {"rule": "r", "severity": "review", "message": "a small group", "remedy": "merge groups"}
        return EgressStatus(
            id="a" * 32,
            title=message.title,
            state="in_review",
            verdict="review",
            files=message.names,
            findings=(finding,),
        )


@pytest.fixture
def airlock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airlock]:
    with tempfile.TemporaryDirectory() as folder:
        stand = Airlock(Path(folder))
        path = Path(folder) / "submit.sock"
        handlers: dict[type[Any], Any] = {Submit: stand.submit, AskStatus: stand.ask}
        server = WireServer(path, handlers, log=Log("airlockd"), allowed_uids=None, max_descriptors=100)
        server.start()
        monkeypatch.setenv("ENCLAVE_RUN_DIR", folder)
        yield stand
        server.close()


def test_one_file_or_several_arrive_as_sealed_copies_under_their_base_names(airlock: Airlock, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"picture")
    (tmp_path / "table.csv").write_bytes(b"")
    enclave_kernel.submit(str(tmp_path / "figure.png"), **WORDS)
    enclave_kernel.submit([tmp_path / "figure.png", tmp_path / "table.csv"], **WORDS)
    assert [message.names for message, *_ in airlock.requests] == [("figure.png",), ("figure.png", "table.csv")]
    assert [contents for _, contents, _ in airlock.requests] == [[b"picture"], [b"picture", b""]]
    assert all(seals & 0b1111 == 0b1111 for *_, each in airlock.requests for seals in each)


def test_a_request_shows_its_state_and_what_the_checks_found(airlock: Airlock, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"picture")
    request = enclave_kernel.submit(tmp_path / "figure.png", **WORDS)
    assert (request.state, request.verdict, request.files) == ("in_review", "review", ("figure.png",))
    assert "review: a small group → merge groups" in repr(request)
    assert "in_review" in repr(enclave_kernel.egress_status())
    assert enclave_kernel.egress_status()["a" * 32].title == "Figure"


def test_a_returned_request_is_submitted_again_as_itself(airlock: Airlock, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"picture")
    first = enclave_kernel.submit(tmp_path / "figure.png", **WORDS)
    enclave_kernel.submit(tmp_path / "figure.png", **WORDS, replaces=first)
    enclave_kernel.submit(tmp_path / "figure.png", **WORDS, replaces=first.id)
    assert [message.replaces for message, *_ in airlock.requests] == [None, first.id, first.id]


def test_what_cannot_be_submitted_is_said_before_anything_is_sent(airlock: Airlock, tmp_path: Path) -> None:
    file = tmp_path / "figure.png"
    file.write_bytes(b"picture")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "figure.png").write_bytes(b"other")
    cases: list[tuple[Any, dict[str, str], str]] = [
        (tmp_path / "absent.png", WORDS, "save it first"),
        (tmp_path, WORDS, "save it first"),
        ([], WORDS, "1 to 100"),
        ([file] * 101, WORDS, "1 to 100"),
        ([file, tmp_path / "b" / "figure.png"], WORDS, "same name"),
        (file, {**WORDS, "purpose": " "}, "purpose"),
    ]
    for paths, words, said in cases:
        with pytest.raises(EnclaveError, match=said):
            enclave_kernel.submit(paths, **words)
    assert airlock.requests == []


def test_a_refusal_keeps_its_reason_and_leaves_no_descriptor_open(airlock: Airlock, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"picture")
    airlock.refuse = True
    with pytest.raises(EnclaveError, match="Refused: project") as caught:
        enclave_kernel.submit(tmp_path / "figure.png", **WORDS)
    assert (caught.value.family, caught.value.code) == ("denied", "project_not_open")
    targets = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]  # noqa: PTH115 - raw text
    assert not [target for target in targets if "memfd:egress" in target]


def test_what_is_left_of_the_display_budgets_is_read_from_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCLAVE_RUN_DIR", str(tmp_path))
    with pytest.raises(enclave_kernel.EnclaveError, match="not known"):
        enclave_kernel.output_budget()
    (tmp_path / "output-budget.json").write_text('{"cell": {"bytes": 5, "images": 1, "rows": 2}}')
    assert enclave_kernel.output_budget() == {"cell": {"bytes": 5, "images": 1, "rows": 2}}
