"""All rules of the machine check as data: a stable id, what it means for a release, what to tell the author.

Pure. The texts hold no value from a file. The ids are part of the interface: they are never renamed or reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

Severity = Literal["info", "review", "block"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``block`` keeps the file in; ``review`` needs the eye of a checker; ``info`` is good to know."""

    id: str
    severity: Severity
    message: str
    remedy: str


_TABLE: Final = (
    # ── the file as a whole ────────────────────────────────────────────────
    Rule("check_failed", "block", "The check of this file did not end.", "Try again; if it stays, simplify the file."),
    Rule("empty_file", "review", "The file is empty.", "Leave it out."),
    Rule("too_large", "block", "The file is larger than what a person can review.", "Hand in a summary instead."),
    Rule("type_unknown", "block", "The type of this file is not known.", "Use PNG, JPEG, SVG, CSV, text or HTML."),
    Rule("type_mismatch", "block", "Content and file name ending are of different types.", "Use the ending that fits."),
    Rule("archive", "block", "The file is an archive or a container of files.", "Hand in each file by itself."),
    Rule("data_container", "block", "The file is a container of data (DICOM, NIfTI, arrays, …).", "Keep it inside."),
    Rule("not_text", "block", "The text holds bytes that are not UTF-8 text.", "Save it as plain UTF-8 text."),
    # ── images ─────────────────────────────────────────────────────────────
    Rule("image_unreadable", "block", "The image cannot be decoded completely.", "Save it again with a plain tool."),
    Rule("image_too_large", "block", "The image has more pixels than can be reviewed.", "Save it smaller."),
    Rule("image_metadata", "review", "The image carries metadata beside its pixels.", "Save it without metadata."),
    Rule("image_software_tag", "info", "The image names the software that made it.", "Nothing to do."),
    Rule("image_trailing_data", "block", "There are bytes after the end of the image.", "Save it again."),
    Rule("image_extra_chunk", "block", "The image holds parts that its format does not define.", "Save it again."),
    Rule("image_frames", "review", "The image has more than one frame.", "Hand in one frame per file."),
    Rule("image_greyscale", "review", "The picture is greyscale: it may show a patient's scan.", "Say what it shows."),
    Rule("image_hidden_pixels", "review", "Transparent pixels carry colours one cannot see.", "Save it opaque."),
    # ── tables ─────────────────────────────────────────────────────────────
    Rule("table_unreadable", "block", "The table cannot be read as one.", "Save it as plain CSV."),
    Rule("table_rows", "review", "The table has so many rows that it may be data, not a result.", "Aggregate it."),
    Rule("row_level_data", "block", "A column names single patients, studies or images.", "Aggregate over people."),
    Rule("distinct_values", "review", "A column has another value in each row, as an identifier has.", "Leave it out."),
    Rule("small_cells", "block", "A count from 1 to 9 may point to single people.", "Merge groups or suppress it."),
    Rule("small_numbers", "review", "A whole number from 1 to 9 may be a count of people.", "Suppress it if it is."),
    Rule("extreme_value", "review", "A minimum or maximum is the value of one person.", "Give a percentile instead."),
    # ── text patterns ──────────────────────────────────────────────────────
    Rule("pattern_date", "review", "This looks like a calendar date.", "Give a duration or leave it out."),
    Rule("pattern_record_number", "review", "This looks like a medical record number.", "Leave it out."),
    Rule("pattern_national_number", "block", "This looks like a national identity number.", "Leave it out."),
    Rule("pattern_email", "block", "This looks like an e-mail address.", "Leave it out."),
    Rule("pattern_phone", "review", "This looks like a telephone number.", "Leave it out."),
    Rule("pattern_uid", "block", "This looks like a DICOM unique identifier.", "Leave it out."),
    Rule("encoded_blob", "block", "This looks like encoded data.", "Hand in what one can read."),
    Rule("long_line", "review", "A line is longer than one can read.", "Break it up."),
    Rule("hidden_characters", "block", "The text holds characters that one cannot see.", "Remove them."),
    # ── markup and notebooks ───────────────────────────────────────────────
    Rule("markup_unreadable", "block", "The document is not well-formed.", "Save it again."),
    Rule("script", "block", "The document holds a script.", "Save it without scripts, or as PNG."),
    Rule("active_content", "block", "The document holds frames, forms, handlers or plug-ins.", "Leave them out."),
    Rule("embedded_data", "block", "The document embeds other files.", "Hand in figures as files of their own."),
    Rule("external_reference", "block", "The document loads something from elsewhere.", "Leave it out."),
    Rule("hidden_content", "review", "The document holds content that is not shown.", "Leave it out."),
    Rule("entity_declaration", "block", "The document declares entities.", "Save it without a document type."),
    Rule("notebook_unreadable", "block", "The notebook cannot be read as one.", "Save it again."),
    Rule("notebook_outputs", "review", "The notebook carries outputs of its cells.", "Clear what is not needed."),
    # ── PDF ────────────────────────────────────────────────────────────────
    Rule("pdf_active", "block", "The PDF holds actions, scripts or forms.", "Hand in a PNG or SVG."),
    Rule("pdf_embedded", "block", "The PDF embeds other files.", "Hand in each file by itself."),
    Rule("pdf_encrypted", "block", "The PDF is encrypted.", "Hand in a PNG or SVG."),
    Rule("pdf_not_rendered", "block", "A PDF cannot be shown to the checkers yet.", "Hand in a PNG or SVG."),
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType({rule.id: rule for rule in _TABLE})

NOT_RUN_IMAGE: Final = ("image_fingerprint",)
NOT_RUN_TABLE: Final = ("differencing", "subject_threshold")
"""Checks that need inputs the bare file does not give: fingerprints, earlier releases, the subjects behind a table."""
