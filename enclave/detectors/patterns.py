"""What identifies by its form: dates, telephones, numbers with a label, addresses, and how clinicians write names."""

from __future__ import annotations

import re
from typing import Final

from enclave.detectors.words import Span

_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"  # noqa: E501 - twelve names on one line
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_CAP = r"[A-ZÀ-ÖØ-Þ][\w'’-]*[\w]"
_INITIAL = r"[A-ZÀ-ÖØ-Þ]\."
_NAME = rf"(?:{_INITIAL}\s*){{0,2}}{_CAP}(?:\s+(?:{_INITIAL}|(?:van|von|der|de|la|bin|al|di|da|den|ter)\b|{_CAP}))*"
_STREET = r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|square|way|terrace)\b\.?"
_HOUSE = (
    r"(?:Hospital|Clinic|Clinics|Infirmary|Hospice|Medical\s+(?:Center|Centre|Group)|Health\s+(?:System|Center|Centre)|"
    r"University|College|Institute|Radiology|Imaging(?:\s+Center)?|Klinik|Klinikum|Nursing\s+Home|School)"
)
_LABEL = (
    r"(?:mrn|med(?:ical)?\.?\s*rec(?:ord)?(?:\s*(?:no|number|num))?|patient\s*(?:id|no|number)|pt\s*id|acc(?:ession)?"
    r"(?:\s*(?:no|number|num))?|ssn|nhs(?:\s*(?:no|number))?|case(?:\s*(?:no|number))|visit(?:\s*(?:no|number|id))|"
    r"encounter(?:\s*(?:no|number|id))?|order(?:\s*(?:no|number|id))|specimen(?:\s*(?:no|number|id))?|account(?:\s*(?:no|"
    r"number))?|policy(?:\s*(?:no|number))?|insurance(?:\s*(?:no|number|id))?|serial(?:\s*(?:no|number))?|licen[cs]e|"
    r"badge|pager|fax|tel|phone|ext|id)"
)
_ROLE = (
    r"(?:patient(?:\s+name)?|pt|name|physician|doctor|surgeon|radiologist|technologist|nurse|resident|fellow|attending|"
    r"consultant|mother|father|wife|husband|daughter|son|brother|sister|partner|next\s+of\s+kin|(?:referr(?:ed|ing)|"
    r"dictated|signed|reported|read|reviewed|verified|transcribed|performed|approved|interpreted|ordered|requested|"
    r"communicated|discussed|accompanied)(?:\s+(?:by|with|to|physician|clinician))|electronically\s+signed|cc|attn)"
)
GENERIC: Final[dict[str, re.Pattern[str]]] = {
    "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "url": re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE),
    "address_ip": re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"),
    "date": re.compile(
        rf"\b(?:\d{{4}}[-/.](?:0?[1-9]|1[0-2])[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:19|20)?\d\d"
        rf"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
        rf"|{_DAY}\s*(?:of\s+)?[-\s]?{_MONTH}(?:[-\s,]*(?:19|20)?\d\d)?|{_MONTH}\s*{_DAY}(?:,?\s*(?:19|20)\d\d)?"
        rf"|{_MONTH}\s*,?\s*(?:19|20)\d\d)\b",
        re.IGNORECASE,
    ),
    "phone": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}(?:[\s.-]?\d{2,8}){1,4}|(?:\(\d{2,5}\)[\s.-]?)?\d{2,5}(?:[\s.-]\d{2,5}){1,4})(?![\w.]\w)"
    ),
    "number": re.compile(r"\b(?=\w*\d{5})[\w]+(?:-\w+)*\b|\b[A-Z]{1,4}-?\d{4,}\b|\b\d{3}-\d{2}-\d{4}\b"),
}
CLINICAL: Final[dict[str, re.Pattern[str]]] = {
    "label": re.compile(rf"\b{_LABEL}\s*[:#.=]*\s*(?=[\w-]*\d)[A-Z0-9][\w/-]*", re.IGNORECASE),
    "dicom_name": re.compile(r"[^\W\d_][\w'’-]*(?:\^[\w'’-]*)+"),
    "caps_name": re.compile(
        r"\b[A-ZÀ-ÖØ-Þ]{2,}(?:-[A-Z]+)?,\s*(?:[A-ZÀ-ÖØ-Þ][a-zà-ÿ]+|[A-ZÀ-ÖØ-Þ]{2,})(?:\s+[A-Z]\b\.?)?"
    ),
    "titled": re.compile(
        rf"\b(?:(?i:dr|prof(?:essor)?|mr|mrs|ms|miss|mx|sir|nurse|frau|herr|mme|dra?|rn))\b\.?\s+{_NAME}"
    ),
    "by_role": re.compile(
        rf"\b(?i:{_ROLE})\b\s*(?::|-|,|\bis\b|\bwas\b)?\s*(?:(?i:dr|mr|mrs|ms|prof)\b\.?\s*)?{_NAME}"
    ),
    "credential": re.compile(rf"{_NAME},?\s+(?:MD|M\.D\.|DO|PhD|RN|FRCR|FACR|RT(?:\(R\))?|PA-C|NP)\b"),
    "initialled": re.compile(rf"\b{_INITIAL}\s*(?:{_INITIAL}\s*)?{_CAP}"),
    "house": re.compile(
        rf"\b{_HOUSE}\s+of\s+{_CAP}|\b(?:(?:St|Mt)\.?\s+)?{_CAP}(?:\s+(?:of|and|the|&|{_CAP}))*\s+{_HOUSE}\b"
    ),
    "saint": re.compile(rf"\bSt\.?\s+{_CAP}(?:['’]s)?"),
    "street": re.compile(rf"\b\d{{1,5}}[a-z]?\s+(?:{_CAP}\s+){{1,3}}(?i:{_STREET})(?:,?\s*{_CAP})?"),
    "place": re.compile(
        rf"\b(?:lives\s+in|resident\s+of|from|born\s+in|transferred\s+from|moved\s+to)\s+(?:{_CAP}\s?)+"
    ),
    "spelled": re.compile(r"(?<![^\W_])[^\W\d_](?:[ .\-]{1,2}[^\W\d_]){4,}(?![^\W_])"),  # letter by letter
    "zip": re.compile(r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b"),
    "old_age": re.compile(r"\b(?:9\d|1[01]\d)[\s-]*(?:year|yr|y/?o|y\b|jahre)[\w-]*(?:[\s-]*old)?", re.IGNORECASE),
    "room": re.compile(r"\b(?:room|bed|ward)\s+[A-Z]?\d+\w*", re.IGNORECASE),
    "day": re.compile(
        r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\bchristmas|\beaster|\bthanksgiving", re.IGNORECASE
    ),
}
# In these the words before the name stay: group 0 begins with a role or a place word.
_KEEP_HEAD: Final = {
    "by_role": re.compile(rf"(?i:{_ROLE})\b\s*(?::|-|,|\bis\b|\bwas\b)?\s*"),
    "place": re.compile(r"[a-z ]+"),
}


def pattern_spans(text: str, *, clinical: bool = True) -> list[Span]:
    """Every place that has a form which identifies."""
    patterns = {**GENERIC, **CLINICAL} if clinical else GENERIC
    found: list[Span] = []
    for kind, pattern in patterns.items():
        for match in pattern.finditer(text):
            head = _KEEP_HEAD[kind].match(match.group()) if kind in _KEEP_HEAD else None
            found.append(Span(match.start() + (head.end() if head else 0), match.end(), kind))
    return found
