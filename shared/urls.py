"""URLs: which may be stored, how they are written, of which host they are, which part is secret."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE_SCHEMES = frozenset({"http", "https", "mailto", "ftp", "ftps", "magnet", "tel"})
# What a browser would run.
RUNNING_SCHEMES = frozenset({"javascript", "vbscript", "data"})
_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")
# What a browser ignores in a URL before it looks at the scheme.
_IGNORED = re.compile(r"[\x00-\x20\x7f]")
# ASCII without blanks, breaks, or what stands for markup: most URLs.
_TIDY = re.compile(r"[!#-;=?-_a-~]*")
_BREAKS = re.compile(r"[ \t]*[\t\r\n][ \t\r\n]*")
# In a URL these stand for markup, or for nothing; written so they are the URL still.
_UNSAFE = {
    **dict.fromkeys([*range(0x20), 0x7F]),
    **{ord(character): f"%{ord(character):02X}" for character in ' <>"`'},
}
MASK = "***"

# Up to the last "@" before the path, because people leave the "@" of a password unquoted.
_URL_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#]*@", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]+", re.IGNORECASE)
# Words that make a secret whatever stands before them, and those that do only alone or behind
# certain others: ``mytoken`` and ``auth_key``, but neither ``monkey`` nor ``postcode``.
_SECRET_PAIR = re.compile(
    r"([?&;#](?:"
    r"[^=&;?#\s]*(?:api[_-]?key|token|passw(?:or)?d|secret|signature)"
    # MongoDB's, which may hold the token of a session.
    r"|authMechanismProperties"
    r"|(?:[^=&;?#\s]*[_.-])?(?:api|app|access|auth|private|client)?"
    r"(?:key|pwd|pass|sig|auth|credentials?|session|sid|jwt|bearer|hmac|code)"
    r")=)[^&\s#]+",
    re.IGNORECASE,
)


def scheme_of(url: str) -> str | None:
    """Return the scheme that a browser sees in a URL, in lower case; None without one."""
    if url.startswith("https://"):
        return "https"
    scheme = _SCHEME.match(_IGNORED.sub("", url))
    return scheme[1].lower() if scheme is not None else None


def is_safe(url: str) -> bool:
    """Return whether a URL may be stored as a link: it is relative, or of a known scheme."""
    scheme = scheme_of(url)
    return scheme is None or scheme in SAFE_SCHEMES


def tidy(url: str) -> str:
    """Return a URL without the line breaks in it, its blanks and quotes escaped."""
    if _TIDY.fullmatch(url) is not None:
        return url
    return _BREAKS.sub("", url.strip()).translate(_UNSAFE)


def without_breaks(url: str) -> str:
    """Return a URL without the line breaks and tabs in it, and the blanks around them."""
    return _BREAKS.sub("", url.strip())


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


def is_well_formed(url: str) -> bool:
    """Return whether a host can be told from a URL, though it be empty."""
    try:
        host_of(url)
    except ValueError:
        return False
    return True


def mask_secrets(text: str) -> str:
    """Return ``text`` without URL user names and passwords, bearer keys and keys in queries."""
    if "://" in text:
        text = _URL_USERINFO.sub(rf"\1{MASK}@", text)
        text = mask_query(text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def without_login(url: str) -> str:
    """Return a store's URL without user name, password and options: where it is."""
    return _URL_USERINFO.sub(r"\1", url).partition("?")[0]


def mask_query(url: str) -> str:
    """Return a URL, or text with URLs in it, without the values of names that sound secret."""
    return _SECRET_PAIR.sub(rf"\1{MASK}", url)


def is_same_site(url: str, own: str) -> bool:
    """Return whether what is secret in the URL ``own``, or sent to it, may be sent to ``url``.

    Same scheme, host and port, or the same host by https instead of http.
    """
    try:
        one, other = urlsplit(url), urlsplit(own)
        ports = [each.port or _DEFAULT_PORTS.get(each.scheme) for each in (one, other)]
    except ValueError:
        return False
    if one.hostname is None or one.hostname != other.hostname:
        return False
    is_secured = (other.scheme, *ports) == ("http", 443, 80) and one.scheme == "https"
    return is_secured or (one.scheme == other.scheme and ports[0] == ports[1])


def with_login(url: str, own: str) -> str:
    """Return a URL with the login of ``own``, if it has none itself and is of the same site."""
    login = urlsplit(own).netloc.rpartition("@")[0]
    if not login or not is_same_site(url, own):
        return url
    parts = urlsplit(url)
    if "@" in parts.netloc:
        return url
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()
