"""Names of months and weekdays in sixty languages, from CLDR (Unicode License v3).

English is read from a table of its own; the file of names is read when the first other word comes.
A word that means different months in different languages means none, unless the weekday beside it
or the document's language decides.
"""

import json
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

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
