"""The fields of a feed's window in a form, and the window that they make. Pure."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from server.feeds.windows import FORMATS, FeedWindow
from shared.errors import InvalidRequestError
from shared.models import format_time, parse_time

_MAX_DIGITS = 9
_DEFAULTS = FeedWindow(starts_at=parse_time("2000-01-01"), step_s=1)
# By the names in the form without their prefix, what the API calls them.
_NUMBERS = ("step_s", "in_flight", "overlap_s", "lag_s", "first_page")
FORMAT_NAMES = dict(
    zip(FORMATS, ("RFC 3339", "seconds since 1970", "milliseconds since 1970", "page"), strict=True)
)


class WindowFields(BaseModel):
    """The fields as they were typed; without a start there is no window."""

    window_from: str = ""
    window_step_s: str = ""
    window_in_flight: str = ""
    window_overlap_s: str = ""
    window_lag_s: str = ""
    window_format: str = _DEFAULTS.format
    window_first_page: str = ""

    @property
    def has_window(self) -> bool:
        """Whether any of them says something."""
        return any(
            value for name, value in self if name.startswith("window_") and self._is_own(name)
        )

    @property
    def window_starts_at(self) -> datetime | None:
        """The start, for the form; None where it is none."""
        try:
            return parse_time(self.window_from.strip())
        except ValueError:
            return None

    def window(self, stored: FeedWindow | None = None) -> dict[str, Any] | None:
        """Return the window as the API takes it, None without one.

        A start that is shown to the second stands for the ``stored`` one.

        Raises:
            InvalidRequestError: a number or a time that is none.
        """
        if not self.has_window:
            return None
        starts_at = self.window_starts_at
        if starts_at is None:
            shown = self.window_from[:40]
            raise InvalidRequestError(f"window from {shown!r}: a date and time is needed")
        if stored is not None and stored.starts_at.replace(microsecond=0) == starts_at:
            starts_at = stored.starts_at
        numbers = {name: self._number(name) for name in _NUMBERS}
        given = {name: number for name, number in numbers.items() if number is not None}
        return {"from": format_time(starts_at), **given, "format": self.window_format}

    def _is_own(self, name: str) -> bool:
        """Return whether a field holds what somebody typed, and not what it begins with."""
        return name != "window_format" or self.window_format != _DEFAULTS.format

    def _number(self, name: str) -> int | None:
        text: str = getattr(self, f"window_{name}").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
            raise InvalidRequestError(f"window {name} {text[:40]!r}: a whole number is accepted")
        return int(text)


def fields_of(window: FeedWindow | None) -> dict[str, Any]:
    """Return what a form is filled with for a window; nothing without one."""
    if window is None:
        return {}
    numbers = {f"window_{name}": str(getattr(window, name)) for name in _NUMBERS}
    starts_at = format_time(window.starts_at)
    return {"window_from": starts_at, **numbers, "window_format": window.format}
