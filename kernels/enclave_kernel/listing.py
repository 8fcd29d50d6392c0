"""What a person looks at: objects, datasets and egress requests, each listed readably."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from enclave_kernel.errors import EnclaveError


class Listed(Protocol):
    """An item with a name and a row of words."""

    columns: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str:
        """What selects it."""
        ...

    def row(self) -> tuple[str, ...]:
        """One word or number per column."""
        ...


T = TypeVar("T", bound=Listed)


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a dataset version: a ``table``, a ``series`` (a volume as an array) or a ``document`` (text)."""

    columns: ClassVar[tuple[str, ...]] = ("name", "modality", "body part", "shape", "dtype", "size")
    name: str
    kind: str
    size_bytes: int
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def modality(self) -> str:
        """Such as CT; '' for a table."""
        return str(self.header.get("modality") or "")

    @property
    def body_part(self) -> str:
        """Such as CHEST; '' where it is not known."""
        return str(self.header.get("body_part") or "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape; () for a table."""
        return tuple(self.header.get("shape") or ())

    @property
    def dtype(self) -> str:
        """The array's element type; '' for a table."""
        return str(self.header.get("dtype") or "")

    @property
    def attributes(self) -> dict[str, Any]:
        """What else the header says, such as spacing."""
        return dict(self.header.get("attributes") or {})

    def row(self) -> tuple[str, ...]:
        """Name, modality, body part, shape, dtype, size."""
        shape = " × ".join(map(str, self.shape))
        return (self.name, self.modality, self.body_part, shape, self.dtype, size_words(self.size_bytes))


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One version that this project may open."""

    columns: ClassVar[tuple[str, ...]] = ("name", "version", "title", "until")
    name: str
    version: int
    title: str
    expires: str

    def row(self) -> tuple[str, ...]:
        """Name, version, title and the day its certificate ends."""
        return (self.name, str(self.version), self.title, self.expires[:10])


@dataclass(frozen=True, slots=True)
class EgressRequest:
    """Results on their way out. ``findings`` are what the machine checks had to say."""

    columns: ClassVar[tuple[str, ...]] = ("id", "title", "state", "verdict", "files", "message")
    id: str
    title: str
    state: str
    verdict: str
    files: tuple[str, ...]
    findings: tuple[dict[str, Any], ...] = ()
    message: str = ""

    @property
    def name(self) -> str:
        """Its id."""
        return self.id

    def row(self) -> tuple[str, ...]:
        """Id, title, state, verdict, files, message."""
        return (self.id[:8], self.title, self.state, self.verdict, ", ".join(self.files), self.message)

    def __repr__(self) -> str:
        lines = [
            f"egress request {self.id[:8]} “{self.title}”: {self.state}, checks say {self.verdict or 'nothing yet'}"
        ]
        lines += [f"  {self.message}"] if self.message else []
        for finding in self.findings:
            remedy = f" → {finding['remedy']}" if finding.get("remedy") else ""
            lines.append(f"  {finding.get('severity', '?')}: {finding.get('message', finding.get('rule', ''))}{remedy}")
        return "\n".join(lines)


class Listing(Sequence[T], Generic[T]):
    """A list that is also looked up by name: ``ds.series["series/1.2.3"]``, ``ds.series[0]``, ``ds.series[:5]``."""

    def __init__(self, items: Sequence[T], *, title: str) -> None:
        self._items = list(items)
        self.title = title

    @property
    def names(self) -> list[str]:
        """All names."""
        return [item.name for item in self._items]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            for item in self._items:
                if item.name in (key, f"tables/{key}", f"series/{key}", f"documents/{key}"):
                    return item
            raise EnclaveError(f"{self.title}: there is no {key!r} here; .names lists them", family="not_found")
        found = self._items[key]
        return Listing(found, title=self.title) if isinstance(key, slice) else found

    def __repr__(self) -> str:
        shown = [item.row() for item in self._items[:20]]
        if not shown:
            return f"{self.title}: none"
        rows = [self._items[0].columns, *shown]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = len(self._items) - len(shown)
        return "\n".join([f"{self.title}: {len(self)}", *lines, *([f"… and {more} more"] if more else [])])

    def _repr_html_(self) -> str:
        from enclave_kernel_views.html import listing_html

        return listing_html(self)

    def _ipython_key_completions_(self) -> list[str]:
        return self.names


def size_words(size_bytes: int) -> str:
    """A size as a person reads it."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def count_words(objects: Sequence[Object]) -> str:
    """Such as ``20 CT, 12 MR``."""
    counts = Counter(item.modality or "without modality" for item in objects)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
