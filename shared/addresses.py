"""What an address of a feed may be: its scheme, and what does not belong into it."""

import re

SAFE_SCHEMES = frozenset({"http", "https", "mailto", "ftp", "ftps", "magnet", "tel"})
# What a browser would run.
RUNNING_SCHEMES = frozenset({"javascript", "vbscript", "data"})
_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")
# What a browser ignores in a URL before it looks at the scheme.
_IGNORED = re.compile(r"[\x00-\x20\x7f]")
_BREAKS = re.compile(r"[ \t]*[\t\r\n][ \t\r\n]*")
# In an address these stand for markup, or for nothing; written so they are the address still.
_UNSAFE = {
    **dict.fromkeys([*range(0x20), 0x7F]),
    **{ord(character): f"%{ord(character):02X}" for character in ' <>"`'},
}


def scheme_of(url: str) -> str | None:
    """Return the scheme that a browser sees in an address, in lower case; None without one."""
    scheme = _SCHEME.match(_IGNORED.sub("", url))
    return scheme[1].lower() if scheme is not None else None


def is_safe(url: str) -> bool:
    """Tell whether an address may be stored as a link: it is relative, or of a known scheme."""
    scheme = scheme_of(url)
    return scheme is None or scheme in SAFE_SCHEMES


def tidy(url: str) -> str:
    """Return an address without the line breaks in it, its blanks and quotes escaped."""
    return _BREAKS.sub("", url.strip()).translate(_UNSAFE)


def without_breaks(url: str) -> str:
    """Return an address without the line breaks and tabs in it, and the blanks around them."""
    return _BREAKS.sub("", url.strip())
