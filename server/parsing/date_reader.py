"""Reads the dates of one document and keeps account of those that had to be left out."""

from datetime import datetime

from server.parsing.dates import is_plausible, parse_date

_LONGEST_SAMPLE = 60


class DateReader:
    """Turns written dates into moments; what cannot be read or believed is absent and counted."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._rejected = 0
        self._first_rejected = ""

    def read(self, written: str | None) -> datetime | None:
        """Return the moment, or None for no date, an unreadable or an implausible one."""
        if not written:
            return None
        moment = parse_date(written)
        if moment is not None and is_plausible(moment, self._now):
            return moment
        self._rejected += 1
        self._first_rejected = self._first_rejected or written[:_LONGEST_SAMPLE]
        return None

    def warnings(self) -> tuple[str, ...]:
        """Return one warning for all dates left out, or none."""
        if not self._rejected:
            return ()
        text = f"{self._rejected} date(s) left out: unreadable, before 1990 or over two days ahead"
        return (f"{text} (first: {self._first_rejected!r})",)
