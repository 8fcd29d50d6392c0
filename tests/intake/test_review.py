"""A person looks at a sample of each batch; who handed it in does not judge it, and each word stands in the ledger."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from dicom_objects import encoded
from document_cohort import letter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from enclave.core.errors import DeniedError, InvalidError, NotFoundError, UnavailableError
from enclave.core.secret import Secret
from enclave.deid.job import JobResult
from enclave.deid.plain_pdf import write_pdf
from enclave.deid.provenance import write_provenance
from enclave.deid.worker import Outcome
from enclave.intake import material
from enclave.intake.review import item_of
from enclave.keys.box import box_of
from enclave.wire.messages.intake import LookAtItem, ReviewImage, ReviewItem, ShowBatch

pytestmark = [pytest.mark.slow, pytest.mark.row("S13.6")]


def test_the_sample_is_complete_when_somebody_else_has_looked_at_each_image(handed_in: Any) -> None:
    stand, batch = handed_in
    images = list(batch.review)
    assert images
    marked = stand.registry.registered[-1].summary["quality"]["review"]
    assert marked == {
        "sample": len(images),
        "waiting": len(images),
        "unclean": 0,
        "state": "pending",
        "required": False,
    }

    def judge(image: str, *, token: str = "hana-token", clean: bool = True) -> Any:
        return stand.ask(ReviewImage(token=token, id=batch.id, image=image, clean=clean))

    for token, code in (("stella-token", "reviews_own_batch"), ("rosa-token", "role"), ("x", "token_invalid")):
        with pytest.raises(DeniedError) as caught:
            judge(images[0], token=token)
        assert caught.value.code == code
    with pytest.raises(DeniedError):
        judge("1.2.3")
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        judge(images[0])
    stand.auditd.start()
    for image in images:
        after = judge(image)
    assert after.summary["quality"]["review"]["state"] == "complete"
    with pytest.raises(DeniedError):
        judge(images[0], clean=False)
    stand.stop()
    stand.start()
    kept = stand.ask(ShowBatch(token="hana-token", id=batch.id))
    assert {judgement["by"] for judgement in kept.review.values()} == {"hana"}
    told = stand.auditd.events(kind="intake.review")
    assert [event["outcome"] for event in told] == ["refused"] * 4 + ["ok"] * len(images) + ["refused"]
    assert told[-2]["detail"] == {"batch": batch.id, "clean": True, "waiting": 0}


def test_whether_there_is_such_a_batch_is_told_only_to_who_may_see_the_list(stand: Any) -> None:
    asked = {"id": "0" * 32, "image": "1.2.3", "clean": True}
    with pytest.raises(NotFoundError):
        stand.ask(ReviewImage(token="hana-token", **asked))
    for token, code in (("rosa-token", "role"), ("x", "token_invalid")):
        with pytest.raises(DeniedError) as caught:
            stand.ask(ReviewImage(token=token, **asked))
        assert caught.value.code == code
    refused = stand.auditd.events(kind="intake.list", outcome="refused")
    assert [event["reason"] for event in refused] == ["role", "token_invalid"]
    with pytest.raises(NotFoundError):
        stand.ask(LookAtItem(token="hana-token", id="0" * 32, image="1.2.3"))
    with pytest.raises(NotFoundError):
        stand.ask(ShowBatch(token="hana-token", id="0" * 32))
    with pytest.raises(InvalidError):
        stand.ask(ShowBatch(token="hana-token", id="no id"))
    told = [event for event in stand.auditd.events(outcome="refused") if event["actor"] == "hana"]
    assert [(event["kind"], event["reason"]) for event in told] == [
        ("intake.review", "not_found"),
        ("intake.look", "not_found"),
        ("intake.list", "not_found"),
        ("intake.list", "invalid"),
    ]
    assert "no id" not in str(told)


def test_a_no_needs_a_reason_which_stands_in_the_record_and_sealed_in_the_ledger(handed_in: Any) -> None:
    stand, batch = handed_in
    first, second, *_ = batch.review
    for reason in ("", " ", "x" * 2001):
        with pytest.raises(InvalidError):
            stand.ask(ReviewImage(token="hana-token", id=batch.id, image=first, clean=False, reason=reason))
    stand.ask(ReviewImage(token="hana-token", id=batch.id, image=first, clean=False, reason="A name at the edge."))
    after = stand.ask(ReviewImage(token="hana-token", id=batch.id, image=second, clean=True))
    assert [after.review[item]["reason"] for item in (first, second)] == ["A name at the edge.", ""]
    told = stand.auditd.events(kind="intake.review")
    assert [(event["outcome"], event.get("reason")) for event in told] == [
        *[("refused", "reason_missing")] * 3,
        ("ok", None),
        ("ok", None),
    ]
    assert "A name at the edge." not in str(told)


def test_the_registry_hears_of_each_judgement_and_of_what_it_missed_at_the_next_start(
    stand: Any, few_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.intake.pipeline._PAUSES_S", ())
    stand.change_recipe(tmp_path / "recipes", line='review = "required"')
    batch = stand.wait(stand.add(few_images[0]))
    (registered,) = stand.registry.registered
    assert (registered.review, registered.sample) == ("required", len(batch.review))
    assert batch.summary["quality"]["review"]["required"] is True
    texts = [item for item in batch.review if "/" in item]
    assert {item.partition("[")[0] for item in texts} == {"patients/note", "visits/remark"}
    first, second, *_ = batch.review
    stand.ask(ReviewImage(token="hana-token", id=batch.id, image=first, clean=True))
    assert stand.registry.noted[-1].waiting == len(batch.review) - 1
    stand.registry.stop()
    after = stand.ask(ReviewImage(token="hana-token", id=batch.id, image=second, clean=False, reason="A name."))
    assert after.summary["quality"]["review"]["state"] == "findings"
    stand.registry.start()
    stand.stop()
    stand.start()
    assert (stand.registry.noted[-1].waiting, stand.registry.noted[-1].unclean) == (len(batch.review) - 2, 1)


def test_a_reviewer_sees_each_item_until_it_is_judged_and_nobody_else_does(
    stand: Any, few_images: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = stand.wait(stand.add(few_images[0]))
    picture = next(item for item in batch.review if "/" not in item)
    text = next(item for item in batch.review if "/" in item)

    def look(item: str, *, token: str = "hana-token") -> Any:
        return stand.ask(LookAtItem(token=token, id=batch.id, image=item))

    seen = look(picture)
    assert seen.kind == "picture"
    assert Image.open(io.BytesIO(base64.b64decode(seen.picture))).mode == "L"
    words = look(text).text
    assert words
    for token, code in (("stella-token", "reviews_own_batch"), ("rosa-token", "role"), ("x", "token_invalid")):
        with pytest.raises(DeniedError) as caught:
            look(text, token=token)
        assert caught.value.code == code
    with pytest.raises(DeniedError):
        look("patients/note[99999]")
    stand.ask(ReviewImage(token="hana-token", id=batch.id, image=text, clean=True))
    with pytest.raises(DeniedError):
        look(text)
    stand.stop()
    stand.start()
    assert look(picture) == seen
    told = stand.auditd.events(kind="intake.look")
    assert [event["outcome"] for event in told] == ["ok", "ok", *["refused"] * 5, "ok"]
    assert (told[0]["objects"], told[0]["actor"]) == ([picture], "hana")
    captured = capfd.readouterr()
    held = captured.out + captured.err + str(stand.auditd.events())
    assert words not in held
    for path in stand.home.root.rglob("*"):
        if path.is_file():
            assert words.encode() not in path.read_bytes(), path


def test_without_a_receipt_of_the_ledger_nothing_is_looked_at(handed_in: Any) -> None:
    stand, batch = handed_in
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        stand.ask(LookAtItem(token="hana-token", id=batch.id, image=next(iter(batch.review))))
    stand.auditd.start()


def test_a_text_too_long_for_one_item_waits_in_parts_each_of_which_somebody_must_judge(
    stand: Any, few_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.intake.material._MAX_TEXT", 12)
    batch = stand.wait(stand.add(few_images[0]))

    def look(item: str) -> str:
        return stand.ask(LookAtItem(token="hana-token", id=batch.id, image=item)).text

    first = next(item for item in batch.review if item.endswith("][3]")).removesuffix("[3]")
    parts = [item for item in batch.review if item == first or item.startswith(f"{first}[")]
    assert parts[:3] == [first, f"{first}[2]", f"{first}[3]"]
    shown = [look(part) for part in parts]
    assert max(map(len, shown)) <= 12
    assert len("".join(shown)) > 24
    assert stand.registry.registered[-1].sample == len(batch.review)
    for part in parts[:-1]:
        stand.ask(ReviewImage(token="hana-token", id=batch.id, image=part, clean=True))
    after = stand.ask(ReviewImage(token="hana-token", id=batch.id, image=parts[-1], clean=False, reason="A name."))
    assert after.summary["quality"]["review"]["state"] == "findings"


@settings(max_examples=50, deadline=None)
@given(st.text("ab \n", max_size=120), st.integers(1, 20))
def test_the_parts_of_a_text_are_all_of_it(text: str, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "_MAX_TEXT", most)
        parts = [one.text for one in material._parts(ReviewItem(kind="text", text=text))]
    assert "".join(parts) == text
    assert max(map(len, parts)) <= most
    if max(map(len, text.split()), default=0) < most:
        assert [word for part in parts for word in part.split()] == text.split()


def test_a_reviewer_sees_all_of_a_long_document(tmp_path: Path) -> None:
    lines = [f"Finding {number} is without change since the last visit." for number in range(4_000)]
    (tmp_path / "dicom").mkdir()
    document = letter({"name": "A, B", "patient_id": "1", "age": "60", "phone": "", "address": ""}, 1)
    document.EncapsulatedDocument = write_pdf([lines])
    (tmp_path / "dicom" / "1.dcm").write_bytes(encoded(document))
    done = Outcome(0, path="dicom/1.dcm", redactions=[("00420011", "review")])
    write_provenance(tmp_path / "provenance.parquet", outcomes=[done], options=())
    kept = material.ReviewMaterial(tmp_path / "material", box=box_of(Secret(bytes(32))))
    sample = kept.keep("b", sample=["dicom/1.dcm#text"], work=tmp_path, job=JobResult({}, [], []))
    assert sample == ["dicom/1.dcm#text", "dicom/1.dcm#text[2]", "dicom/1.dcm#text[3]"]
    shown = "".join(kept.show("b", item_of(path)).text for path in sample)
    assert [line for line in shown.split("\n") if line] == lines
