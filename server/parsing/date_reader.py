"""Reads the dates of one document together, and keeps what had to be left out."""

from collections.abc import Callable, Iterable
from datetime import datetime

from server.parsing.dates import DateHabits, find_habits, is_plausible, parse_date
from shared.models import UNREAD_PUBLISHED, UNREAD_UPDATED, ExtraField

_LONGEST_SAMPLE = 60


class DateReader:
    """Turns written dates into moments; what cannot be read or believed is absent and counted.

    ``written`` gives all dates of the document, and ``language`` is the one it says it is in: they
    are looked at only when a date does not say by itself which of two it means.
    """

    def __init__(
        self,
        now: datetime,
        *,
        written: Callable[[], Iterable[str]] = tuple,
        language: str | None = None,
    ) -> None:
        self._now = now
        self._written = written
        self._language = language
        self._habits: DateHabits | None = None
        self._rejected = 0
        self._left_out: dict[str, None] = {}

    def read(self, written: str | None) -> datetime | None:
        """Return the moment, or None for no date, an unreadable or an implausible one."""
        if not written:
            return None
        moment = parse_date(written, self._find_habits)
        if moment is not None and is_plausible(moment, self._now):
            return moment
        self._rejected += 1
        self._left_out[written] = None
        return None

    def unread(self, *, published: str | None, updated: str | None) -> tuple[ExtraField, ...]:
        """Return the dates that :meth:`read` had no moment for, word for word, as extra fields."""
        dates = ((UNREAD_PUBLISHED, published), (UNREAD_UPDATED, updated))
        return tuple(ExtraField(name, text) for name, text in dates if text in self._left_out)

    def warnings(self) -> tuple[str, ...]:
        """Return one warning for all dates left out, or none."""
        if not self._rejected:
            return ()
        text = f"{self._rejected} date(s) left out: unreadable, before 1990 or over two days ahead"
        first = next(iter(self._left_out))[:_LONGEST_SAMPLE]
        return (f"{text} (first: {first!r})",)

    def _find_habits(self) -> DateHabits:
        if self._habits is None:
            self._habits = find_habits(self._written(), self._language)
        return self._habits
