"""Lineage from known events: the graph is what a person would draw, in both directions."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from enclave.audit.lineage import Graph, trace
from enclave.audit.lineage_page import html_of, summary_of, svg_of
from enclave.audit.lineage_rows import lineage, subject_of
from enclave.core.errors import InvalidError, NotFoundError
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query

FILE, OTHER = "f1" * 32, "f2" * 32
ONE, TWO = "aa" * 16, "bb" * 16
REQUEST, LATER = "11" * 16, "22" * 16
LEASE = "cc" * 16
CERTIFICATE = "de" * 16


def cell(number: int) -> str:
    return f"{number:032x}"


def events() -> list[dict[str, Any]]:
    """rosa: four cells in kernel ONE, the third hands in; rolf: kernel TWO, another version, another file."""
    made: list[dict[str, Any]] = []

    def add(kind: str, *, outcome: str = "ok", **fields: Any) -> None:
        row = dict.fromkeys(("actor", "project", "dataset", "version", "objects", "kernel", "cell"))
        row |= {"seq": len(made), "time": f"2026-11-22T12:00:{len(made):02d}Z", "kind": kind, "outcome": outcome}
        row |= {"detail": {}, **fields}
        made.append(row)

    rosa = {"actor": "rosa", "project": "demo", "kernel": ONE}
    rolf = {"actor": "rolf", "project": "other", "kernel": TWO}
    ct = {"dataset": "demo-ct", "version": 3}
    mr = {"dataset": "demo-mr", "version": 1}
    add("version.register", actor="service:intake", **ct, detail={"content_root": "00" * 32})
    add("determination.sign", actor="edgar", **ct, detail={"certificate": CERTIFICATE})
    approved = {"certificate": CERTIFICATE, "release": "ee" * 16, "approve": True}
    add("release.decide", actor="hana", project="demo", **ct, detail=approved)
    add("release.decide", actor="hana", project="elsewhere", **ct, detail=approved)
    granted = {"grant": "ad" * 16, "person": "rosa", "approve": True}
    add("grant.decide", actor="hana", project="demo", **ct, detail=granted)
    add("grant.decide", actor="hana", project="demo", **ct, detail={**granted, "person": "rolf", "grant": "ae" * 16})
    add("kernel.start", outcome="intent", **rosa, detail={"environment": "env-1"})
    add("kernel.start", **rosa, detail={"environment": "env-1", "notebook": "demo/look.ipynb"})
    add("kernel.start", **rolf, detail={"environment": "env-1"})
    add("cell.execute", outcome="intent", **rosa, cell=cell(1), detail={"code_hash": "c1"})
    lease = {"lease": LEASE, "certificate": CERTIFICATE, "expires": "2031-01-01T00:00:00Z", "purpose": "Lung study"}
    add("dataset.open", outcome="intent", **rosa, **ct, cell=cell(1), detail=lease)
    add("dataset.open", **rosa, **ct, cell=cell(1), detail=lease)
    add("dataset.read", **rosa, **ct, cell=cell(1), objects=["s2", "s1"], detail={"lease": LEASE, "count": 2})
    add("cell.execute", **rosa, cell=cell(1))
    held = [{"lease": LEASE, "version": "demo-ct@3"}]
    add("cell.execute", outcome="intent", **rosa, cell=cell(2), detail={"code_hash": "c2", "leases": []})
    add("cell.leases", **rosa, cell=cell(2), detail={"leases": held})
    add("cell.execute", outcome="failed", **rosa, cell=cell(2))
    add("dataset.open", **rolf, **mr, cell=cell(9), detail={"lease": "cd" * 16, "certificate": "df" * 16})
    add("cell.execute", outcome="intent", **rosa, cell=cell(3), detail={"code_hash": "c3", "leases": held})
    add("egress.submit", outcome="intent", **rosa, cell=cell(3), detail={"files": 1})
    add("egress.submit", **rosa, cell=cell(3), detail={"request": REQUEST, "sha256": [FILE], "round": 1})
    add("cell.execute", **rosa, cell=cell(3))
    add("cell.execute", outcome="intent", **rosa, cell=cell(4), detail={"code_hash": "c4"})
    add("egress.submit", **rolf, cell=cell(9), detail={"request": LATER, "sha256": [OTHER], "round": 1})
    for person in ("olga", "omar"):
        add("egress.vote", actor=person, detail={"request": REQUEST, "vote": "approve"})
    released = {"request": REQUEST, "sha256": [FILE], "manifest_sha256": "ab" * 32}
    add("egress.release", actor="service:airlock", detail=released)
    add("egress.deliver", actor="rosa", detail={"request": REQUEST, "package_sha256": "ac" * 32})
    return made


def names(graph: Graph, kind: str) -> list[str]:
    return [node.name for node in graph.nodes if node.kind == kind]


def facts(graph: Graph, node_id: str) -> dict[str, Any]:
    return next(node.facts for node in graph.nodes if node.id == node_id)


@pytest.mark.row("S10.2")
@pytest.mark.parametrize("subject", [FILE, REQUEST, "ab" * 32, "ac" * 32])
def test_a_file_leads_to_its_cells_objects_certificate_lease_person_and_environment(subject: str) -> None:
    graph = trace(events(), subject=subject)
    assert names(graph, "file") == [FILE]
    assert names(graph, "request") == [REQUEST]
    assert names(graph, "cell") == [cell(1), cell(2), cell(3)]  # the fourth ran afterwards
    assert names(graph, "kernel") == [ONE]
    assert names(graph, "version") == ["demo-ct@3"]
    assert facts(graph, f"cell:{cell(1)}")["read"] == {"demo-ct@3": ["s1", "s2"]}
    assert facts(graph, f"cell:{cell(2)}")["status"] == "failed"
    assert facts(graph, f"kernel:{ONE}")["environment"] == "env-1"
    assert facts(graph, f"kernel:{ONE}")["notebook"] == "demo/look.ipynb"
    assert [facts(graph, f"cell:{cell(number)}").get("held") for number in (1, 2, 3)] == [None, *[["demo-ct@3"]] * 2]
    lease = facts(graph, f"lease:{LEASE}")
    assert (lease["person"], lease["purpose"], lease["project"]) == ("rosa", "Lung study", "demo")
    assert (lease["grant"]["id"], lease["grant"]["by"]) == ("ad" * 16, "hana")
    certificate = facts(graph, f"certificate:{CERTIFICATE}")
    assert certificate["signed_by"] == "edgar"
    assert [one["project"] for one in certificate["released"]] == ["demo"]
    request = facts(graph, f"request:{REQUEST}")
    assert [vote["by"] for vote in request["votes"]] == ["olga", "omar"]
    assert request["delivered_to"] == "rosa"
    links = {(edge.source, edge.target): edge.what for edge in graph.edges}
    assert links[f"cell:{cell(3)}", f"request:{REQUEST}"] == "handed in"
    assert (f"cell:{cell(2)}", f"request:{REQUEST}") not in links


def test_a_version_leads_to_every_cell_from_its_opening_on_and_to_every_file() -> None:
    graph = trace(events(), subject="demo-ct@3")
    assert names(graph, "cell") == [cell(1), cell(2), cell(3), cell(4)]
    assert names(graph, "file") == [FILE]
    assert names(trace(events(), subject="demo-mr@1"), "file") == [OTHER]


def test_a_version_that_nobody_opened_stands_alone_with_its_papers() -> None:
    graph = trace(events(), subject="demo-ct@4")
    assert [node.id for node in graph.nodes] == ["version:demo-ct@4"]
    assert graph.edges == ()


def test_the_order_of_events_does_not_matter() -> None:
    wanted = trace(events(), subject=FILE)
    for seed in range(10):
        shuffled = events()
        random.Random(seed).shuffle(shuffled)
        assert trace(shuffled, subject=FILE) == wanted


def test_a_file_of_two_rounds_counts_the_cells_of_the_last() -> None:
    rows = events()
    again = dict(next(r for r in rows if r["kind"] == "egress.submit" and r["outcome"] == "ok"))
    again |= {"seq": 100, "cell": cell(4), "detail": {"request": REQUEST, "sha256": [OTHER], "round": 2}}
    graph = trace([*rows, again], subject=REQUEST)
    assert cell(4) in names(graph, "cell")
    assert set(names(graph, "file")) == {FILE, OTHER}


def test_a_result_that_one_kernel_saved_and_another_loaded_joins_their_lineages() -> None:
    rows = events()
    kept = {"detail": {"intermediate": "9a" * 16, "kind": "table"}, "outcome": "ok", "objects": None}
    rosa = {"actor": "rosa", "project": "demo", "kernel": ONE, "dataset": None, "version": None}
    rolf = {"actor": "rolf", "project": "other", "kernel": TWO, "dataset": None, "version": None}
    first = next(r["seq"] for r in rows if r["cell"] == cell(2))
    later = next(r["seq"] for r in rows if r["detail"].get("request") == LATER)
    for number, row in enumerate(rows):
        row["seq"] = 10 * number
    save = {**rosa, **kept, "kind": "intermediate.save", "cell": cell(2), "seq": 10 * first + 1, "time": "t"}
    load = {**rolf, **kept, "kind": "intermediate.load", "cell": cell(9), "seq": 10 * later - 1, "time": "t"}
    joined = trace([*rows, save, load], subject=OTHER)
    assert names(joined, "kernel") == [ONE, TWO]
    assert set(names(joined, "version")) == {"demo-ct@3", "demo-mr@1"}
    assert set(names(joined, "cell")) == {cell(1), cell(2), cell(9)}  # rosa's third cell ran after the save
    links = {(edge.source, edge.target): edge.what for edge in joined.edges}
    assert links[f"cell:{cell(2)}", f"intermediate:{'9a' * 16}"] == "saved"
    assert links[f"intermediate:{'9a' * 16}", f"cell:{cell(9)}"] == "loaded by"
    assert set(names(trace([*rows, save, load], subject="demo-ct@3"), "file")) == {FILE, OTHER}
    assert names(trace([*rows, save], subject=OTHER), "kernel") == [TWO]
    another = {**load, "detail": {"intermediate": "9b" * 16}}
    assert names(trace([*rows, save, another], subject=OTHER), "kernel") == [TWO]
    assert "Saved result" in svg_of(joined)


def test_a_refused_read_gives_nothing() -> None:
    rows = [row | {"outcome": "refused"} if row["kind"] == "dataset.read" else row for row in events()]
    assert "read" not in facts(trace(rows, subject=FILE), f"cell:{cell(1)}")


# ── the picture ─────────────────────────────────────────────────────────────


def test_the_picture_is_wellformed_names_itself_and_every_box_is_a_link_to_a_row_of_the_table() -> None:
    graph = trace(events(), subject=FILE)
    svg = ET.fromstring(svg_of(graph))
    space = "{http://www.w3.org/2000/svg}"
    assert svg.find(f"{space}title").text == f"Lineage of {FILE}"
    assert svg.find(f"{space}desc").text == summary_of(graph)
    links = svg.findall(f"{space}a")
    assert len(links) == 9  # one each, but two drawn cells and one box for the third
    assert all(link.get("aria-label") for link in links)
    ids = set(re.findall(r'<tr id="([^"]+)"', html_of(graph, written="now")))
    assert {link.get("href")[1:] for link in links} <= ids
    assert [link.find(f"{space}text").text for link in links if link.get("class") == "asked"] == [FILE[:12]]


def test_the_page_stands_alone_and_what_it_shows_is_escaped() -> None:
    rows = events()
    for row in rows:
        if row["kind"] == "dataset.open":
            row["detail"]["purpose"] = "<script>alert(1)</script>&\"'"
    page = html_of(trace(rows, subject=FILE), written="2026-11-22")
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "https://" not in page

    class Checker(HTMLParser):
        ids: list[str] = []  # noqa: RUF012 - one parser, once

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.ids += [value for name, value in attrs if name == "id"]

    checker = Checker()
    checker.feed(page)
    assert len(checker.ids) == len(set(checker.ids))


def test_many_cells_stay_one_box_and_each_is_a_row() -> None:
    rows = events()
    run = next(r for r in rows if r["kind"] == "cell.execute")
    for number in range(50, 150):
        rows.append(run | {"seq": 8, "cell": cell(number)})
    graph = trace(rows, subject=FILE)
    assert "101 other cells" in svg_of(graph)
    assert html_of(graph, written="now").count("<tr id=") == len(graph.nodes)


# ── from a real ledger ──────────────────────────────────────────────────────


@pytest.fixture
def asks(auditd):
    auditd.people["t"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(auditd.home.socket("auditd"))
    yield lambda sql, limit: client.call(Query(token="t", sql=sql, limit=limit))
    client.close()


def test_the_same_graph_comes_out_of_a_real_ledger(auditd, asks, monkeypatch):
    from enclave.audit import lineage_rows

    monkeypatch.setattr(lineage_rows, "PAGE", 5)  # so that every query takes several answers
    purpose = next(r["detail"]["purpose"] for r in events() if "purpose" in r["detail"])
    bodies = {"purpose": purpose}
    auditd.client.record("project.create", actor="stella", project="demo", outcome="intent", bodies=bodies)
    for row in events():
        kept = {key: value for key, value in row.items() if key not in ("seq", "time", "kind") and value is not None}
        kept["detail"] = {key: value for key, value in row["detail"].items() if key not in ("purpose", "notebook")}
        if row["kind"] == "cell.execute" and row["outcome"] == "intent" and row["kernel"] == ONE:
            kept["bodies"] = {"notebook": "demo/look.ipynb"}
        reason = {"reason": "error"} if row["outcome"] == "failed" else {}
        actor = kept.pop("actor", None) or "service:test"
        if "objects" in kept:
            kept["objects"] = tuple(kept["objects"])
        auditd.client.record(row["kind"], actor=actor, **kept, **reason)
    for subject in (FILE, REQUEST, "ab" * 32, "ac" * 32, "demo-ct@3"):
        found, wanted = lineage(subject, asks), trace(events(), subject=subject)
        assert {n.id for n in found.nodes} == {n.id for n in wanted.nodes}
        assert found.edges == wanted.edges
        assert facts(found, f"lease:{LEASE}")["purpose"] == purpose
        assert facts(found, f"kernel:{ONE}")["notebook"] == "demo/look.ipynb"
        assert facts(found, f"cell:{cell(2)}") == facts(wanted, f"cell:{cell(2)}") | {
            name: facts(found, f"cell:{cell(2)}")[name] for name in ("started", "ended", "seq")
        }
    assert auditd.events(kind="audit.query", actor="ada", outcome="ok")


def test_what_the_ledger_does_not_know_is_not_found(auditd, asks):
    for subject in ("00" * 32, "00" * 16, "demo-ct@3"):
        with pytest.raises(NotFoundError):
            lineage(subject, asks)


@pytest.mark.parametrize("text", ["", "x", "demo-ct", "Demo@1", "a' OR 1=1 --@1", "demo-ct@0", "zz" * 32, "/nowhere/x"])
def test_what_is_no_name_is_refused_before_any_query(text: str) -> None:
    def never(sql: str, limit: int) -> Any:
        raise AssertionError(sql)

    with pytest.raises(InvalidError):
        subject_of(text)
    with pytest.raises(InvalidError):
        lineage(text, never)


def test_a_file_here_is_named_by_its_hash(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"picture")
    assert subject_of(str(path)) == hashlib.sha256(b"picture").hexdigest()


def test_ids_of_the_fixture_are_distinct() -> None:
    assert all(a != b for a, b in itertools.combinations((FILE, OTHER, ONE, TWO, REQUEST, LATER, LEASE), 2))
