"""Hosts as politeness tells them apart. Pure."""

from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """Return a URL's host in lower case, with its port unless that is the scheme's own.

    ``http`` and ``https`` of one name are one host, and so is a name with its final dot.

    Raises:
        ValueError: not a URL that ``check_url`` would let pass.
    """
    parts = urlsplit(url)
    name = (parts.hostname or "").rstrip(".")
    host = f"[{name}]" if ":" in name else name
    if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme.lower())):
        return host
    return f"{host}:{parts.port}"


def hosts_of(urls: Iterable[str]) -> set[str]:
    """Return the hosts of several URLs."""
    return {host_of(url) for url in urls}
