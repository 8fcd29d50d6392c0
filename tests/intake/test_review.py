"""A person looks at a sample of each batch; who handed it in does not judge it, and each word stands in the ledger."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from enclave.core.errors import DeniedError, InvalidError, NotFoundError, UnavailableError
from enclave.wire.messages.intake import LookAtItem, ReviewImage, ShowBatch

pytestmark = pytest.mark.row("S13.6")


def test_the_sample_is_complete_when_somebody_else_has_looked_at_each_image(stand: Any, cohort: Any) -> None:
    folder: Path = cohort[0]
    batch = stand.wait(stand.add(folder))
    assert batch.state == "sealed", batch.message
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


def test_a_no_needs_a_reason_which_stands_in_the_record_and_sealed_in_the_ledger(stand: Any, cohort: Any) -> None:
    batch = stand.wait(stand.add(cohort[0]))
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
    stand: Any, cohort: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.intake.pipeline._PAUSES_S", ())
    stand.change_recipe(tmp_path / "recipes", line='review = "required"')
    batch = stand.wait(stand.add(cohort[0]))
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
    stand: Any, cohort: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = stand.wait(stand.add(cohort[0]))
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


def test_without_a_receipt_of_the_ledger_nothing_is_looked_at(stand: Any, cohort: Any) -> None:
    batch = stand.wait(stand.add(cohort[0]))
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        stand.ask(LookAtItem(token="hana-token", id=batch.id, image=next(iter(batch.review))))
    stand.auditd.start()
