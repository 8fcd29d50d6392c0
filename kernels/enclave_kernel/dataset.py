"""Dataset versions as a researcher uses them: listed, and mapped read-only without a copy.

Bytes arrive as sealed memory by descriptor; nothing is mounted and nothing is written anywhere.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

from enclave_kernel.connection import Connection
from enclave_kernel.errors import EnclaveError
from enclave_kernel.listing import DatasetVersion, Listing, Object, count_words

BATCH = 100  # descriptors in one message
_lease = Connection("lease")
_WORDS = {"table": ("tables", "ds.table"), "series": ("series", "ds.array"), "document": ("documents", "ds.document")}


def datasets() -> Listing[DatasetVersion]:
    """Which dataset versions this project may open now."""
    body, _ = _lease.ask("lease.list", {})
    found = [DatasetVersion(**item) for item in body["datasets"]]
    return Listing(found, title="datasets of this project")


def open_dataset(name: str, version: int | None = None) -> Dataset:
    """Opens the newest released version of a dataset, or one of them: ``open("demo-ct")``, ``open("demo-ct@2")``."""
    if version is None and "@" in name:
        name, _, number = name.partition("@")
        if not number.isdecimal():
            raise EnclaveError("a dataset is named like demo-ct, or demo-ct@2 for its version 2")
        version = int(number)
    body = {"dataset": name} if version is None else {"dataset": name, "version": version}
    reply, _ = _lease.ask("lease.open", body)
    objects, more = list(reply["objects"]), bool(reply.get("more"))
    while more:
        page, _ = _lease.ask("lease.objects", {"lease": reply["lease"], "after": objects[-1]["name"]})
        objects += page["objects"]
        more = bool(page.get("more")) and bool(page["objects"])
    return Dataset(reply, [_object(item) for item in objects])


class Dataset:
    """One open dataset version: ``tables``, ``series``, ``documents`` list, ``table``, ``array``, ``document`` get."""

    def __init__(self, reply: dict[str, Any], objects: list[Object]) -> None:
        self.name: str = reply["dataset"]
        self.version: int = reply["version"]
        self.expires: str = reply["expires"]
        self.objects = Listing(objects, title=f"{self.name}@{self.version}, objects")
        self._lease_id: str = reply["lease"]

    @property
    def tables(self) -> Listing[Object]:
        """The tables."""
        return self._of("table", "tables")

    @property
    def series(self) -> Listing[Object]:
        """The image series, with modality and shape."""
        return self._of("series", "series")

    @property
    def documents(self) -> Listing[Object]:
        """The documents: cleaned free text, which may hold what no detector knew."""
        return self._of("document", "documents")

    def table(self, name: str | Object) -> Any:
        """A table as a pandas DataFrame: ``ds.table("patients")``."""
        from enclave_kernel_views.tables import data_frame

        return data_frame(self.memory(self._named(name, "table")))

    def arrow(self, name: str | Object) -> Any:
        """A table as a pyarrow Table, without a copy."""
        from enclave_kernel_views.tables import arrow_table

        return arrow_table(self.memory(self._named(name, "table")))

    def array(self, name: str | Object) -> Any:
        """A series as a read-only NumPy array over the mapped memory: ``ds.array(ds.series[0])``."""
        return self.arrays([name])[0]

    def arrays(self, names: Sequence[str | Object]) -> list[Any]:
        """Several series at once, which is quicker than one by one."""
        from enclave_kernel_views.arrays import read_only_array

        objects = [self._named(name, "series") for name in names]
        memories = self._memories(objects)
        return [read_only_array(memory, item.header) for memory, item in zip(memories, objects, strict=True)]

    def document(self, name: str | Object) -> str:
        """The text of a document: ``ds.document(ds.documents[0])``."""
        return str(self.memory(self._named(name, "document")), "utf-8")

    def show(self, name: str | Object, *, index: int | None = None) -> Any:
        """One slice of a series as a picture (the middle one, or ``index``)."""
        from enclave_kernel_views.plots import slice_figure

        item = self._named(name, "series")
        return slice_figure(self.array(item), title=f"{item.modality} {item.name}".strip(), index=index)

    def memory(self, name: str | Object) -> mmap.mmap | bytes:
        """The object's bytes, mapped read-only (``bytes`` when it is empty)."""
        return self._memories([name if isinstance(name, Object) else self.objects[name]])[0]

    def __repr__(self) -> str:
        lines = [f"{self.name}@{self.version}, open until {self.expires[:10]}"]
        tables = ", ".join(item.name.partition("/")[2] for item in self.tables)
        lines.append(f"  tables: {tables or 'none'}" + ("   → ds.table(NAME)" if tables else ""))
        series = self.series
        lines.append(
            f"  series: {len(series)}" + (f" ({count_words(series)})   → ds.array(ds.series[0])" if series else "")
        )
        lines += [f"  documents: {len(self.documents)}   → ds.document(ds.documents[0])"] if self.documents else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from enclave_kernel_views.html import dataset_html

        return dataset_html(self)

    def _of(self, kind: str, word: str) -> Listing[Object]:
        found = [item for item in self.objects if item.kind == kind]
        return Listing(found, title=f"{self.name}@{self.version}, {word}")

    def _named(self, name: str | Object, kind: str) -> Object:
        item: Object = name if isinstance(name, Object) else self._of(kind, _WORDS[kind][0])[name]
        if item.kind != kind:
            raise EnclaveError(f"{item.name} is a {item.kind}; use {_WORDS[item.kind][1]}")
        return item

    def _memories(self, objects: Sequence[Object]) -> list[mmap.mmap | bytes]:
        result: list[mmap.mmap | bytes] = []
        for start in range(0, len(objects), BATCH):
            names = [item.name for item in objects[start : start + BATCH]]
            body = {"lease": self._lease_id, "names": names}
            reply, descriptors = _lease.ask("lease.read", body, max_descriptors=len(names))
            try:
                if len(descriptors) != len(names):
                    raise EnclaveError("the answer lacked some of the objects; try again", family="unavailable")
                result += [_map(fd, size) for fd, size in zip(descriptors, reply["sizes"], strict=True)]
            finally:
                for fd in descriptors:
                    os.close(fd)
        return result


def _map(fd: int, size: int) -> mmap.mmap | bytes:
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) if size else b""


def _object(item: dict[str, Any]) -> Object:
    header = item.get("header")
    return Object(item["name"], item["kind"], item["size_bytes"], header if isinstance(header, dict) else {})
