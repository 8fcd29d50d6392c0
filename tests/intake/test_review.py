"""A person looks at a sample of each batch; who handed it in does not judge it, and each word stands in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import DeniedError, UnavailableError
from enclave.wire.messages.intake import ReviewImage, ShowBatch

pytestmark = pytest.mark.row("S13.6")


def test_the_sample_is_complete_when_somebody_else_has_looked_at_each_image(stand: Any, cohort: Any) -> None:
    folder: Path = cohort[0]
    batch = stand.wait(stand.add(folder))
    assert batch.state == "sealed", batch.message
    images = list(batch.review)
    assert images
    marked = stand.registry.registered[-1].summary["quality"]["review"]
    assert marked == {"sample": len(images), "waiting": len(images), "unclean": 0, "state": "pending"}

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
