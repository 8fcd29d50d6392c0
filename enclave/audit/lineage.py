"""Lineage: what a file that left depends on, and what depends on a dataset version. Pure: events in, a graph out.

What is certain is the cell that handed a file in, and what the broker gave to which cell. Any earlier cell of the same
kernel may have had a part, so all of them count. A kernel shares nothing with another but what one saved and the other
loaded; that is followed as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from enclave.core.ids import VersionName

NodeKind = Literal["version", "certificate", "lease", "kernel", "cell", "intermediate", "request", "file"]
KINDS: Final[tuple[NodeKind, ...]] = (
    *("version", "certificate", "lease", "kernel", "cell", "intermediate", "request", "file"),
)
BACKGROUND: Final = "background"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One thing with its facts. ``id`` is ``kind:name``."""

    id: str
    kind: NodeKind
    name: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    """From what was there first to what came of it; ``what`` says how."""

    source: str
    target: str
    what: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by kind and name, edges between them; ``subject`` is what was asked for."""

    subject: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def of_kind(self, kind: NodeKind) -> tuple[Node, ...]:
        """In the order of their ids."""
        return tuple(node for node in self.nodes if node.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {
            "subject": self.subject,
            "nodes": [{"id": n.id, "kind": n.kind, "name": n.name, "facts": n.facts} for n in self.nodes],
            "edges": [{"source": e.source, "target": e.target, "what": e.what} for e in self.edges],
        }


def trace(rows: Iterable[Row], *, subject: str) -> Graph:
    """The graph of ``subject``: NAME@V, or a SHA-256 of a file, manifest or package, or the id of a request.

    ``rows`` are events (``seq, time, kind, actor, project, dataset, version, objects, kernel, cell, outcome, detail``)
    in any order; those that have nothing to do with it are left out.
    """
    ordered = sorted((row for row in rows if row["outcome"] == "ok" or _begins(row)), key=lambda row: int(row["seq"]))
    kept = _after_version(ordered, VersionName.parse(subject)) if "@" in subject else _before_file(ordered, subject)
    builder = _Builder(subject)
    for row in sorted(kept, key=lambda row: int(row["seq"])):
        builder.add(row)
    return builder.graph()


def requests_of(rows: Iterable[Row], name: str) -> frozenset[str]:
    """The egress requests that a digest or an id names."""
    return frozenset(
        request for row in rows if row["outcome"] == "ok" and (request := _detail(row, "request")) and _names(row, name)
    )


def _versions(row: Row) -> list[str]:
    """The dataset versions of the leases that a record of a cell names."""
    return sorted({str(one.get("version", "")) for one in row["detail"].get("leases") or ()})


def _begins(row: Row) -> bool:
    return row["kind"] == "cell.execute" and row["outcome"] in ("intent", "failed")


def _names(row: Row, name: str) -> bool:
    detail = row["detail"]
    single = (detail.get("request"), detail.get("manifest_sha256"), detail.get("package_sha256"))
    return name in single or name in (detail.get("sha256") or ())


def _detail(row: Row, key: str) -> str:
    return str(row["detail"].get(key) or "")


# ── what counts ─────────────────────────────────────────────────────────────


def _before_file(rows: Sequence[Row], name: str) -> list[Row]:
    """The requests with this file, and of each kernel that handed one in everything before the last time it did."""
    requests = requests_of(rows, name)
    last: dict[str, int] = {}
    for row in rows:
        if row["kind"] == "egress.submit" and _detail(row, "request") in requests:
            last[str(row["kernel"])] = int(row["seq"])
    _follow_loads(rows, last)
    kept = [row for row in rows if _of_request(row, requests) or _in_kernel_until(row, last)]
    return kept + _papers(rows, kept)


def _after_version(rows: Sequence[Row], name: VersionName) -> list[Row]:
    """Of each kernel that opened the version everything from then on, and the requests that it handed in."""
    first: dict[str, int] = {}
    for row in rows:
        if row["kind"] == "dataset.open" and (row["dataset"], row["version"]) == (name.dataset, name.version):
            first.setdefault(str(row["kernel"]), int(row["seq"]))
    _follow_saves(rows, first)
    requests = frozenset(
        _detail(row, "request")
        for row in rows
        if row["kind"] == "egress.submit" and int(row["seq"]) > first.get(str(row["kernel"]), 1 << 62)
    )
    kept = [row for row in rows if _of_request(row, requests) or _in_kernel_from(row, first)]
    return kept + _papers(rows, kept, also=name)


def _follow_loads(rows: Sequence[Row], last: dict[str, int]) -> None:
    """Whoever saved what was loaded before the end counts up to the save, and so on, until nobody new is found."""
    saves = {_detail(row, "intermediate"): row for row in rows if row["kind"] == "intermediate.save"}
    grown = True
    while grown:
        grown = False
        for row in rows:
            if row["kind"] != "intermediate.load" or int(row["seq"]) >= last.get(str(row["kernel"]), -1):
                continue
            save = saves.get(_detail(row, "intermediate"))
            if save is not None and last.get(str(save["kernel"]), -1) <= int(save["seq"]):
                last[str(save["kernel"])] = int(save["seq"]) + 1
                grown = True


def _follow_saves(rows: Sequence[Row], first: dict[str, int]) -> None:
    """Whoever loaded what was saved after the beginning counts from the load on, and so on."""
    never = 1 << 62
    grown = True
    while grown:
        grown = False
        kept = {
            _detail(row, "intermediate")
            for row in rows
            if row["kind"] == "intermediate.save" and int(row["seq"]) > first.get(str(row["kernel"]), never)
        }
        for row in rows:
            loads = row["kind"] == "intermediate.load" and _detail(row, "intermediate") in kept
            if loads and int(row["seq"]) < first.get(str(row["kernel"]), never):
                first[str(row["kernel"])] = int(row["seq"])
                grown = True


def _of_request(row: Row, requests: frozenset[str]) -> bool:
    return str(row["kind"]).startswith("egress.") and _detail(row, "request") in requests


def _in_kernel_until(row: Row, last: Mapping[str, int]) -> bool:
    kernel = str(row["kernel"])
    return kernel in last and int(row["seq"]) < last[kernel] and not str(row["kind"]).startswith("egress.")


def _in_kernel_from(row: Row, first: Mapping[str, int]) -> bool:
    kernel = str(row["kernel"])
    if kernel not in first or str(row["kind"]).startswith("egress."):
        return False
    return row["kind"] == "kernel.start" or int(row["seq"]) >= first[kernel]


def _papers(rows: Sequence[Row], kept: Sequence[Row], *, also: VersionName | None = None) -> list[Row]:
    """Who determined and who released the versions that were opened, to the projects in which they were."""
    opened = {(row["dataset"], row["version"], row["project"]) for row in kept if row["kind"] == "dataset.open"}
    versions = {(dataset, version) for dataset, version, _ in opened}
    if also is not None:
        versions.add((also.dataset, also.version))
    found = []
    for row in rows:
        place = (row["dataset"], row["version"])
        signed = row["kind"] in ("determination.sign", "version.register") and place in versions
        released = row["kind"] in ("release.decide", "grant.decide") and (*place, row["project"]) in opened
        if signed or released:
            found.append(row)
    return found


# ── the graph ───────────────────────────────────────────────────────────────


class _Builder:
    """Collects nodes and edges, each once; later facts fill in what earlier ones left out."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], Edge] = {}
        self._reads: dict[tuple[str, str], set[str]] = {}
        self._grants: dict[tuple[str, str, str], dict[str, Any]] = {}  # of version, project, person: the last
        if "@" in subject:
            self._node("version", subject)
        self._adders: Mapping[str, Any] = {
            "version.register": self._version,
            "determination.sign": self._signed,
            "release.decide": self._released_to,
            "grant.decide": self._granted,
            "kernel.start": self._kernel,
            "dataset.open": self._lease,
            "dataset.read": self._read,
            "cell.execute": self._cell,
            "cell.leases": self._held,
            "intermediate.save": self._saved,
            "intermediate.load": self._loaded,
            "egress.submit": self._submitted,
            "egress.vote": self._voted,
            "egress.release": self._released,
            "egress.deliver": self._delivered,
            "egress.withdraw": self._withdrawn,
        }

    def add(self, row: Row) -> None:
        """Takes one event in; kinds that say nothing here are passed over."""
        adder = self._adders.get(str(row["kind"]))
        if adder is not None:
            adder(row)

    def graph(self) -> Graph:
        """Everything so far."""
        for (cell, version), objects in self._reads.items():
            facts = self._nodes[cell].facts
            facts.setdefault("read", {})[version] = sorted(objects)
        order = {kind: place for place, kind in enumerate(KINDS)}
        nodes = sorted(self._nodes.values(), key=lambda n: (order[n.kind], n.facts.get("seq", 0), n.id))
        return Graph(self._subject, tuple(nodes), tuple(self._edges[key] for key in sorted(self._edges)))

    def _node(self, kind: NodeKind, name: str, **facts: Any) -> str:
        node_id = f"{kind}:{name}"
        node = self._nodes.setdefault(node_id, Node(node_id, kind, name))
        for key, value in facts.items():
            if value not in (None, "", (), []) and key not in node.facts:
                node.facts[key] = value
        return node_id

    def _edge(self, source: str, target: str, what: str) -> None:
        self._edges.setdefault((source, target), Edge(source, target, what))

    def _version(self, row: Row) -> None:
        self._node("version", _version_name(row), content_root=_detail(row, "content_root"), registered=row["time"])

    def _signed(self, row: Row) -> None:
        version = self._node("version", _version_name(row))
        certificate = self._node("certificate", _detail(row, "certificate"), signed_by=row["actor"], signed=row["time"])
        self._edge(version, certificate, "determined by")

    def _released_to(self, row: Row) -> None:
        if row["detail"].get("approve") is False:
            return
        certificate = self._node("certificate", _detail(row, "certificate"))
        facts = self._nodes[certificate].facts
        facts.setdefault("released", []).append(
            {"project": row["project"], "by": row["actor"], "time": row["time"], "release": _detail(row, "release")}
        )

    def _granted(self, row: Row) -> None:
        if row["detail"].get("approve") is False:
            return
        place = (_version_name(row), str(row["project"]), _detail(row, "person"))
        self._grants[place] = {"id": _detail(row, "grant"), "by": row["actor"], "time": row["time"]}

    def _kernel(self, row: Row) -> None:
        self._node(
            "kernel",
            str(row["kernel"]),
            person=row["actor"],
            project=row["project"],
            environment=_detail(row, "environment"),
            notebook=_detail(row, "notebook"),
            started=row["time"],
            seq=int(row["seq"]),
        )

    def _lease(self, row: Row) -> None:
        version = self._node("version", _version_name(row), content_root=_detail(row, "content_root"))
        certificate = self._node("certificate", _detail(row, "certificate") or "none")
        lease = self._node(
            "lease",
            _detail(row, "lease"),
            version=_version_name(row),
            person=row["actor"],
            project=row["project"],
            purpose=_detail(row, "purpose"),
            grant=self._grants.get((_version_name(row), str(row["project"]), str(row["actor"]))),
            opened=row["time"],
            expires=_detail(row, "expires"),
            seq=int(row["seq"]),
        )
        self._edge(version, certificate, "determined by")
        self._edge(certificate, lease, "allowed")
        self._edge(
            lease, self._node("kernel", str(row["kernel"]), person=row["actor"], project=row["project"]), "used in"
        )

    def _read(self, row: Row) -> None:
        cell = self._cell(row)
        version = _version_name(row)
        self._reads.setdefault((cell, version), set()).update(row["objects"] or ())
        lease = _detail(row, "lease")
        if lease:
            self._edge(self._node("lease", lease, version=version), cell, "read by")

    def _cell(self, row: Row) -> str:
        name = str(row["cell"] or BACKGROUND)
        kernel = self._node("kernel", str(row["kernel"]), person=row["actor"], project=row["project"])
        if name == BACKGROUND:
            name = f"{BACKGROUND} of {row['kernel']}"
        is_run = row["kind"] == "cell.execute"
        cell = self._node("cell", name, person=row["actor"], started=row["time"], seq=int(row["seq"]))
        if is_run:
            self._node("cell", name, code_hash=_detail(row, "code_hash"), held=_versions(row))
            if row["outcome"] != "intent":
                self._node("cell", name, status=row["outcome"], ended=row["time"])
        self._edge(kernel, cell, "ran")
        return cell

    def _held(self, row: Row) -> None:
        """What a cell's intent could not know yet: which data its kernel had open when it began."""
        self._nodes[self._cell(row)].facts["held"] = _versions(row)

    def _saved(self, row: Row) -> None:
        kept = self._node(
            "intermediate", _detail(row, "intermediate"), person=row["actor"], project=row["project"], saved=row["time"]
        )
        self._edge(self._cell(row), kept, "saved")

    def _loaded(self, row: Row) -> None:
        kept = self._node("intermediate", _detail(row, "intermediate"), project=row["project"])
        self._edge(kept, self._cell(row), "loaded by")

    def _submitted(self, row: Row) -> None:
        request = self._node(
            "request",
            _detail(row, "request"),
            author=row["actor"],
            project=row["project"],
            submitted=row["time"],
            purpose=_detail(row, "purpose"),
            title=_detail(row, "title"),
            seq=int(row["seq"]),
        )
        self._edge(self._cell(row), request, "handed in")
        for digest in row["detail"].get("sha256") or ():
            self._edge(request, self._node("file", str(digest)), "holds")

    def _voted(self, row: Row) -> None:
        request = self._node("request", _detail(row, "request"))
        votes = self._nodes[request].facts.setdefault("votes", [])
        votes.append({"by": row["actor"], "vote": _detail(row, "vote"), "time": row["time"]})

    def _released(self, row: Row) -> None:
        request = self._node("request", _detail(row, "request"), released=row["time"])
        self._node("request", _detail(row, "request"), manifest_sha256=_detail(row, "manifest_sha256"))
        for digest in row["detail"].get("sha256") or ():
            file = self._node("file", str(digest), released=row["time"])
            self._edge(request, file, "holds")

    def _delivered(self, row: Row) -> None:
        self._node(
            "request",
            _detail(row, "request"),
            delivered=row["time"],
            delivered_to=row["actor"],
            package_sha256=_detail(row, "package_sha256"),
        )

    def _withdrawn(self, row: Row) -> None:
        self._node("request", _detail(row, "request"), withdrawn=row["time"])


def _version_name(row: Row) -> str:
    return f"{row['dataset']}@{row['version']}"
