"""The forms in which feeds write a date, as regular expressions with named parts.

Parts are ``year``, ``month`` (a number or a name), ``day``, or ``first`` and ``second_part`` of a
date in figures whose order is open; ``weekday``; ``hour`` to ``fraction``, ``half`` and ``zone``.
"""

import re
import unicodedata

LONGEST_TEXT = 100

_NAME = r"[^\W\d_][^\s\d,;:/()+-]*"
_WEEKDAY = r"(?:(?P<weekday>[^\W\d_][^\d,]{0,29}?)\.?(?:\s*,\s*|\s+))?"
_TIME = (
    r"(?P<hour>\d{1,2})[:.hH](?P<minute>\d{2})"
    r"(?:[:.](?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
)
_HALF = r"(?P<half>[AaPp]\.?[Mm]\b\.?)"
_ZONE = r"\s*(?P<zone>\S.*)?"
# "7 August 2026 - 15:09", "07.08.2026 um 15:09 Uhr", "7 août 2026 à 15h09"
_BEFORE_TIME = (
    r"(?:\s*[,|@T_]|\s+[-–—])?"
    r"\s*(?:(?:at|um|à|as|às|a las|alle|ore|om|kl|klo|o|u|в|о)\.?\s+)?(?<!\d)"
)
_CLOCK = rf"(?:{_BEFORE_TIME}{_TIME}\s*(?:Uhr\b|h\b|uur\b)?\s*{_HALF}?)?{_ZONE}"
_ORDINAL = r"(?:st|nd|rd|th|er|[.ºª°o])?"
_OF = r"(?:(?:de|del|of)\s+|d['’])?"
_DIGITAL_TIME = r"[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?:[.,](?P<fraction>\d+))?"

_YEAR_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<year>\d{{4}})(?P<mark>[-/.])\s*(?P<month>\d{{1,2}})(?P=mark)\s*"
    rf"(?P<day>\d{{1,2}})\.?{_CLOCK}",
    re.IGNORECASE,
)
_COMPACT = re.compile(rf"(?P<year>\d{{4}})(?P<month>\d{{2}})(?P<day>\d{{2}})(?!\d){_CLOCK}")
_COMPACT_TIME = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?=[T ]|\d{6}(?!\d))" + _DIGITAL_TIME + _ZONE
)
_MONTH_ALONE = re.compile(r"(?P<year>\d{4})(?:-(?P<month>\d{2}))?")
_DAY_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}}){_ORDINAL}(?:[\s-]+|(?<=\.)){_OF}(?P<month>{_NAME})"
    rf"[\s.,-]+(?:del?\s+)?(?P<year>\d{{4}}|\d{{2}}(?!,?\s*\d{{4}}))\.?(?:\s*[гр]\.)?{_CLOCK}",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<month>{_NAME})\.?\s+(?P<day>\d{{1,2}}){_ORDINAL},?\s+(?P<year>\d{{4}}){_CLOCK}",
    re.IGNORECASE,
)
_YEAR_LAST = re.compile(
    rf"{_WEEKDAY}(?P<month>{_NAME})\s+(?P<day>\d{{1,2}})\s+{_TIME}"
    r"(?:\s+(?P<zone>[^\W\d_]+|[+-]\d+))?\s+(?P<year>\d{4})",
    re.IGNORECASE,
)
# Lithuanian and Hungarian, then Latvian.
_NAMED_YEAR_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<year>\d{{4}})\.?(?:\s+m\.)?\s+(?P<month>{_NAME})\s+"
    rf"(?P<day>\d{{1,2}})\.?(?:\s*d\.)?{_CLOCK}",
    re.IGNORECASE,
)
_LATVIAN = re.compile(
    rf"{_WEEKDAY}(?P<year>\d{{4}})\.\s+gada\s+(?P<day>\d{{1,2}})\.\s+(?P<month>{_NAME}){_CLOCK}",
    re.IGNORECASE,
)
_VIETNAMESE = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})\s+tháng\s+(?P<month>\d{{1,2}}),?\s+(?P<year>\d{{4}}){_CLOCK}",
    re.IGNORECASE,
)
_EAST_ASIAN = re.compile(
    r"(?P<year>\d{4})\s*[年년]\s*(?P<month>\d{1,2})\s*[月월]\s*(?P<day>\d{1,2})\s*[日일号]?"
    r"\s*(?:\([^)]{1,5}\)|[月火水木金土日]曜日?|(?:星期|周|週).|.요일)?\s*"
    r"(?:(?P<half>午前|午後|上午|下午|오전|오후)?\s*(?P<hour>\d{1,2})\s*[:時时点시]\s*"
    r"(?:(?P<minute>\d{1,2})\s*[:分분]?\s*(?:(?P<second>\d{1,2})\s*[秒초]?)?)?)?" + _ZONE
)
_FIGURES = re.compile(
    rf"{_WEEKDAY}(?P<first>\d{{1,2}})(?P<mark>[-/.])\s*(?P<second_part>\d{{1,2}})(?P=mark)\s*"
    rf"(?P<year>\d{{4}})\.?{_CLOCK}",
    re.IGNORECASE,
)
# The usual ones first.
_FORMS = (
    _DAY_FIRST, _YEAR_FIRST, _COMPACT_TIME, _COMPACT, _MONTH_FIRST, _YEAR_LAST, _FIGURES,
    _EAST_ASIAN, _LATVIAN, _NAMED_YEAR_FIRST, _VIETNAMESE, _MONTH_ALONE,
)  # fmt: skip
# Seconds since 1970 from 1973 on; milliseconds, microseconds.
_UNIX = re.compile(r"(?P<seconds>\d{9,10})(?P<finer>\d{3}|\d{6})?(?:\.(?P<fraction>\d+))?")

Parts = dict[str, str | None]


def clean_text(written: str) -> str:
    """Return a date without what only makes it look different; empty for what is no date."""
    text = written.strip()
    if len(text) > LONGEST_TEXT:
        return ""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).replace("،", ",")


def match_form(text: str) -> Parts | None:
    """Return the parts of a cleaned date in the first form that it has, or None."""
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return match.groupdict()
    return None


def unix_milliseconds(text: str) -> int | None:
    """Return the time in milliseconds since 1970 of a number that may be one, or None."""
    match = _UNIX.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    finer = (match["finer"] or match["fraction"] or "")[:3]
    return int(match["seconds"]) * 1000 + int(finer.ljust(3, "0"))
