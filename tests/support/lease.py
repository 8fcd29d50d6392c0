"""A dataset version on a lease socket and an airlock on a submit socket, for tests that run real kernels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from enclave.reports.process import sealed_memory
from enclave.runtime.log import Log
from enclave.wire.messages import airlock, broker
from enclave.wire.peer import Reply, WireServer

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

    def __init__(self) -> None:
        self.objects = objects()
        self.submitted: list[airlock.Submit] = []
        self.servers: list[WireServer] = []

    def serve_lease(self, folder: Path) -> Path:
        """Answers on ``lease.sock`` in ``folder``."""
        handlers = {broker.ListDatasets: self.list, broker.OpenDataset: self.open, broker.ReadObjects: self.read}
        return self._serve(folder / "lease.sock", handlers)

    def serve_submit(self, folder: Path) -> Path:
        """Answers on ``submit.sock`` in ``folder``."""
        return self._serve(folder / "submit.sock", {airlock.Submit: self.submit, airlock.AskStatus: self.status})

    def close(self) -> None:
        """Ends both."""
        for server in self.servers:
            server.close()

    def _serve(self, path: Path, handlers: Any) -> Path:
        server = WireServer(path, handlers, log=Log("test"), allowed_uids=None, mode=0o666, max_descriptors=8)
        server.start()
        self.servers.append(server)
        return path

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
