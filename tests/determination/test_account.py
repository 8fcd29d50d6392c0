"""The account of an intake run: what can be counted again is, what was stated stays, no order tells of names."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import IntegrityError
from enclave.determination.account import FileAccount, account_table, read_account
from enclave.determination.certificate import Certificate, Expert, ReleaseTerms
from enclave.determination.replay import Compared, compare, not_derivable

pytestmark = pytest.mark.row("S13.7")
STATED = {"counts": {"patients": 3}, "deidentification": {"max_shift_days": 730}, "quality": {"residual_hits": 0}}
file = st.tuples(st.integers(0, 9), st.sampled_from(["", "not_dicom", "encrypted"]), st.integers(0, 3))


def files_of(rows: list[Any]) -> list[FileAccount]:
    return [
        FileAccount(
            input_sha256=hashlib.sha256(str(n).encode()).hexdigest(),
            output_sha256="" if reason else hashlib.sha256(f"out {n}".encode()).hexdigest(),
            reason=reason,
            actions={"removed": times, "kept": 1},
            redactions={} if reason else {"burned-in text": times},
        )
        for n, reason, times in rows
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(file, max_size=30))
def test_what_it_says_of_files_is_counted_from_them(rows: list[Any]) -> None:
    found = read_account(account_table(files_of(rows), stated=STATED))
    held = Counter(reason for _, reason, _ in rows if reason)
    assert found["counts"] == {
        "patients": 3,
        "files_in": len(rows),
        "files_out": len(rows) - held.total(),
        "quarantined": held.total(),
        "quarantine_reasons": dict(held),
    }
    removed, blanked = sum(times for *_, times in rows), sum(times for _, reason, times in rows if not reason)
    actions = {"removed": removed, "kept": len(rows)} if rows else {}
    assert found["deidentification"]["actions"] == actions
    assert found["deidentification"]["redactions"].get("burned-in text", 0) == blanked
    assert found["deidentification"]["max_shift_days"] == 730
    assert found["quality"] == {"residual_hits": 0}


def test_the_order_in_which_files_came_is_not_kept() -> None:
    files = files_of([(n, "", 1) for n in range(9)])
    assert account_table(files, stated=STATED).equals(account_table(files[::-1], stated=STATED))


@pytest.mark.parametrize(
    "table", [pa.table({"a": ["x"]}), account_table([], stated={}), account_table([], stated=STATED).drop(["reason"])]
)
def test_another_table_is_not_taken_for_an_account(table: Any) -> None:
    with pytest.raises(IntegrityError):
        read_account(table)


# ── comparing a certificate with it ─────────────────────────────────────────


def certificate(**changes: Any) -> Certificate:
    sections: dict[str, Any] = {"counts": {"files_in": 2, "patients": 3}, "quality": {"residual_hits": 0}, **changes}
    return Certificate(
        id="0" * 32,
        dataset="demo-ct",
        version=1,
        content_root="ab" * 32,
        expert=Expert(principal="edgar", name="E", qualification="Q", independence="I", engagement="E-1"),
        steward="stella",
        release=ReleaseTerms(model="enclave", recipients=("demo",)),
        drafted="2026-01-01T00:00:00.000000Z",
        not_before="2026-01-01T00:00:00.000000Z",
        expires="2027-01-01T00:00:00.000000Z",
        **sections,
    )


def compared(asked: Certificate, *, account: Any) -> tuple[Compared, ...]:
    return compare(asked, counts={}, results={}, account=account)


def test_what_people_declared_beside_the_account_is_named_and_not_compared() -> None:
    account = read_account(account_table(files_of([(0, "", 1), (1, "not_dicom", 0)]), stated=STATED))
    asked = certificate(quality={"residual_hits": 0, "second_reader": "none found"})
    found = compared(asked, account=account)
    assert {one.name for one in found} == {"counts.files_in", "counts.patients", "quality.residual_hits"}
    assert all(one.ok for one in found)
    assert not_derivable(asked, compared=frozenset(one.name for one in found)) == ("quality.second_reader",)


def test_a_part_that_is_stated_as_empty_must_be_empty_in_the_account() -> None:
    account = read_account(account_table(files_of([(0, "", 1), (1, "not_dicom", 0)]), stated=STATED))
    asked = certificate(counts={"files_in": 2, "quarantine_reasons": {}})
    assert [one.name for one in compared(asked, account=account) if not one.ok] == [
        "counts.quarantine_reasons.not_dicom"
    ]


def test_without_an_account_nothing_of_it_counts_as_compared() -> None:
    asked = certificate(results={})
    assert compared(asked, account=None) == ()
    assert not_derivable(asked) == ("quality", "counts.patients", "counts.files_in")
