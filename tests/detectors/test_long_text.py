"""Running text: identifiers go wherever they stand, medicine stays, and a human is always asked."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.deid.text import measure
from enclave.core.errors import IntegrityError, UnavailableError
from enclave.detectors import model, reviewed
from enclave.detectors.harmless import common_words, harmless_words
from enclave.detectors.long_text import MARK, MAX_CHARS, Cleaned, clean_long_text, is_running
from enclave.detectors.words import Deny, Span, fold_word, make_deny, words_of

NOBODY = make_deny(phrases=())


class Eager:
    """Takes every word for a name: what the allow-list must stand against."""

    def spans(self, text: str) -> list[Span]:
        return [Span(word.start, word.end, "ner_person") for word in words_of(text)]


def cleaned(text: str, *, deny: Deny = NOBODY, analyzer: Any = None, **more: Any) -> Cleaned:
    return clean_long_text(text, deny=deny, analyzer=analyzer, **more)


# ── the study's own identifiers ─────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "seen with Quist today",
        "seen with QUIST^ZARA today",
        "seen with quist's daughter",
        "seen with Qüist today",
        "seen with Qu\u0308ist today",
        "record 00-12 345 on file",
        "record MRN0012345x on file",
        "file 0012345.dcm of it",
    ],
)
def test_an_identifier_of_the_study_goes_in_any_spelling(text: str) -> None:
    found = cleaned(text, deny=make_deny(phrases=["Quist"], numbers=["0012345"]))
    assert any(span.kind == "study" for span in found.spans) or "study" not in text
    assert not {"quist", "0012345", "mrn0012345x"} & {word.text for word in words_of(found.text)}
    assert "12 345" not in found.text


def test_an_identifier_wins_over_every_word_that_may_stay() -> None:
    text = "Findings suggest Hodgkin lymphoma, Parkinson disease and T1 FLAIR."
    assert cleaned(text, analyzer=Eager(), harmless=WORDS).text == text
    own = cleaned(text, deny=make_deny(phrases=["Hodgkin", "T1 FLAIR"]), analyzer=Eager(), harmless=WORDS)
    assert own.text == f"Findings suggest {MARK} lymphoma, Parkinson disease and {MARK}."


WORDS = frozenset({"findings", "suggest", "and"})


@given(st.text(max_size=60), st.text(alphabet="abcdefghijäöéÅ", min_size=3, max_size=9), st.text(max_size=60))
@settings(deadline=None, max_examples=200)
def test_a_denied_word_between_anything_never_stays(before: str, word: str, after: str) -> None:
    found = cleaned(f"{before} {word.upper()}. {after}", deny=make_deny(phrases=[word]))
    assert fold_word(word) not in {one.text for one in words_of(found.text)}


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=300)
def test_any_text_is_cleaned_in_order_without_overlap_and_again_gives_no_more(text: str) -> None:
    found = cleaned(text, analyzer=Eager())
    assert all(a.end <= b.start for a, b in zip(found.spans, found.spans[1:], strict=False))
    assert all(0 <= span.start < span.end <= len(text) for span in found.spans)
    assert found.flagged is bool(words_of(found.text.replace(MARK, "")))


# ── forms ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "planted",
    [
        *("12 March 2019", "3/14/1961", "1961-03-14", "19610314", "14.03.1961", "Mar 14, 1961", "March 2019"),
        *("(555) 010-1234", "+49 30 901820", "555-0134", "a.b@example.org", "https://example.org/x", "10.1.2.3"),
        *("123-45-6789", "A12345678", "MRN: 4711", "DOE^JANE", "DOE, JANE", "Dr. Ida Marlow", "Ida Marlow, MD"),
        *("I. Marlow", "St. Brannoc's", "Brannoc General Hospital", "University of Brannoc", "12 Elm Street"),
        *("93-year-old", "room 412", "SW1A 1AA"),
    ],
)
def test_what_identifies_by_its_form_goes_without_any_list_or_model(planted: str) -> None:
    found = cleaned(f"and then {planted} was noted in the text.")
    assert found.text == f"and then {MARK} was noted in the text.", found.spans


@pytest.mark.parametrize(
    "text",
    [
        "T1 FLAIR, T2 STIR and DWI b1000 at 1.5 T; 512 x 512 matrix, 120 kVp, TE 90, TR 4500.",
        "Disc bulge at L5-S1 and C3-C4, Gleason 7, BI-RADS 4, PI-RADS 3.",
        "Nodule of 12 x 14 mm in the left upper lobe, stable for 6 months in a 64-year-old.",
        "Hodgkin lymphoma, Chiari malformation, Crohn disease, Baker cyst, Kerley B lines.",
    ],
)
def test_medicine_and_technique_have_no_form_that_goes(text: str) -> None:
    assert cleaned(text).text == text


def test_a_text_is_cut_off_where_nobody_has_looked() -> None:
    assert len(cleaned("an " * MAX_CHARS).text) == MAX_CHARS


def test_whatever_is_left_is_flagged_for_a_human_and_nothing_is_not() -> None:
    assert cleaned("Normal study.").flagged
    assert not cleaned("3/14/1961").flagged
    assert not cleaned("").flagged


# ── the model ───────────────────────────────────────────────────────────────


def test_the_model_is_the_one_that_was_reviewed_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    folder = model.model_folder()
    digest = model.check_model(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert model.check_model(copy) == digest
    weights = copy / "ner" / "model"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        model.check_model(copy)
    weights.unlink()
    with pytest.raises(IntegrityError):
        model.check_model(copy)


def test_a_file_that_was_remembered_as_reviewed_is_refused_after_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewed, "_SETTLED_NS", -1)  # remembered at once
    file, listed = tmp_path / "model", tmp_path / "listed"
    file.write_bytes(b"weights")
    listed.write_text(f"{hashlib.sha256(b'weights').hexdigest()}  model\n")
    digest = reviewed.check_reviewed(tmp_path, listed, name="model")
    assert file in reviewed._known
    assert reviewed.check_reviewed(tmp_path, listed, name="model") == digest
    state = file.stat()
    time.sleep(0.02)
    with file.open("r+b") as changed:
        changed.write(b"heights")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # as if nothing had happened
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    with pytest.raises(IntegrityError):
        reviewed.check_reviewed(tmp_path, listed, name="model")


def test_a_file_that_was_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    file, listed = tmp_path / "model", tmp_path / "listed"
    file.write_bytes(b"weights")
    listed.write_text(f"{hashlib.sha256(b'weights').hexdigest()}  model\n")
    reviewed.check_reviewed(tmp_path, listed, name="model")
    assert file not in reviewed._known


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACKAGE", "no_such_model_anywhere")
    with pytest.raises(UnavailableError) as caught:
        model.model_folder()
    assert caught.value.code == "model_missing"


@pytest.mark.row("S13.2")
def test_recall_rises_with_each_stage_and_medicine_stays_without_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model.open_analyzer.cache_clear()
    report: Any = measure(seed=7)
    stages = ["model", "model_and_common_forms", "and_clinical_forms", "and_study_identifiers"]
    recalls = [report[stage]["recall"] for stage in stages]
    assert report["sentences"] >= 180
    assert recalls == sorted(recalls)
    assert recalls[0] >= 0.65
    assert recalls[2] >= 0.82
    assert recalls[3] >= 0.97
    assert report["and_study_identifiers"]["kept"]["eponym"] >= 0.8


# ── words that nobody knows ─────────────────────────────────────────────────


def only_known(text: str) -> str:
    return cleaned(text, harmless=frozenset({"pleural", "effusion", "nodule"}), only_known=True).text


@pytest.mark.parametrize(
    "name",
    ["Zwyrnik", "ZWYRNIK", "McZwyrnik", "Zwyrnik's", "d'Zwyrnik", "山田太郎", "Жаворонкин", "SN12xq9", "O'Zwyrnik"],
)
def test_an_unknown_word_that_is_written_as_a_name_goes(name: str) -> None:
    text = only_known(f"According to the report of {name} there is a pleural effusion.")
    assert "zwyrnik" not in text.lower()
    assert not {"山田太郎", "Жаворонкин", "SN12xq9"} & set(text.split())
    assert text.startswith("According to the report of ")
    assert text.endswith("there is a pleural effusion.")


def test_known_words_stay_whatever_letter_they_begin_with() -> None:
    text = "Comparison: Hodgkin lymphoma at L5-S1, 3rd of 12 nodules. Please repeat T1 FLAIR; it was amusing."
    assert only_known(text) == text


@given(st.text(max_size=200))
def test_of_any_text_no_word_with_a_capital_is_left_that_nobody_knows(text: str) -> None:
    found = clean_long_text(text, deny=NOBODY, analyzer=None, only_known=True)
    known = harmless_words() | common_words()
    for word in words_of(found.text.replace(MARK, " ")):
        written = found.text.replace(MARK, " ")[word.start : word.end]
        assert written.islower() or len(word.text) <= 1 or word.text in known or not written.isalpha()


@given(st.text(max_size=300))
def test_any_text_is_running_or_not(text: str) -> None:
    assert is_running(text, known=frozenset()) in (True, False)


@pytest.mark.parametrize("seed", [20261122, 4])
def test_unknown_names_raise_recall_and_take_no_medicine(seed: int) -> None:
    report: dict[str, Any] = measure(seed=seed)
    before, after = report["and_study_identifiers"], report["and_unknown_names"]
    assert after["recall"] >= max(before["recall"], 0.99)
    assert after["kept"] == {"technique": 1.0, "eponym": 1.0}
    assert report["unknown_names_without_study_identifiers"]["recall"] >= report["and_clinical_forms"]["recall"] + 0.02


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_words_of_plain_text_are_those_that_are_found_beside_other_letters(text: str) -> None:
    assert words_of(text) == words_of(f"{text} é")[:-1]
    folded = " ".join(fold_word(word.text) for word in words_of(text))
    assert make_deny(phrases=[text]).phrases == frozenset(filter(None, [folded]))
