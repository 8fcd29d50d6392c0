"""The committed notebooks, run by a real kernel of the kernel environment against a lease on a real socket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import papermill
import pyarrow as pa
import pytest

import enclave
from enclave.reports.page import render_page
from enclave.reports.process import sealed_memory
from enclave.runtime.log import Log
from enclave.wire.messages import airlock, broker
from enclave.wire.peer import Reply, WireServer

ROOT = Path(enclave.__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
REPORT = ROOT / "notebooks" / "reports" / "dataset_validation.ipynb"
FIRST_LOOK = ROOT / "notebooks" / "demo" / "first_look.ipynb"
ROWS = 40


def arrow_bytes(frame: dict[str, list[Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(frame)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def objects(*, smallest: int = 5) -> dict[str, tuple[str, Any, bytes]]:
    ages = ["30-39"] * (ROWS - smallest) + ["80-89"] * smallest
    ids = [f"p{number:03d}" for number in range(ROWS)]
    patients = {"patient_id": ids, "age": ages, "sex": ["F"] * ROWS, "zip": ["47*"] * ROWS, "height_cm": [170] * ROWS}
    visits = {"patient_id": ids * 2, "length_of_stay": [1.5] * (2 * ROWS)}
    found = {
        "tables/patients": ("table", None, arrow_bytes(patients)),
        "tables/visits": ("table", None, arrow_bytes(visits)),
    }
    for number in range(6):
        volume = np.arange(4 * 8 * 8, dtype="int16").reshape(4, 8, 8) + number
        header = {"dtype": "int16", "shape": [4, 8, 8], "modality": "CT", "body_part": "CHEST", "attributes": {}}
        found[f"series/1.2.{number}"] = ("series", header, volume.tobytes())
    return found


class Lease:
    """Stands for brokerd and airlockd on a kernel's two sockets."""

    def __init__(self, folder: Path) -> None:
        self.objects = objects()
        self.submitted: list[airlock.Submit] = []
        log = Log("test")
        lease = {broker.ListDatasets: self.list, broker.OpenDataset: self.open, broker.ReadObjects: self.read}
        submit = {airlock.Submit: self.submit, airlock.AskStatus: self.status}
        self.servers = [
            WireServer(folder / "lease.sock", lease, log=log, allowed_uids=None),
            WireServer(folder / "submit.sock", submit, log=log, allowed_uids=None, max_descriptors=8),
        ]
        for server in self.servers:
            server.start()

    def list(self, _message: Any, _call: Any) -> broker.DatasetList:
        info = broker.DatasetInfo(name="demo-ct", version=1, title="Demo", expires="2027-01-01T00:00:00.000000Z")
        return broker.DatasetList(datasets=(info,))

    def open(self, message: broker.OpenDataset, _call: Any) -> broker.LeaseReply:
        listed = tuple(
            broker.ObjectInfo(name=name, kind=kind, size_bytes=len(data), header=header)
            for name, (kind, header, data) in self.objects.items()
        )
        return broker.LeaseReply(
            lease="0" * 32, dataset=message.dataset, version=1, expires="2027-01-01T00:00:00.000000Z", objects=listed
        )

    def read(self, message: broker.ReadObjects, _call: Any) -> Reply:
        data = [self.objects[name][2] for name in message.names]
        body = broker.ObjectsReply(names=message.names, sizes=tuple(len(item) for item in data))
        return Reply(body, [sealed_memory("object", item) for item in data])

    def submit(self, message: airlock.Submit, call: Any) -> airlock.EgressStatus:
        for fd in call.descriptors:
            os.close(fd)
        self.submitted.append(message)
        return airlock.EgressStatus(id="0" * 32, title=message.title, state="pending", verdict="review", files=())

    def status(self, _message: Any, _call: Any) -> airlock.EgressStatusList:
        return airlock.EgressStatusList(requests=())


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """The two sockets, and a kernelspec ``enclave-python`` that starts the kernel environment's interpreter."""
    (tmp_path / "home" / "work").mkdir(parents=True)
    spec = tmp_path / "jupyter" / "kernels" / "enclave-python"
    spec.mkdir(parents=True)
    python = ROOT / ".venv-kernel" / "bin" / "python"
    environment = {
        "PYTHONPATH": str(ROOT / "kernels"),
        "ENCLAVE_RUN_DIR": str(tmp_path),
        "HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "x", "language": "python", "env": environment})
    (spec / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    stand = Lease(tmp_path)
    yield stand
    for server in stand.servers:
        server.close()


def validated(**parameters: str) -> str:
    notebook = papermill.execute_notebook(REPORT, None, parameters=parameters, progress_bar=False, log_output=False)
    return render_page(notebook, title="t")


@pytest.mark.slow
def test_the_validation_report_says_that_a_good_version_is_good(lease: Lease) -> None:
    page = validated(dataset="demo-ct")
    assert "demo-ct@1 until 2027-01-01" in page
    assert "look at it" not in page
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.slow
def test_the_validation_report_finds_a_class_below_k_and_does_not_say_its_size(lease: Lease) -> None:
    lease.objects = objects(smallest=2)
    page = validated(dataset="demo-ct")
    assert "smallest class: fewer than 5" in page
    assert "look at it" in page


@pytest.mark.slow
def test_the_validation_report_finds_a_series_that_is_not_as_described(lease: Lease) -> None:
    kind, header, _ = lease.objects["series/1.2.0"]
    lease.objects["series/1.2.0"] = (kind, header, bytes(4 * 8 * 8 * 2))
    assert "1 of 6 have one value only" in validated(dataset="demo-ct")


@pytest.mark.slow
def test_the_first_look_runs_from_top_to_bottom_and_submits_a_figure(lease: Lease) -> None:
    notebook = nbformat.read(FIRST_LOOK, as_version=4)
    nbclient.NotebookClient(notebook, kernel_name="enclave-python", timeout=60).execute()
    assert [message.names for message in lease.submitted] == [("figure.png",)]
    kinds = {kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= kinds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_committed_notebook_has_our_kernel_and_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "enclave-python"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
