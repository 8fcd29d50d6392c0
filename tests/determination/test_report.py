"""The report that people read: figures with their numbers in words and tables, nothing that runs or loads."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need
from statements import CONDITIONS, EVIDENCE, TERMS

from enclave.cli.main import main
from enclave.core.ids import VersionName
from enclave.determination.certificate import Expert, ReleaseTerms, SignedCertificate, certificate_text, pack
from enclave.determination.drafting import DraftConfig, draft_certificate
from enclave.determination.plots import Plot, figure, number
from enclave.determination.profile import BINS, THRESHOLDS, class_profile
from enclave.determination.report import plots_of, report_html
from enclave.runtime.clock import SystemClock

pytestmark = pytest.mark.row("S13.7")

BEFORE = pa.table({"id": [1, 2, 3, 4, 5, 5], "age": [30, 31, 32, 33, 34, 34], "sex": list("FFMMFF")})
AFTER = pa.table({"id": [1, 2, 3, 4, 5, 5], "age": ["*"] * 6, "sex": list("FFMMFF")})


def profile(table: pa.Table, *, k: int = 3) -> dict[str, Any]:
    return class_profile(table, quasi_identifiers=("age", "sex"), subject="id", k=k)


def signed(**results: Any) -> SignedCertificate:
    person = Expert(principal="edgar", name="<b>Edgar", qualification="Q", independence="I", engagement="E")
    config = DraftConfig(
        expert=person, release=ReleaseTerms(model="enclave", recipients=("demo",), **TERMS), conditions=CONDITIONS
    )
    measured = {
        side: {"prosecutor": {"max": 1.0, "share_at_risk": 0.5}, "marketer": None} for side in ("before", "after")
    }
    certificate = draft_certificate(
        config,
        {},
        certificate_id="0" * 32,
        name=VersionName("demo-ct", 1),
        content_root="ab" * 32,
        steward="stella",
        evidence={**EVIDENCE, "results": {**measured, **results}},
        at=SystemClock().now(),
    )
    return SignedCertificate(certificate_text(certificate))


WHOLE = {"profile": {"before": profile(BEFORE), "after": profile(AFTER)}}


class Read(HTMLParser):
    """What stands in a page: the tags, and the text of those asked about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


def test_classes_are_counted_by_subject_and_a_column_less_shows_what_drives_the_risk() -> None:
    found = profile(BEFORE)
    assert (found["subjects"], found["classes"]) == (5, 5)
    assert found["histogram"][0] == {"from": 1, "to": 1, "classes": 5, "subjects": 5}
    assert (found["at_risk"]["2"], found["at_risk_at_k"]) == (1.0, 1.0)
    assert found["without"] == {"age": 0.4, "sex": 1.0}
    assert profile(AFTER)["at_risk"]["3"] == 0.4


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None]), st.integers(0, 3)), max_size=60))
def test_every_subject_stands_in_one_bin_per_class_and_shares_grow_with_the_threshold(rows: list[Any]) -> None:
    table = pa.table(
        {
            "id": pa.array([row[0] for row in rows], pa.int64()),
            "sex": pa.array([row[1] for row in rows], pa.string()),
            "age": pa.array([row[2] for row in rows], pa.int64()),
        }
    )
    for subject in ("id", None):
        found = class_profile(table, quasi_identifiers=("age", "sex"), subject=subject, k=5)
        classes = {(row[1], row[2]) for row in rows}
        assert found["classes"] == len(classes) == sum(row["classes"] for row in found["histogram"])
        assert found["subjects"] == sum(row["subjects"] for row in found["histogram"])
        shares = [found["at_risk"][str(limit)] for limit in THRESHOLDS]
        assert shares == sorted(shares) if rows else shares == [None] * len(THRESHOLDS)
    assert len(found["histogram"]) == len(BINS)


def test_the_page_has_four_figures_each_with_title_description_and_table() -> None:
    page = Read(report_html(signed(**WHOLE)))
    assert page.count("figure") == page.count("svg") == page.count("title") - 1 == page.count("desc") == 4
    assert page.count("caption") == page.count("figcaption") == 4
    images = [attributes for tag, attributes in page.tags if tag == "svg"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    for attributes in images:
        assert attributes["role"] == "img"
        assert set(str(attributes["aria-labelledby"]).split()) <= ids
    scopes = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert set(scopes) == {"row", "col"}
    assert ("html", {"lang": "en"}) in page.tags
    for said in ("k = 3", "class of 2", "age drives it the most", "ab" * 32, "voter lists", "not available"):
        assert said in page.text, said


def test_every_number_that_is_drawn_stands_in_a_table_too() -> None:
    for plot in plots_of(json_certificate(signed(**WHOLE))):
        table = figure(plot).partition("<table>")[2]
        for name, values in plot.rows:
            assert name in table
            assert all(number(value, share=plot.share) in table for value in values)


def json_certificate(found: SignedCertificate) -> Any:
    from enclave.determination.certificate import parse_certificate

    return parse_certificate(found.text)


STACK = {
    "modality": "CT",
    "images": 108,
    "brain_cc": 1442.4,
    "brain_lost": 0.0,
    "face_gone": 1.0,
    "removed_share": 0.17,
}


def with_faces(faces: Any, *, shown: Any = ()) -> SignedCertificate:
    sections = {"deidentification": {"faces": faces}, "quality": {"faces": {"measured": 1, "shown": shown}}}
    found = json_certificate(signed())
    return SignedCertificate(certificate_text(replace(found, **sections)))


@pytest.mark.row("S13.4")
def test_of_each_series_that_lost_its_face_the_page_has_what_was_measured_and_where_the_head_is_seen() -> None:
    told = {"removed": 216, "stripped": 0, "not_recognisable": {"no_surface": 9}, "held": {"moved": 3}}
    held = with_faces(
        {**told, "stacks": [STACK, {"modality": "PT", "images": 5}]}, shown=[{"series": "1.2.3", **STACK}]
    )
    page = Read(report_html(held))
    for said in ("216", "no surface: 9", "moved: 3", "1,442.40", "100.0%", "17.0%", "not measured", "does not exclude"):
        assert said in page.text, said
    assert f"determinations/{'0' * 32}/faces" in page.text
    assert [attributes for tag, attributes in page.tags if tag in ("a", "img")] == []
    linked = Read(report_html(held, faces="faces"))
    assert [attributes["href"] for tag, attributes in linked.tags if tag == "a"] == ["faces"]


@pytest.mark.row("S13.4")
@pytest.mark.parametrize(
    "faces",
    [
        *(None, [], "x", {"removed": "many", "stacks": "x", "held": 1}),
        {"stacks": [3, {"modality": "<b>x", "brain_cc": "1", "brain_lost": True}] * 300},
    ],
)
def test_a_certificate_that_says_other_things_of_faces_is_a_page_all_the_same(faces: Any) -> None:
    html = report_html(with_faces(faces, shown=[{"series": "../x"}, 7]), faces="faces")
    assert "<b>x" not in html
    assert ("<h2>Faces</h2>" in html) is isinstance(faces, dict)
    assert Read(html).count("a") == 0
    assert html.count("<td>&lt;b&gt;x</td>") <= 200


def test_nothing_in_the_page_runs_or_loads_and_names_are_only_text() -> None:
    html = report_html(signed(**WHOLE))
    page = Read(html)
    assert not {"script", "link", "img", "iframe", "object", "b", "a"} & {tag for tag, _ in page.tags}
    assert "&lt;b&gt;Edgar" in html
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "src"]
    assert "default-src 'none'" in html


@pytest.mark.parametrize("results", [{}, {"profile": None}, {"profile": {"before": profile(BEFORE)}}])
def test_what_was_not_measured_is_said_to_be_missing(results: dict[str, Any]) -> None:
    page = Read(report_html(signed(**results)))
    assert page.count("figure") == 1
    assert "cannot be drawn" in page.text
    assert "nobody has signed" in page.text


@given(st.floats(0, 1))
def test_a_share_that_is_not_nothing_never_reads_as_nothing(share: float) -> None:
    assert (number(share, share=True) == "0.0%") is (share == 0)


def test_a_plot_without_numbers_is_still_a_figure() -> None:
    assert "not available" in figure(Plot(id="x", title="T", reading="R", series=("a",), rows=(("one", (None,)),)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*argv: object) -> int:
        monkeypatch.setattr(sys, "argv", ["enclave", *map(str, argv)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


def test_the_command_writes_the_page_and_only_from_an_unaltered_certificate(run: Any, tmp_path: Path) -> None:
    (tmp_path / "C.json").write_bytes(pack(signed(**WHOLE)))
    assert run("determination", "report", tmp_path / "C.json", "--output", tmp_path / "r.html") == 0
    assert (tmp_path / "r.html").read_text("utf-8") == report_html(signed_again(tmp_path))
    (tmp_path / "C.json").write_bytes(b"{}")
    assert run("determination", "report", tmp_path / "C.json", "--output", tmp_path / "r.html") == 15


def signed_again(folder: Path) -> SignedCertificate:
    from enclave.determination.certificate import unpack

    return unpack((folder / "C.json").read_bytes())


@pytest.mark.slow
def test_the_command_prints_a_pdf_with_chromium(run: Any, tmp_path: Path) -> None:
    need("chromium")
    (tmp_path / "C.json").write_bytes(pack(signed(**WHOLE)))
    files = ("--output", tmp_path / "r.html", "--pdf", tmp_path / "r.pdf")
    assert run("determination", "report", tmp_path / "C.json", *files) == 0
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF-")


def test_without_chromium_the_page_is_written_and_the_pdf_refused(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "C.json").write_bytes(pack(signed(**WHOLE)))
    files = ("--output", tmp_path / "r.html", "--pdf", tmp_path / "r.pdf")
    assert run("determination", "report", tmp_path / "C.json", *files) == 14
    assert (tmp_path / "r.html").exists()
    assert not (tmp_path / "r.pdf").exists()
