"""Writes ``server/parsing/calendar_names.json`` from the CLDR data that Babel ships.

Run it after an update of Babel: ``python tests/calendar_names.py``. The server reads the small
file instead of Babel itself, which takes 72 MB and half a second for these languages.
"""

import json
import re
from pathlib import Path

from babel.dates import get_day_names, get_month_names

TARGET = Path(__file__).parents[1] / "server" / "parsing" / "calendar_names.json"
LANGUAGES = (
    "af", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es",
    "et", "eu", "fa", "fi", "fo", "fr", "ga", "gl", "he", "hi", "hr", "hu", "hy", "id", "is",
    "it", "ka", "kk", "ko", "lb", "lt", "lv", "mk", "ms", "nb", "nl", "nn", "pl", "pt", "ro",
    "ru", "sk", "sl", "sq", "sr", "sr_Latn", "sv", "sw", "th", "tr", "uk", "ur", "uz", "vi",
)  # fmt: skip
# Names such as "tháng 8" and "8월" say the number, which other rules read.
_DIGIT = re.compile(r"\d")
# "de gener", "d’agost": the word of the sentence, not of the month.
_OF = re.compile(r"^(?:de\s+|d['’])")


def build_names() -> dict[str, dict[str, list[list[str]]]]:
    """Return for each language the names of the months and of the days, from Monday on."""
    return {
        language.replace("_", "-"): {
            "months": [_names(get_month_names, language, month) for month in range(1, 13)],
            "weekdays": [_names(get_day_names, language, day) for day in range(7)],
        }
        for language in LANGUAGES
    }


def write(names: dict[str, dict[str, list[list[str]]]]) -> str:
    """Return the text of the file: one line a language."""
    lines = [
        f"{json.dumps(language)}: {json.dumps(entry, ensure_ascii=False, separators=(',', ':'))}"
        for language, entry in sorted(names.items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _names(lookup, language: str, number: int) -> list[str]:  # type: ignore[no-untyped-def]
    found = []
    for context in ("format", "stand-alone"):
        for width in ("wide", "abbreviated", "short"):
            if width == "short" and lookup is get_month_names:
                continue
            name = lookup(width, context, locale=language)[number]
            found.append(_OF.sub("", name.strip().rstrip(".")))
    return sorted({name for name in found if name and not _DIGIT.search(name)})


if __name__ == "__main__":
    TARGET.write_text(write(build_names()), encoding="utf-8")
