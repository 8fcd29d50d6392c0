"""No value from the data stands in a log, an error, the ledger, a state or a file name."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ahocorasick
import pytest

from enclave.cli.demo_people import token_for
from enclave.cli.demo_story import planted_identifiers
from enclave.core.errors import EnclaveError
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, audit, intake
from tests.attack.conftest import descendants

pytestmark = pytest.mark.slow

# What only a cell knows: computed there, so that no cell's code holds it either.
CANARY = "canary" + "6f1d" * 4
FRAMES = """
from enclave_kernel.wire import send_frame
import socket
for name in ("lease", "submit"):
    for kind, body in ((canary, {}), ("lease.open", {"dataset": canary}), ("lease.open", {canary: 1})):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"/run/enclave/{name}.sock")
            send_frame(sock, {"v": 1, "id": canary, "type": kind, "body": body})
            sock.recv(1000)
"""
CELLS = (
    "canary = 'canary' + '6f1d' * 4",
    "import enclave_kernel as enclave\nds = enclave.open('demo-ct'); frame = ds.table('patients'); print(canary)",
    "raise ValueError(canary)",
    "frame[canary]",
    "enclave.open(canary)",
    "ds.table(canary)",
    "ds.array(canary)",
    "enclave.submit(canary, title=canary)",
    "import os\nopen(f'/home/person/work/{canary}.csv', 'w').write(canary)",
    "enclave.submit(f'/home/person/work/{canary}.csv', title=canary, purpose=canary)",
    "import sys, logging\nprint(canary, file=sys.stderr); logging.error(canary); os.write(2, canary.encode())",
    "os.environ['X'] = canary; import subprocess; subprocess.run(['/bin/sh', '-c', 'exit 3', canary])",
    FRAMES,
    "int(str(frame.iloc[0, 0]))",
)
# What a person hands in to leave is kept by the airlock as it is; that is what it is for.
HANDED_IN = ("airlock/airlock.sqlite", "airlock/frozen")


class Search:
    """Looks for many byte strings at once, in files as they lie, in archives, and in what SQLite holds."""

    def __init__(self, patterns: list[str]) -> None:
        self._machine = ahocorasick.Automaton()
        for pattern in patterns:
            self._machine.add_word(pattern.encode().decode("latin-1"), pattern)
        self._machine.make_automaton()

    def hits(self, data: bytes) -> set[str]:
        return {pattern for _, pattern in self._machine.iter(data.decode("latin-1"))}

    def below(self, root: Path, *, but: tuple[str, ...]) -> dict[str, set[str]]:
        """The hits in each file's bytes and in each name, by the path from ``root``."""
        found: dict[str, set[str]] = {}
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if name.startswith(but):
                continue
            hits = self.hits(name.encode())
            if path.is_file() and not path.is_symlink():
                hits |= self.hits(path.read_bytes())
                if zipfile.is_zipfile(path):
                    with zipfile.ZipFile(path) as archive:
                        hits |= {hit for item in archive.namelist() for hit in self.hits(archive.read(item))}
            if hits:
                found[name] = hits
        return found


@pytest.fixture(scope="module")
def canary_ran(enclave: Any, rosa: Any) -> Iterator[str]:
    """All cells ran; what they showed to rosa, who may see it."""
    notebook = enclave.notebook(rosa, "canary")
    shown = ""
    for code in CELLS:
        result = notebook.run(code)
        shown += result.text + result.error
    yield shown
    notebook.close()


@pytest.fixture(scope="module")
def refused(enclave: Any) -> list[str]:
    """The words of errors that daemons give when data values are where others belong."""
    token = token_for(enclave.home, "rosa")
    asked: list[tuple[str, Any]] = [
        ("airlockd", airlock.ShowRequest(token=token, id=CANARY)),
        ("airlockd", airlock.ShowRequest(token=CANARY, id="0" * 32)),
        ("auditd", audit.Query(token=token, sql=f"SELECT '{CANARY}'")),
        ("auditd", audit.Query(token=token_for(enclave.home, "ada"), sql="SELECT nothing FROM nowhere")),
        (
            "intaked",
            intake.AddBatch(
                token=token_for(enclave.home, "stella"), directory=f"/{CANARY}", dataset="d", recipe=CANARY
            ),
        ),
    ]
    words = []
    for daemon, message in asked:
        client = WireClient(enclave.home.socket(daemon), timeout_s=20)
        with pytest.raises(EnclaveError) as error:
            client.call(message)
        words.append(str(error.value))
        client.close()
    return words


@pytest.fixture(scope="module")
def search(enclave: Any) -> Search:
    """For the cohort's planted identifiers and the canary; too short ones would be found by chance."""
    planted = [text for text in planted_identifiers(enclave.home) if len(text) >= 6]
    assert len(planted) > 100
    return Search([*planted, CANARY])


@pytest.mark.row("S16.4")
def test_the_search_finds_what_is_planted(enclave: Any, search: Search, canary_ran: str) -> None:
    assert CANARY in canary_ran
    found = search.below(enclave.home.root / "demo" / "cohort", but=())
    assert len(set().union(*found.values())) > 100


@pytest.mark.row("S16.4")
def test_no_value_stands_anywhere_below_the_home_but_where_it_came_from(
    enclave: Any, search: Search, canary_ran: str, refused: list[str]
) -> None:
    """Logs, ledger, registry, reports, sockets, people's folders, sealed store, vault, and the identified inbox too."""
    root = enclave.home.root
    assert {"logs", "audit", "registry", "reports", "run", "people", "sealed", "identified", "vault", "hub"} <= {
        path.name for path in root.iterdir()
    }
    found = search.below(root, but=("demo/", "keys/", *HANDED_IN))
    assert {name: len(hits) for name, hits in found.items()} == {}


@pytest.mark.row("S16.4")
def test_no_value_stands_in_what_the_ledger_says(enclave: Any, search: Search, canary_ran: str, refused: Any) -> None:
    records = enclave.events()
    assert [event for event in records if event["kind"] == "cell.execute" and event["outcome"] == "failed"]
    assert search.hits(json.dumps(records, ensure_ascii=False).encode()) == set()
    client = WireClient(enclave.home.socket("auditd"), timeout_s=30)
    for view in ("events", "cell_executions", "dataset_access", "egress_history", "logins", "admin_actions", "denials"):
        reply = client.call(audit.Query(token=token_for(enclave.home, "ada"), sql=f"SELECT * FROM {view}"))
        assert search.hits(json.dumps(reply.rows, default=str).encode()) == set(), view
    client.close()


@pytest.mark.row("S16.4")
def test_no_value_stands_in_the_rows_of_a_state(enclave: Any, search: Search, canary_ran: str) -> None:
    """Pages of SQLite may split a value; rows cannot."""
    looked = 0
    for path in [*enclave.home.root.glob("*/*.sqlite"), *enclave.home.root.glob("*/*.db")]:
        name = path.relative_to(enclave.home.root).as_posix()
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            looked += 1
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            if name not in HANDED_IN:
                assert search.hits(repr(rows).encode()) == set(), (name, table)
        connection.close()
    assert looked > 10


@pytest.mark.row("S16.4")
def test_no_value_stands_in_the_words_of_an_error(search: Search, refused: list[str]) -> None:
    assert search.hits("\n".join(refused).encode()) == set()


@pytest.mark.row("S16.4")
def test_no_value_stands_in_the_names_of_files_and_processes(enclave: Any, search: Search, canary_ran: str) -> None:
    # Only this enclave's own: tests beside this one name files after invented people on purpose.
    lines = []
    pids = enclave.status()["pids"].values()
    for pid in {int(one) for one in pids} | {child for one in pids for child in descendants(int(one))}:
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    assert len(lines) > 10
    assert search.hits(b"\n".join(lines)) == set()
    places = [enclave.home.run_dir, *Path("/tmp").glob("enclave-report-*"), *Path("/tmp").glob("enclave-selftest-*")]
    names = "\n".join(str(path) for place in places for path in place.rglob("*"))
    assert "auditd.sock" in names
    assert search.hits(names.encode()) == set()
