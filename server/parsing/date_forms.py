"""How feeds write dates: the forms, time zones, names of months and weekdays in sixty languages.

Parts of a form are ``year``, ``month`` (a number or a name), ``day``, or ``first`` and
``second_part`` of a date in figures whose order is open; ``weekday``; ``hour`` to ``fraction``,
``half`` and ``zone``.

Names are from CLDR (Unicode License v3). English is read from a table of its own; the file of names
is read when the first other word comes. A word that means different months in different languages
means none, unless the weekday beside it or the document's language decides.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
_ZONE_HOURS = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2,
    "met": 1, "mest": 2, "mez": 1, "mesz": 2, "eet": 2, "eest": 3, "msk": 3, "sast": 2, "eat": 3,
    "wat": 1, "cat": 2, "gst": 4, "pkt": 5, "ist": 5.5, "npt": 5.75, "ict": 7, "wib": 7, "sgt": 8,
    "hkt": 8, "pht": 8, "awst": 8, "jst": 9, "kst": 9, "acst": 9.5, "acdt": 10.5, "aest": 10,
    "aedt": 11, "nzst": 12, "nzdt": 13, "nst": -3.5, "ndt": -2.5, "ast": -4, "adt": -3, "at": -4,
    "est": -5, "edt": -4, "et": -5, "cst": -6, "cdt": -5, "ct": -6, "mst": -7, "mdt": -6, "mt": -7,
    "pst": -8, "pdt": -7, "pt": -8, "akst": -9, "akdt": -8, "hst": -10, "brt": -3, "art": -3,
}  # fmt: skip
_OFFSET = re.compile(r"(?:GMT|UTC|UT)?\s*(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})?")
_NAMED = re.compile(r"[A-Za-z_]+(?:/[A-Za-z_+-]+){1,2}|[A-Z]{3}[0-9][A-Z]{3}")
_FILE = Path(__file__).with_name("calendar_names.json")
_SHORTEST_BEGINNING = 3
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# "mar" begins the Finnish November: alone it is left to the table of all languages.
_SHARED = frozenset({"mar"})

# Language to what a word means in it: numbers of months (1 to 12) or weekdays (Monday is 0).
Meanings = dict[str, frozenset[int]]


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


@lru_cache(maxsize=256)
def parse_zone(text: str | None) -> timezone | ZoneInfo | None:
    """Return the zone that ``text`` names; UTC for none, None for one that nobody knows."""
    name = (text or "").strip().removeprefix("(").removesuffix(")").strip()
    if not name or set(name) == {"0"}:
        return UTC
    offset = _OFFSET.match(name)
    if offset is not None:
        return _fixed_zone(offset)
    hours = _ZONE_HOURS.get(name.lower().split(" ")[0].removeprefix("etc/"))
    if hours is not None:
        return timezone(timedelta(hours=hours))
    return _named_zone(name)


def _fixed_zone(offset: re.Match[str]) -> timezone | None:
    hours, minutes = int(offset["hours"]), int(offset["minutes"] or 0)
    if hours > 14 or minutes > 59:
        return None
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset["sign"] == "-" else distance)


def _named_zone(name: str) -> ZoneInfo | None:
    if _NAMED.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _beginnings(names: tuple[str, ...], *, start: int) -> dict[str, int]:
    return {
        name[:length]: number
        for number, name in enumerate(names, start)
        for length in range(_SHORTEST_BEGINNING, len(name) + 1)
    }


_ENGLISH_MONTHS = _beginnings(_MONTHS, start=1)
_ENGLISH_WEEKDAYS = _beginnings(_WEEKDAYS, start=0)


class CalendarNames:
    """The names of one kind, months or weekdays, in all languages, looked up by folded words."""

    def __init__(self, names: dict[str, list[list[str]]], *, start: int) -> None:
        self._whole: dict[str, dict[str, set[int]]] = {}
        self._begun: dict[str, dict[str, set[int]]] = {}
        for language, numbered in names.items():
            for number, spellings in enumerate(numbered, start):
                for spelling in map(fold, spellings):
                    self._add(self._whole, spelling, language, number)
                    for length in range(_SHORTEST_BEGINNING, len(spelling)):
                        self._add(self._begun, spelling[:length], language, number)

    def whole(self, word: str) -> Meanings:
        """Return what ``word`` means where it is a name or its usual short form."""
        return _freeze(self._whole.get(word, {}))

    def any(self, word: str) -> Meanings:
        """Return what ``word`` means where it is a name, a short form or a name's beginning.

        A whole name wins over a beginning of another one of the same language.
        """
        return _freeze({**self._begun.get(word, {}), **self._whole.get(word, {})})

    @staticmethod
    def _add(index: dict[str, dict[str, set[int]]], word: str, language: str, number: int) -> None:
        index.setdefault(word, {}).setdefault(language, set()).add(number)


def fold(word: str) -> str:
    """Return a word without case, accents and a closing dot, as names are compared."""
    if word.isascii():
        return word.lower().rstrip(".")
    letters = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return plain.replace("ı", "i").replace("’", "'").rstrip(".")


def english_month(word: str, weekday: str | None) -> int | None:
    """Return the month, 1 to 12, that an English word names beside an English weekday or none."""
    key, day = fold(word), fold(weekday or "")
    is_certain = day in _ENGLISH_WEEKDAYS or not (day or key in _SHARED)
    return _ENGLISH_MONTHS.get(key) if is_certain else None


def find_months(word: str, weekday: str | None, languages: Iterable[str]) -> frozenset[int]:
    """Return the months, 1 to 12, that ``word`` may name; one alone where that is certain.

    ``weekday`` is the word for the day beside it: it speaks the same language. ``languages`` are
    those that the document is known to be in; they decide where several months are possible.
    """
    key = fold(word)
    months = _names()[0]
    beside = _only(months.any(key), languages_of_weekday(fold(weekday or "")))
    if beside:
        numbers = _numbers(beside)
        return numbers if len(numbers) == 1 else _numbers(_only(beside, languages)) or numbers
    local = _numbers(_only(months.any(key), languages))
    anywhere = _numbers(months.whole(key) or months.any(key))
    # What is certain elsewhere and something else here is either.
    return anywhere | local if len(anywhere) == 1 else local or anywhere


def languages_of(word: str, weekday: str | None) -> frozenset[str]:
    """Return the languages in which a month and the weekday beside it, if any, are so called."""
    found = frozenset(_names()[0].any(fold(word)))
    spoken = languages_of_weekday(fold(weekday or ""))
    return (found & spoken) or (found if not weekday else frozenset())


def languages_of_weekday(folded: str) -> frozenset[str]:
    """Return the languages that have this word, already folded, for a day of the week."""
    return frozenset(_names()[1].any(folded)) if folded else frozenset()


def weekday_numbers(word: str) -> frozenset[int]:
    """Return what days of the week a word may name, Monday being 0; none for other words."""
    key = fold(word)
    if key in _ENGLISH_WEEKDAYS:
        return frozenset({_ENGLISH_WEEKDAYS[key]})
    return _numbers(_names()[1].any(key))


@lru_cache(maxsize=1)
def _names() -> tuple[CalendarNames, CalendarNames]:
    languages = json.loads(_FILE.read_text(encoding="utf-8"))
    months = {language: names["months"] for language, names in languages.items()}
    weekdays = {language: names["weekdays"] for language, names in languages.items()}
    return CalendarNames(months, start=1), CalendarNames(weekdays, start=0)


def _freeze(meanings: dict[str, set[int]]) -> Meanings:
    return {language: frozenset(numbers) for language, numbers in meanings.items()}


def _only(meanings: Meanings, languages: Iterable[str]) -> Meanings:
    return {language: meanings[language] for language in languages if language in meanings}


def _numbers(meanings: Meanings) -> frozenset[int]:
    return frozenset[int]().union(*meanings.values())
