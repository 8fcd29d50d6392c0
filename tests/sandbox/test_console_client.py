"""jupyter-console as a person runs it in a terminal: through provisioner and launcher, its cells recorded."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from enclave.policy.model import Actor
from enclave.server.kernelspecs import JUPYTER_DATA
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query

LONG_S = 60
_COLOUR = r"(?:\x1b\[[0-9;]*m)*"


def _prompt(number: int) -> str:
    """A pattern of ``In [number]:`` in any colours."""
    return _COLOUR.join(re.escape(letter) for letter in f"In [{number}]")


class Console:
    """A jupyter-console process on a pseudo-terminal of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "jupyter_console", "--kernel", "enclave-python"],
            cwd=str(folder),
            env={name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"} | environment,
            encoding="utf-8",
            dimensions=(40, 200),
            timeout=LONG_S,
        )
        self.wait_for(_prompt(1))

    def wait_for(self, pattern: str) -> None:
        """Answers what the terminal is asked for its cursor, and waits until ``pattern`` is drawn."""
        while self.child.expect([r"\x1b\[6n", pattern]) == 0:
            self.child.send("\x1b[1;1R")

    def run(self, code: str, *, number: int) -> None:
        """Types one cell and waits for the next prompt."""
        self.child.send(code + "\r")
        self.wait_for(_prompt(number + 1))

    def close(self) -> None:
        """Ends it as a person does, or by force."""
        self.child.sendeof()
        try:
            self.wait_for_end()
        finally:
            self.child.close(force=True)

    def wait_for_end(self) -> None:
        """Confirms and reads what is left."""
        while (found := self.child.expect([r"\x1b\[6n", "really want to exit", pexpect.EOF])) < 2:
            self.child.send(["\x1b[1;1R", "y\r"][found])


@pytest.fixture
def console(stand: Any, tmp_path: Path) -> Iterator[Console]:
    folder = tmp_path / "person"
    folder.mkdir()
    found = Console(
        folder,
        {
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_PATH": str(JUPYTER_DATA),
            "JUPYTER_PLATFORM_DIRS": "1",
            "ENCLAVE_LAUNCHER_SOCKET": str(stand.service_socket()),
            "ENCLAVE_PROJECT": "demo",
            "TERM": "xterm",
        },
    )
    yield found
    found.close()


@pytest.fixture
def ask(stand: Any) -> Iterator[Callable[[str], list[Any]]]:
    """An auditor's query."""
    stand.ledger.people["ada-token"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(stand.home.socket("auditd"), timeout_s=30)
    yield lambda sql: list(client.call(Query(token="ada-token", sql=sql, limit=1000)).rows)
    client.close()


def _wait(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + LONG_S
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.row("S10.1")
def test_what_is_typed_into_a_console_is_recorded_before_it_runs(
    stand: Any, console: Console, ask: Callable[[str], list[Any]]
) -> None:
    console.run("print(6 * 7)", number=1)
    console.run("word = 'abc'", number=2)
    console.run("word?", number=3)
    console.run("1 / 0", number=4)
    _wait(lambda: len([e for e in stand.ledger.events(kind="cell.execute") if e["outcome"] != "intent"]) == 4)
    rows = ask("SELECT code, status, notebook FROM cell_executions ORDER BY seq")
    assert rows == [
        ["print(6 * 7)", "ok", None],
        ["word = 'abc'", "ok", None],
        ["word?", "ok", None],
        ["1 / 0", "failed", None],
    ]
    (first, *_) = stand.ledger.events(kind="cell.execute")
    assert (first["actor"], first["project"]) == ("service:reports", "demo")
    assert stand.ledger.events(kind="cell.execute", outcome="refused") == []


@pytest.mark.slow
def test_what_a_console_asks_beside_cells_is_recorded_or_runs_no_code(
    stand: Any, console: Console, ask: Callable[[str], list[Any]]
) -> None:
    """History, asked for at the start, and kernel information run nothing; a completion and an answer may."""
    console.run("long_name = 5", number=1)
    console.child.send("long_na\t")
    _wait(lambda: stand.ledger.events(kind="cell.complete", outcome="ok"))
    completed = _wait(
        lambda: [
            row
            for row in ask("SELECT b.text FROM bodies b JOIN records r ON r.seq = b.seq WHERE r.kind = 'cell.complete'")
            if row[0] == "long_na"
        ]
    )
    assert completed == [["long_na"]]
    console.run("me", number=2)
    console.child.send("input('how many? ')\r")
    console.wait_for("how many")
    console.child.send("seven\r")
    console.wait_for(_prompt(4))
    (answer,) = _wait(lambda: stand.ledger.events(kind="cell.input"))
    texts = ask(f"SELECT text FROM bodies b JOIN records r ON r.seq = b.seq WHERE r.id = '{answer['id']}'")
    assert texts == [["seven"]]
    assert answer["cell"] == stand.ledger.events(kind="cell.execute", outcome="intent")[-1]["cell"]
    assert {"is_complete_request", "complete_request"} <= {
        one["detail"]["message_type"] for one in stand.ledger.events(kind="cell.complete", outcome="intent")
    }
    assert stand.ledger.events(kind="cell.message") == []
