"""Relative addresses made absolute."""

from urllib.parse import urljoin, urlsplit

from shared.addresses import without_breaks


def join_url(base: str | None, url: str) -> str:
    """Return ``url`` resolved against ``base``; as it is where that cannot be done."""
    if not base:
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def is_absolute(url: str | None) -> bool:
    """Tell whether ``url`` is an absolute http or https address."""
    return url is not None and url[:8].lower().startswith(("http://", "https://"))


def resolve_link(link: str, *, bases: tuple[str | None, ...]) -> str:
    """Return ``link`` resolved against the bases, the nearest first: xml:base, channel, document.

    A base may be relative itself and is then resolved against those after it. Line breaks go, with
    the blanks around them.
    """
    link = without_breaks(link)
    if is_absolute(link) or _has_scheme(link):
        return link
    base: str | None = None
    for candidate in reversed(bases):
        if candidate:
            base = join_url(base, candidate)
    if link[:4].lower() == "www.":
        # A host whose scheme was forgotten, not a path.
        scheme = "https" if base is not None and base.lower().startswith("https:") else "http"
        return f"{scheme}://{link}"
    return join_url(base, link)


def _has_scheme(url: str) -> bool:
    try:
        return bool(urlsplit(url).scheme)
    except ValueError:
        return True
