"""Documents and reports become sealed text: of measured patients only, counted, flagged, and read through a lease."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dicom_objects import encoded
from document_cohort import DocumentCohort, letter, make_document_cohort, report, said_of
from hypothesis import given
from hypothesis import strategies as st
from pages import hand_over

import enclave_kernel
from enclave.broker.daemon import BrokerDaemon
from enclave.broker.replay import replay
from enclave.broker.residual import count_survivors
from enclave.broker.settings import BrokerSettings
from enclave.core.clock import format_time
from enclave.core.errors import InvalidError
from enclave.core.ids import VersionName
from enclave.deid.keyring import open_keyring
from enclave.deid.plain_pdf import write_pdf
from enclave.determination.certificate import SignedCertificate, parse_certificate
from enclave.determination.report import report_html
from enclave.intake.documents import collect_documents
from enclave.intake.recipe import read_intake_recipe
from enclave.intake.withheld import Withheld
from enclave.keys.uri import file_uri
from enclave.runtime.log import Log
from enclave.sealed.reader import open_unwrapper, open_version
from enclave.sealed.store import SealedStore
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import OpenListener, Reads, TakePage
from enclave.wire.messages.facts import AskLeaseFacts, LeaseFacts
from enclave.wire.messages.intake import Batch
from enclave.wire.page import ExecutionPage
from enclave.wire.peer import WireServer
from enclave_kernel.errors import EnclaveError
from enclave_kernel.listing import Object

SHIPPED = Path(str(files("enclave.intake").joinpath("recipes")))


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> DocumentCohort:
    """Four letters and a report of five patients in the table, and a letter about somebody who is not in it."""
    return make_document_cohort(tmp_path_factory.mktemp("documents") / "in")


@pytest.fixture
def sealed(stand: Any, documents: DocumentCohort) -> Batch:
    batch: Batch = stand.wait(stand.add(documents.folder, dataset="letters"))
    assert (batch.state, batch.message) == ("sealed", "")
    return batch


def opened(stand: Any) -> Any:
    unwrapper = open_unwrapper(file_uri(stand.home.key_file("kek")))
    return open_version(SealedStore(stand.home.state("sealed")), VersionName("letters", 1), unwrapper=unwrapper)


def read(version: Any, name: str) -> bytes:
    data = bytearray()
    version.pieces(name, data.extend)
    return bytes(data)


class Stand:
    """A real broker over what intake sealed; ``facts`` is what the registry says of rosa in project demo."""

    def __init__(self, intake: Any) -> None:
        self.home = intake.home
        intake.registry.stop()
        root = opened(intake).content_root
        now = datetime.now(UTC)
        self.facts = LeaseFacts(
            project_state="open", member_role="researcher", dataset="letters", version=1, version_state="released",
            content_root=root, released_to_project=True, certificate_id="c" * 32, certificate_valid=True,
            certificate_reason="ok", certificate_root=root, not_before=format_time(now - timedelta(days=1)),
            expires=format_time(now + timedelta(days=9)), certificate_expert="edgar", version_steward="stella",
            grant_id="a" * 32, grant_state="active",
        )  # fmt: skip
        socket = self.home.socket("registryd")
        self.registry = WireServer(socket, {AskLeaseFacts: self._lease}, log=Log("registryd"), allowed_uids=None)
        self.broker = BrokerDaemon(self.home, log=Log("brokerd"), settings=BrokerSettings())

    def _lease(self, message: AskLeaseFacts, _call: Any) -> LeaseFacts:
        if (message.person, message.project) == ("rosa", "demo"):
            return self.facts
        return replace(self.facts, released_to_project=message.project == "demo", grant_id="", grant_state="")

    def ask(self, message: Any) -> Any:
        return WireClient(self.home.socket("brokerd")).call(message)

    def become(self, *, person: str = "rosa", project: str = "demo") -> str:
        """From now on this process is a kernel of that person; its id."""
        kernel = secrets.token_hex(16)
        folder = self.home.run_dir / "k" / kernel[:8]
        folder.mkdir(parents=True)
        listener = {"role": "researcher", "directory": str(folder), "uid": os.getuid()}
        self.ask(OpenListener(kernel=kernel, person=person, project=project, **listener))
        self.page = ExecutionPage(kernel)
        hand_over(self.home.socket("brokerd"), TakePage(kernel=kernel), self.page)
        self.drop()
        os.environ["ENCLAVE_RUN_DIR"] = str(folder)
        return kernel

    def drop(self) -> None:
        enclave_kernel.dataset._lease._drop()
        os.environ.pop("ENCLAVE_RUN_DIR", None)


@pytest.fixture
def broker(stand: Any, sealed: Batch) -> Iterator[Stand]:
    made = Stand(stand)
    made.registry.start()
    made.broker.start()
    yield made
    made.drop()
    made.broker.close()
    made.registry.close()


@pytest.mark.row("S13.2")
def test_documents_are_sealed_as_cleaned_text_bound_into_the_root_and_counted(
    stand: Any, documents: DocumentCohort, sealed: Batch, capfd: pytest.CaptureFixture[str]
) -> None:
    version = opened(stand)
    entries = [entry for entry in version.manifest.entries if entry.kind == "document"]
    assert sorted(entry.header["form"] for entry in entries) == ["pdf", "pdf", "pdf", "report"]
    assert all(set(entry.header) == {"form", "modality", "flagged"} for entry in entries)
    without = replace(version.manifest, entries=tuple(one for one in version.manifest.entries if one != entries[0]))
    assert without.content_root != version.content_root
    texts = {entry.name: read(version, entry.name).decode() for entry in entries}
    report = next(texts[entry.name] for entry in entries if entry.header["form"] == "report")
    assert report.startswith(
        "Imaging Measurement Report\n  Length property (qualifier value): 12.5 mm\n  Finding: There is"
    )
    letters = [" ".join(texts[entry.name].split()) for entry in entries if entry.header["form"] == "pdf"]
    assert all("small pleural effusion on the left without change" in text for text in letters)
    assert count_survivors(stand.home, "letters", 1, documents.planted.patterns()) == 0
    for text in (*texts.values(), json.dumps(sealed.summary), capfd.readouterr().err):
        lowered = text.lower()
        assert not [gone for gone in documents.planted.identifiers if gone.lower() in lowered]
    index = pa.ipc.open_file(read(version, "tables/documents")).read_all().to_pylist()
    assert {f"documents/{row['document']}" for row in index} == set(texts)
    counts = sealed.summary["counts"]
    assert counts["documents"] == {"pdf": 3, "report": 1, "flagged": 4}
    assert counts["series_left_out"] == {"patient_suppressed": 1}
    assert counts["studies"] == 4


def test_who_is_left_out_of_the_measured_table_or_never_was_in_it_is_so_with_all_documents(
    stand: Any, documents: DocumentCohort, sealed: Batch
) -> None:
    assert sealed.summary["results"]["suppressed_rows"] == 1
    assert sealed.summary["counts"]["documents_left_out"] == {"patient_suppressed": 1, "patient_not_measured": 1}
    version = opened(stand)
    index = pa.ipc.open_file(read(version, "tables/documents")).read_all().to_pylist()
    keyring = open_keyring(stand.home.key_file("pseudonym-letters"))
    gone = {keyring.patient_id(number) for number in (documents.outlier, "MRN00481044")}
    assert not gone & {row["patient_id"] for row in index}
    patients = pa.ipc.open_file(read(version, "tables/patients")).read_all().column("patient_id").to_pylist()
    assert {row["patient_id"] for row in index} <= set(patients)


def test_a_document_does_not_tell_the_age_that_the_table_generalised(stand: Any, sealed: Batch) -> None:
    version = opened(stand)
    assert sealed.summary["results"]["levels"]["age"] > 0
    texts = [read(version, one.name).decode() for one in version.manifest.entries if one.kind == "document"]
    assert sum("This REMOVED patient was seen for cough" in " ".join(text.split()) for text in texts) == 3


def test_the_columns_of_text_do_not_tell_it_either_and_the_evidence_counts_their_cells(
    stand: Any, sealed: Batch
) -> None:
    version = opened(stand)
    patients, visits = (
        pa.ipc.open_file(read(version, f"tables/{name}")).read_all().to_pylist() for name in ("patients", "visits")
    )
    said = [row["note"] for row in patients if row["note"] and "was seen for cough" in row["note"]]
    assert said == [said_of("60").replace("60-year-old", "REMOVED")] * 3
    measured = {row["patient_id"] for row in patients}
    strangers = [row for row in visits if row["patient_id"] not in measured]
    assert [row["remark"] for row in strangers] == [None]  # who was not measured keeps no text
    assert sum("This REMOVED patient" in (row["remark"] or "") for row in visits) == 1
    told = sealed.summary["counts"]["texts_withheld"]
    assert told == {"documents": 3, "tables": {"patients": {"note": 3}, "visits": {"remark": 2}}}
    (text,) = stand.registry.proposed.values()
    certificate = parse_certificate(text.encode())
    assert certificate.counts["texts_withheld"] == told
    other = {**certificate.counts, "texts_withheld": {**told, "documents": 2}}
    differing = [one for one in replay(version, replace(certificate, counts=other)) if not one.ok]
    assert [(one.name, one.by) for one in differing] == [("counts.texts_withheld.documents", "account")]


def test_the_draft_says_how_many_texts_wait_for_a_person_and_a_review_is_required(stand: Any, sealed: Batch) -> None:
    (registered,) = stand.registry.registered
    assert registered.review == "required"
    told = sealed.summary["quality"]["documents"]
    assert (told["flagged"], told["in_sample"]) == (4, 4)
    assert sum(item.endswith("/text") for item in sealed.review) >= 4
    (text,) = stand.registry.proposed.values()
    certificate = parse_certificate(text.encode())
    page = report_html(SignedCertificate(text=text.encode()))
    assert "4 documents with cleaned free text" in page
    version = opened(stand)
    assert [one.name for one in replay(version, certificate) if not one.ok] == []
    counts = {**certificate.counts, "documents": {"pdf": 0, "report": 1, "flagged": 1}}
    differing = [one.name for one in replay(version, replace(certificate, counts=counts)) if not one.ok]
    assert differing == ["counts.documents.flagged", "counts.documents.pdf"]
    for silent in (
        {name: one for name, one in certificate.counts.items() if name != "documents"},
        {**certificate.counts, "documents": {}},
        {},
    ):
        differing = [one for one in replay(version, replace(certificate, counts=silent)) if not one.ok]
        assert [(one.name, one.stated, one.found) for one in differing if "documents." in one.name] == [
            ("counts.documents.flagged", None, 4),
            ("counts.documents.pdf", None, 3),
            ("counts.documents.report", None, 1),
        ]


def test_a_document_is_read_through_a_lease_as_an_event_and_refused_to_neighbours(stand: Any, broker: Stand) -> None:
    kernel = broker.become()
    broker.page.show("e" * 32)
    ds = enclave_kernel.open("letters")
    letter = next(one for one in ds.documents if one.modality == "DOC")
    assert "pleural effusion" in ds.document(letter)
    assert ds.document(letter.name.partition("/")[2]) == ds.document(letter)
    assert {f"documents/{name}" for name in ds.table("documents")["document"]} == set(ds.documents.names)
    assert f"letters@1/{letter.name}" in broker.ask(Reads(kernel=kernel, cell="e" * 32)).objects
    told = [one for one in stand.auditd.events(kind="dataset.read", outcome="ok") if letter.name in one["objects"]]
    assert {(one["actor"], one["project"], one["cell"]) for one in told} == {("rosa", "demo", "e" * 32)}
    refused = []
    for act in (
        lambda: ds.document("1.2.3"),
        lambda: ds.table(letter),
        lambda: ds.memory(Object("documents/1.2.3", "document", 1)),
        lambda: ds.memory(Object("review/measured-before", "document", 1)),
    ):
        with pytest.raises(EnclaveError) as caught:
            act()
        refused.append(caught.value.code)
    assert refused == ["not_found", "invalid", "object_unknown", "object_not_leasable"]
    broker.facts = replace(broker.facts, expires="2020-01-01T00:00:00.000000Z")
    for who in ({}, {"project": "other"}, {"person": "omar"}):
        broker.become(**who)
        with pytest.raises(EnclaveError) as caught:
            enclave_kernel.open("letters")
        refused.append(caught.value.code)
    assert refused[4:] == ["certificate_expired", "not_released", "certificate_expired"]
    events = stand.auditd.events(outcome="refused")
    assert [one["reason"] for one in events if one["kind"].startswith("dataset.")] == refused[2:]
    assert "effusion" not in json.dumps(stand.auditd.events())


def test_a_table_may_not_have_the_name_of_one_that_intake_makes(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "recipes")
    shipped = (SHIPPED / "demo.toml").read_text().replace("[tables.visits.columns]", "[tables.documents.columns]")
    (tmp_path / "recipes" / "own.toml").write_text(shipped)
    with pytest.raises(InvalidError, match="names of their own, got documents"):
        read_intake_recipe("own", folder=str(tmp_path / "recipes"))


def test_where_nobody_knows_what_waits_for_a_person_every_document_does(tmp_path: Path) -> None:
    row = {"name": "A, B", "patient_id": "1", "age": "60", "phone": "", "address": ""}
    folder = tmp_path / "dicom" / "p1" / "1.2.3" / "1.2.3.4"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(encoded(report(row, 1)))
    cleaned = letter(row, 2)
    cleaned.EncapsulatedDocument = write_pdf([["A page that was cleaned."]])
    (folder / "2.dcm").write_bytes(encoded(cleaned))
    known = {name: frozenset() for name in ("dicom/p1/1.2.3/1.2.3.4/1.dcm",)}
    for flagged, waiting in ((None, 2), (known, 2), ({}, 1)):
        found = collect_documents(tmp_path / "dicom", without=frozenset(), flagged=flagged, withheld=None)
        assert found.counts() == {"pdf": 1, "report": 1, "flagged": waiting}


AGES = st.integers(0, 120)


@given(
    AGES,
    st.sampled_from(
        ["{}-year-old", "{} years old", "{}yo", "{} y/o", "{}F", "aged {}", "Age: {:0>3}Y", "{}-jährig", "{}"]
    ),
    st.sampled_from(["A {} patient", "{}", "seen at\n{}, then", "({})."]),
)
def test_an_age_that_the_table_withholds_stands_in_no_spelling(age: int, spelling: str, sentence: str) -> None:
    text = sentence.format(spelling.format(age))
    left = Withheld(frozenset({str(age)}), aged=True).without(text)
    assert str(age) not in left
    assert "REMOVED" in left


@given(AGES, st.sampled_from(["a lesion of 1{}.5 mm", "at L{}", "series {}7", "{}7.25 mm", "0.{} mm"]))
def test_a_number_that_only_has_it_as_a_part_stays(age: int, sentence: str) -> None:
    text = sentence.format(age)
    assert Withheld(frozenset({str(age)}), aged=True).without(text) == text


def test_a_value_of_several_words_goes_across_the_end_of_a_line() -> None:
    withheld = Withheld(frozenset({"New Velkomar", "40031"}))
    assert withheld.without("from new\nvelkomar (40031), 67 years old") == "from REMOVED (REMOVED), 67 years old"
