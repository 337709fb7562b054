"""What the headers of requests and answers mean for a feed reader. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 7 * 86400.0
MAX_VALIDATOR_BYTES = 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# Made by the fetcher or by HTTP itself; a feed's own headers cannot replace them.
_RESERVED = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer",
        "accept-encoding", "if-none-match", "if-modified-since", "range", "proxy-authorization",
    }
)  # fmt: skip
_NEVER_FRESH = frozenset({"no-cache", "no-store"})
# Say who asks and for what; all others may be secrets and stay with the origin they are meant for.
_PUBLIC = frozenset({"user-agent", "accept", "accept-language", "from"})


def usable_headers(configured: Mapping[str, str], *, same_origin: bool) -> dict[str, str]:
    """Return the feed's own headers that may go along, by lower-case name."""
    lowered = {name.strip().lower(): value.strip() for name, value in configured.items()}
    return {
        name: value
        for name, value in lowered.items()
        if _TOKEN.fullmatch(name) and name not in _RESERVED and (same_origin or name in _PUBLIC)
    }


def read_validator(raw: bytes | None) -> str | None:
    """Return a validator as received, byte for byte, or None for one too odd to send back."""
    if raw is None or not raw.strip() or len(raw) > MAX_VALIDATOR_BYTES:
        return None
    text = raw.decode("latin-1")
    return None if any(character < " " or character == "\x7f" for character in text) else text


def read_retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, from 0 to seven days; None without one."""
    if value is None:
        return None
    text = value.strip()
    if _INTEGER.fullmatch(text):
        # Numbers that no clock could hold need not be read.
        seconds = float(text) if len(text) < 13 else LONGEST_WAIT_S * (text[0] != "-")
        return min(max(seconds, 0.0), LONGEST_WAIT_S)
    moment = _read_http_date(text)
    if moment is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_WAIT_S)


def read_max_age_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds for which an answer says it stays fresh, or None where it does not.

    ``max-age`` less ``Age`` wins over ``Expires``; seven days at most. ``no-cache`` and
    ``no-store`` take all of it back.
    """
    directives = [part.strip() for part in headers.get("cache-control", "").lower().split(",")]
    if not _NEVER_FRESH.isdisjoint(directives):
        return None
    for directive in directives:
        name, _, value = directive.partition("=")
        digits = value.strip().strip('"')
        if name == "max-age" and _INTEGER.fullmatch(digits):
            age_s = headers.get("age", "").strip()
            fresh_s = float(digits[:12]) - (float(age_s[:12]) if _INTEGER.fullmatch(age_s) else 0.0)
            return min(max(fresh_s, 0.0), LONGEST_WAIT_S)
    expires = _read_http_date(headers.get("expires", ""))
    if expires is None:
        return None
    received = _read_http_date(headers.get("date", "")) or now
    return min(max((expires - received).total_seconds(), 0.0), LONGEST_WAIT_S)


def _read_http_date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
