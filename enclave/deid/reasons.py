"""Why a file is held back. A reason names a rule, never a value."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "empty": "The file has no bytes.",
    "symlink": "The entry is a symbolic link or no regular file; links are not followed.",
    "not_dicom": "The file is neither DICOM nor a table.",
    "not_an_instance": "A DICOM file without one SOP class UID and one SOP instance UID.",
    "dicomdir": "A DICOM directory; it lists patients and is left out. One can be made anew from the instances.",
    "unreadable": "The file breaks the encoding rules of PS3.5 so that not all of it can be read.",
    "unwritable": "What was read cannot be written again by the encoding rules of PS3.5.",
    "truncated": "Pixel data end before the size that the header promises.",
    "too_large": "Content besides pixel data, or compressed content when inflated, is larger than the limit.",
    "nesting": "Sequences are nested deeper than any IOD allows.",
    "transfer_syntax_unknown": "The transfer syntax is private or unknown, so the content cannot be checked.",
    "private_sop_class": "The SOP class is not one of the standard; its content cannot be judged.",
    "encapsulated_document": "A document in DICOM that cannot be cleaned (CDA, a model), or that no option lets stay.",
    "document_unreadable": "A PDF that is damaged, encrypted, beyond limits, or in a script that cannot be written.",
    "document_without_text": "A PDF without text, such as a scan: nobody can clean what its pictures show.",
    "pixel_text_disagreement": "A second method sees text in the image where the first sees none.",
    "pixels_crowded": "An image is so full of strokes of a letter's size that lines of text cannot be told from them.",
    "pixels_undecodable": "No decoder takes the pixel data, so nobody can look for burned-in text.",
    "decoders_unconfined": "Decoders do not start here or cannot be confined, so none runs: see `enclave doctor`.",
    "pixels_irregular": "The header does not say how the pixel data are to be read, or says two things; or words stand"
    " behind the image where undeclared frames would.",
    "code_stream": "A compressed image breaks the rules of its standard, or a text stands where coded samples do.",
    "pixels_too_large": "A frame is larger than can be looked at.",
    "recognizable_features": "The image may show a face.",
    "residual_identifier": "An identifier of the patient was still in the bytes after cleaning.",
    "identifier_in_mandatory": "A number or array that the IOD cannot do without holds an identifier or a text, or has"
    " another size than the header promises.",
    "duplicate_identical": "The same instance was in the input more than once.",
    "duplicate_sop_uid": "Another instance with the same SOP instance UID was in the input.",
    "changed": "The file changed while the job ran.",
    "table_without_roles": "The recipe gives no roles for the columns of this table.",
    "table_unreadable": "The table is not well-formed CSV or Parquet.",
    "failed": "The file could not be cleaned; the log says where.",
}


class Quarantined(Exception):  # noqa: N818 - a verdict on a file, not a fault of the program
    """Holds a file back; ``reason`` is a key of ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
