"""``make demo CHECK=1``: the whole story without a browser, then attacks on it, then one line of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from enclave.audit.lineage_page import summary_of
from enclave.audit.lineage_rows import lineage
from enclave.audit.spare import written_in
from enclave.audit.verify import verify_log
from enclave.broker.residual import count_survivors
from enclave.cli import demo
from enclave.cli.demo_notebook import Notebook
from enclave.cli.demo_people import PersonSession, sign_in, start_server, token_for
from enclave.cli.demo_story import DATASET, PROJECT, Tell, planted_identifiers, prepare
from enclave.cli.init import make_home
from enclave.core.errors import ConflictError, EnclaveError, UnavailableError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, audit, launcher, reports

CONSOLE = "/services/console"
REPORT = "demo-validation"
REPORT_TIMEOUT_S = 120.0
T = TypeVar("T")

NOTEBOOK = "first_look.ipynb"
NETWORK = """
import json, socket
from pathlib import Path
found = []
for address in (("127.0.0.1", {port}), ("::1", {port})):
    try:
        socket.create_connection(address, timeout=2)
        found.append("loopback")
    except OSError:
        pass
try:
    socket.getaddrinfo("enclave.example", 80)
    found.append("name look-up")
except OSError:
    pass
interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
found += [name for name in interfaces if name != "lo"]
found += ["route"] * len(Path("/proc/net/route").read_text().splitlines()[1:])
print(json.dumps(found))
"""


def run_check(root: Path | None, *, port: int, tell: Tell) -> dict[str, Any]:
    """Runs the story in a fresh home (default ``./.enclave-check``, wiped first) and returns what came out.

    Raises the first error of a step; all processes have ended when it returns or raises.
    """
    began = time.monotonic()
    place = (root or Path(".enclave-check")).absolute()
    if place.exists():
        if not (place / "check").exists():
            raise ConflictError(f"check: wanted an empty place, got {place} in use; choose another --home")
        demo.stop(Home(place))
        shutil.rmtree(place)
    home = make_home(place, port=port, demo=True)
    (place / "check").touch()
    try:
        demo.start_detached(home)
        version = prepare(home, tell=tell)
        result = Check(home, tell=tell).run()
    finally:
        demo.stop(home)
    result |= prove_ledger(home)
    result["survivors"] = survivors(home, version)
    return {**result, "seconds": round(time.monotonic() - began, 1)}


class Check:
    """The second half of the story, by rosa, olga, omar, stella and ada."""

    def __init__(self, home: Home, *, tell: Tell) -> None:
        self._home = home
        self._tell = tell

    def run(self) -> dict[str, Any]:
        """All steps, in the order of the story."""
        rosa = sign_in(self._home, "rosa")
        start_server(rosa)
        self._tell("rosa signed in and has a server")
        notebook = Notebook(rosa, "rosa", f"{PROJECT}/{NOTEBOOK}")
        try:
            for code in code_cells(self._home.state("skeleton") / PROJECT / NOTEBOOK):
                _must(notebook.run(code))
            self._tell("rosa opened the version, looked at a table and a series, and asked for a figure to leave")
            found = {
                "kernel_uid": self._kernel_uid(),
                "kernel_network": self._network(notebook),
                "unaudited_cell_refused": self._unaudited_cell_refused(notebook),
            }
        finally:
            notebook.close()
        found |= self._egress(rosa)
        self._trace(rosa)
        found["report"] = str(self._report())
        return found | {"cells_executed": notebook.executed, "cells_audited": self._cells_audited(notebook.executed)}

    def _kernel_uid(self) -> int:
        kernels = WireClient(self._home.socket("launcherd")).call(launcher.ListKernels()).kernels
        mine = next(kernel for kernel in kernels if kernel.person == "rosa")
        status = Path(f"/proc/{mine.host_pid}/status").read_text("ascii")
        return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])

    def _network(self, notebook: Notebook) -> str:
        with _listener() as port:
            found = json.loads(_must(notebook.run(NETWORK.format(port=port))).strip().splitlines()[-1])
        self._tell("a cell tried to reach the network" + (": it could" if found else " and could not"))
        return "open: " + ", ".join(found) if found else "blocked"

    def _unaudited_cell_refused(self, notebook: Notebook) -> bool:
        """With the ledger hung, a cell must not run; with it back, it must, in the same kernel."""
        found = demo.read_status(self._home)
        if found is None:
            raise UnavailableError("check: wanted the enclave running, got nothing")
        pid = int(found["pids"]["auditd"])
        _hang(pid)
        try:
            hung = notebook.run("ran_without_a_record = True", timeout_s=30)
        finally:
            os.kill(pid, signal.SIGCONT)
        notebook.executed -= 1
        after = notebook.run("print('ran_without_a_record' in globals())")
        self._tell("with the ledger stopped a cell was refused; with it back the kernel works again")
        return hung.status == "error" and "ledger" in hung.error.lower() and after.text.strip() == "False"

    def _egress(self, rosa: PersonSession) -> dict[str, str]:
        """Olga and omar approve in the console; rosa downloads once, and tries once more."""
        client = WireClient(self._home.socket("airlockd"), timeout_s=60)
        mine = client.call(airlock.ListRequests(token=token_for(self._home, "rosa"))).requests
        request = _once(mine, "egress request of rosa")
        page = f"{CONSOLE}/egress/{request.id}"
        for checker in ("olga", "omar"):
            session = sign_in(self._home, checker)
            session.get(page)
            answer = session.post(
                f"{page}/vote", data={"vote": "approve", "reason": "A histogram over all series; nobody can be seen."}
            )
            _check_page(answer.status_code, f"vote of {checker}")
            session.close()
        self._tell("olga and omar, two output checkers, approved the figure in the console")
        state = _once(
            client.call(airlock.ListRequests(token=token_for(self._home, "rosa"))).requests, "egress request of rosa"
        ).state
        rosa.get(page)
        first = rosa.post(f"{page}/deliver")
        _check_page(first.status_code, "download")
        if not zipfile.is_zipfile(io.BytesIO(first.content)):
            raise EnclaveError("download: wanted the package, got something else")
        second = rosa.post(f"{page}/deliver")
        self._tell(f"rosa downloaded the package; the second try got status {second.status_code}")
        refused = second.status_code in (403, 409, 410) and not zipfile.is_zipfile(io.BytesIO(second.content))
        return {"egress_state": state, "second_download": "refused" if refused else "delivered"}

    def _trace(self, rosa: PersonSession) -> None:
        """Ada follows what left back to the data: one version, its certificate, the reading and the handing-in cell."""
        mine = WireClient(self._home.socket("airlockd")).call(
            airlock.ListRequests(token=token_for(self._home, rosa.person))
        )
        request = _once(mine.requests, "egress request of rosa")
        token, ledger = token_for(self._home, "ada"), WireClient(self._home.socket("auditd"), timeout_s=30)
        graph = lineage(
            request.files[0].sha256,
            lambda sql, limit: ledger.call(audit.Query(token=token, sql=sql, limit=limit)),
        )
        counts = {kind: len(graph.of_kind(kind)) for kind in ("version", "certificate", "request", "file")}
        reads = [node for node in graph.of_kind("cell") if "read" in node.facts]
        whole = all("environment" in node.facts for node in graph.of_kind("kernel"))
        if set(counts.values()) != {1} or not reads or not whole:
            raise EnclaveError(f"lineage: wanted one version, certificate, request and file, got {counts}")
        self._tell(f"ada followed the figure back: {summary_of(graph)}")

    def _report(self) -> Path:
        """The scheduled validation report, as papermill made it in a sandboxed kernel."""
        client = WireClient(self._home.socket("reportd"), timeout_s=60)
        token = token_for(self._home, "stella")
        run = client.call(reports.RunNow(token=token, entry=REPORT))
        end = time.monotonic() + REPORT_TIMEOUT_S
        while run.state in ("queued", "running"):
            if time.monotonic() > end:
                raise UnavailableError(f"report: wanted it done within {REPORT_TIMEOUT_S:.0f} s, got no end")
            time.sleep(0.5)
            run = _once([one for one in client.call(reports.ListRuns(token=token)).runs if one.id == run.id], "run")
        if run.state != "done":
            raise EnclaveError(f"report: wanted it done, got: {run.message}")
        with contextlib.closing(sign_in(self._home, "stella")) as session:
            page = session.get(f"{CONSOLE}/reports/{run.id}/page")
            _check_page(page.status_code, "report page")
        target = self._home.state("demo") / "validation.html"
        target.write_bytes(page.content)
        self._tell("the validation report ran as a service in the same kind of sandbox")
        return target

    def _cells_audited(self, wanted: int) -> int:
        """What ada, the auditor, finds: rosa's cells with a record before they ran and one after."""
        client = WireClient(self._home.socket("auditd"), timeout_s=30)
        sql = "SELECT count(*) FROM cell_executions WHERE actor = 'rosa' AND status IN ('ok', 'failed')"
        found, end = -1, time.monotonic() + 10
        while found != wanted and time.monotonic() < end:  # the query store follows the log by a moment
            found = int(client.call(audit.Query(token=token_for(self._home, "ada"), sql=sql)).rows[0][0])
        return found


def code_cells(path: Path) -> list[str]:
    """The code cells of a notebook, in order."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def prove_ledger(home: Home) -> dict[str, bool]:
    """Verifies the ledger offline, then a copy of it with one byte of a record changed."""
    verified = verify_log(home.state("audit")).ok
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "audit"
        shutil.copytree(home.state("audit"), copy)
        segment = min((copy / "segments").glob("*.seg"))
        data = bytearray(segment.read_bytes())
        data[written_in(bytes(data)) // 2] ^= 1
        segment.write_bytes(data)
        return {"audit_verified": verified, "tamper_detected": not verify_log(copy).ok}


def survivors(home: Home, version: int) -> int:
    """How many planted identifiers stand in the plaintext of the released version."""
    return count_survivors(home, DATASET, version, [text.encode() for text in planted_identifiers(home)])


def _once(found: Sequence[T], what: str) -> T:
    if len(found) != 1:
        raise EnclaveError(f"check: wanted one {what}, got {len(found)}")
    return found[0]


def _check_page(status: int, what: str) -> None:
    if status != 200:
        raise EnclaveError(f"{what}: wanted it done, got status {status}")


def _must(result: Any) -> str:
    if result.status != "ok":
        raise EnclaveError(f"notebook: wanted the cell to succeed, got {result.error}")
    return str(result.text)


def _hang(pid: int) -> None:
    """Stops all threads of a process; on a busy machine they go on for a moment after the signal."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 10
    while any(_state(thread) not in "TZX" for thread in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > end:
            raise UnavailableError("check: wanted the ledger stopped within 10 s, got it running")
        time.sleep(0.01)


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


@contextlib.contextmanager
def _listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
