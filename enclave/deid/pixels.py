"""Whether an image may show text or a face, judged by its header: when in doubt, it may."""

from __future__ import annotations

import re

from enclave.deid.names import fold
from enclave.deid.tree import Node, text_at

# Modalities whose original images come from a detector without a screen in between.
_CLEAN_BY_MAKING = frozenset({"CT", "MR", "PT"})
# Here text is common (side markers, names typed at the console): only when the file says that there is none.
_CLEAN_IF_SAID = frozenset({"CR", "DX", "MG", "NM", "RF", "XA", "IO", "PX"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CAPTURE_WORDS = re.compile(r"screen|secondary|capture|dose|report|summary|protocol|localizer|result|film|print")
_COLOUR = re.compile(r"RGB|YBR|PALETTE")
_HEAD_MODALITIES = frozenset({"CT", "MR", "PT"})
_HEAD_NAMES = (
    "head brain skull face facial maxillofacial orbit orbits sinus sinuses neck ear ears iac petrous temporal jaw "
    "mandible maxilla tmj pituitary sella cranium wholebody whole body cspine cervical"
)
_HEAD_WORDS = frozenset(_HEAD_NAMES.split())
_DESCRIBING = (0x00180015, 0x00081030, 0x0008103E, 0x00181030)


def may_show_text(tree: Node) -> bool:
    """Whether burned-in text cannot be ruled out by the header."""
    modality = _text(tree, 0x00080060)
    said = _text(tree, 0x00280301)
    if said == "YES" or _text(tree, 0x00080016).startswith(_SECONDARY_CAPTURE):
        return True
    if _COLOUR.search(_text(tree, 0x00280004)) or _overlay_in_pixels(tree):
        return True
    if _CAPTURE_WORDS.search(fold(_text(tree, 0x00080008).replace("PRIMARY", ""))) and "PRIMARY" not in _text(
        tree, 0x00080008
    ):
        return True
    if modality in _CLEAN_BY_MAKING:
        return "SECONDARY" in _text(tree, 0x00080008) and said != "NO"
    return not (modality in _CLEAN_IF_SAID and said == "NO")


def may_show_face(tree: Node) -> bool:
    """Whether a face cannot be ruled out: a sectional image of a head, or of no stated region."""
    if _text(tree, 0x00080060) not in _HEAD_MODALITIES:
        return False
    words = {word for tag in _DESCRIBING for word in fold(_text(tree, tag)).split()}
    return not words or bool(words & _HEAD_WORDS) or not (words & _OTHER_REGIONS)


_OTHER_NAMES = (
    "chest thorax lung lungs abdomen abdominal pelvis liver kidney kidneys knee hip shoulder elbow wrist hand "
    "ankle foot leg arm lspine tspine spine lumbar thoracic sacrum heart cardiac coronary prostate breast "
    "pancreas extremity aorta colon rectum uterus bladder femur tibia humerus forearm thigh calf"
)
_OTHER_REGIONS = frozenset(_OTHER_NAMES.split())


def _overlay_in_pixels(tree: Node) -> bool:
    """Whether an overlay plane sits in unused bits of the pixels (PS3.5 8.1.2, retired)."""
    return any(tag & 0xFF01FFFF == 0x60000102 and _text(tree, tag) not in ("", "0") for tag in tree)


def _text(tree: Node, tag: int) -> str:
    return text_at(tree, tag).upper()
